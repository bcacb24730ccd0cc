//! What a revocation is.
