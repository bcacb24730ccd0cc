//! What a follower says that it has seen.

use std::time::Instant;

/// Somebody who follows has seen write `number`.
pub(super) struct Seen {
    pub(super) number: u64,
    pub(super) at: Instant,
    /// The whole check of a token; the first verifier alone makes it.
    pub(super) denied: Option<Denied>,
}

/// What the first verifier's check of the revoked token said, and when.
pub(super) struct Denied {
    pub(super) denied: bool,
    pub(super) at: Instant,
}
