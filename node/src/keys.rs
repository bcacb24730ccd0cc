//! The life of the cluster's keys, seen from a node.
//!
//! | module | its story |
//! |---|---|
//! | [`generate`] | a new key, sealed, and other envelopes around the old ones |
//! | [`rotation`] | keys that are old are replaced by the leader, unasked |
//! | [`jwks`] | the public halves as other systems read them |
//!
//! The order of a key's states is in `storage/state/src/keys.rs`, the unsealing of private halves in [`crate::signer`],
//! and the requests of operators in `api/grpc/keys.rs`.

pub mod generate;
pub mod jwks;
mod management;
pub mod rotation;

use std::time::Duration;

use hessra_revocation::{KeyState, UnixMillis};
use hessra_state::SealedKey;

pub use management::KeyManagement;

/// Time for which a key must have been published before it signs, when verifiers rely on what they know for
/// `fresh_for`.
///
/// Twice as long: once until every verifier that still permits anything has heard of it, and once more because the two
/// instants are stamped by members whose clocks may differ by as much.
#[must_use]
pub fn published_for_min(fresh_for: Duration) -> Duration {
    fresh_for * 2
}

/// Time that a prepared key still has to wait, at `now`. Zero for any other key: it waits for nothing.
#[must_use]
pub fn ready_in(key: &SealedKey, published_for_min: Duration, now: UnixMillis) -> Duration {
    let published = Duration::from_millis(now.0.saturating_sub(key.published.0));
    match key.state {
        KeyState::Prepared => published_for_min.saturating_sub(published),
        KeyState::Active | KeyState::Retired | KeyState::Revoked => Duration::ZERO,
    }
}
