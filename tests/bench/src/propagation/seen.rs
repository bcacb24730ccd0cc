//! Reports of followers: what each has seen.

use std::time::Instant;

/// Report of a follower that has seen write `number`.
pub(super) struct Seen {
    pub(super) number: u64,
    pub(super) at: Instant,
    /// The whole check of a token; the first verifier alone makes it.
    pub(super) denied: Option<Denied>,
}

/// Verdict of the first verifier's check of the revoked token, and its instant.
pub(super) struct Denied {
    pub(super) denied: bool,
    pub(super) at: Instant,
}
