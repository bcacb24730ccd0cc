//! Tests of interoperation, and nothing else: what the published crates and ours make of each other.
