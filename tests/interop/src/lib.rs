//! Nothing but tests: what the published crates and ours make of each other.
