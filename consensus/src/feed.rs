//! The feed: revocations to verifiers. Every change of the state is signed and encoded once, and sent to all who follow.
//!
//! ```text
//! applied state ──▶ hub: one Delta per revision range, signed once ──▶ frames ──▶ every subscriber's stream
//! quorum confirmed ──▶ hub: one Heartbeat ──────────────────────────┘               │
//!                                     subscribers ◀── acknowledgements ─────────────┘
//! ```
//!
//! | module | its story |
//! |---|---|
//! | [`hub`] | drives the frame log: from the state, from confirmations of the quorum, for subscribers |
//! | `frames` | frames in order, with the state at their head, signed and encoded once |
//! | [`claim`] | who follows: enrolled, a guest, or refused |
//! | `seats`, `unread` | how many streams and unread bytes each may have |
//! | [`subscription`] | one subscriber: hello, welcome, snapshot or deltas, then live |
//! | [`subscribers`] | which verifier holds what, here and at the other members |
//!
//! A node that is cut off from its quorum goes quiet: nothing here moves the instant in a checkpoint but a confirmation.
//! The node carries the messages.

pub mod claim;
mod connection;
mod frames;
pub mod hub;
mod seats;
pub mod subscribers;
pub mod subscription;
mod unread;

use std::time::Duration;

pub use claim::{Admits, Claim};
pub use hub::FeedHub;
pub use subscribers::Subscribers;

/// Signs the bytes of checkpoints with the cluster's active feed key.
pub trait CheckpointSigner: Send + Sync + 'static {
    /// Key id and Ed25519 signature, for a verifier that believes the keys that are `known`: by the active key where it
    /// is one of them, else by an older one that is, where there is one.
    ///
    /// # Errors
    /// No feed key is active, or it cannot be unsealed.
    fn sign(
        &self,
        bytes: &[u8],
        known: &dyn Fn(u32) -> bool,
    ) -> Result<(u32, [u8; 64]), SigningError>;
}

/// Error of a signature that was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SigningError {
    #[error("no key of this purpose is active yet")]
    NoActiveKey,
    #[error("{0}")]
    Sealed(String),
}

/// Reason for which nothing can be served yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum NotServing {
    #[error("the cluster is not initialized yet")]
    NotInitialized,
    #[error("this node cannot sign checkpoints: {0}")]
    CannotSign(#[from] SigningError),
}

/// Promises to verifiers, and limits of what they may cost.
#[derive(Clone, Debug)]
pub struct FeedSettings {
    /// Interval between heartbeats, 0.25 to 10 s. Default 1 s.
    pub heartbeat: Duration,
    /// Time for which a verifier may rely on a heartbeat. Default 5 s: four may be missed.
    pub fresh_for: Duration,
    /// Callers that are served beside the verifiers that the policy names. Default: whoever proves an identity that it names.
    pub admits: Admits,
    /// Streams of this node; more are sent elsewhere. Default 20,000.
    pub subscribers_max: usize,
    /// Streams of this node that guests may have: callers that the policy ties to no verifier's id. Default 5,000, a quarter.
    pub guests_max: usize,
    /// Streams of this node that the verifiers of one identity may have. Default 10,000, a half.
    pub subscribers_per_identity_max: usize,
    /// Streams of this node that one guest may have, by its identity or its address. Default 256.
    pub guests_per_caller_max: usize,
    /// Bytes that all streams together may have been given and not have taken. Default 256 MiB.
    pub unread_bytes_max: usize,
    /// Frames kept for subscribers that are a little behind. Default 4,096.
    pub frames_max: usize,
    /// Bytes of frames kept. Default 32 MiB.
    pub bytes_max: usize,
    /// Longest time within which, under load, revisions share one frame and one signature; shorter where few follow. Default
    /// 5 ms.
    pub coalesce: Duration,
    /// Time within which a stream must say hello. Default 10 s.
    pub hello_within: Duration,
    /// Time after which a subscriber that takes nothing is told to resume. Default 30 s.
    pub slow_after: Duration,
    /// Time after which a verifier that is gone is not listed any more. Default 10 min: it has been failing closed
    /// for all of that time but the first seconds, and nobody waits for it.
    pub forget_after: Duration,
}

/// Allowance for clocks: the tick of a checkpoint is read on the clock of a node, and its age told on that of a verifier.
/// Origin: over the day that a stream lives at most, two clocks that differ by three parts per million part by 259 ms.
pub const SKEW: Duration = Duration::from_millis(260);

/// Time that one frame to one stream takes of a node, rounded up. Origin: `bench propagation --verifiers 100`, 5 to 18 µs.
const FRAME_COST: Duration = Duration::from_micros(20);

impl FeedSettings {
    /// Time within which revisions share one frame while so many streams follow: what a frame costs this node.
    pub(crate) fn spacing(&self, streams: usize) -> Duration {
        let cost = FRAME_COST.saturating_mul(u32::try_from(streams).unwrap_or(u32::MAX));
        cost.min(self.coalesce)
    }

    /// Time after a confirmation within which a verifier may permit on the strength of it.
    #[must_use]
    pub fn permits_for(&self) -> Duration {
        self.fresh_for + SKEW
    }
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            fresh_for: Duration::from_secs(5),
            admits: Admits::default(),
            subscribers_max: 20_000,
            guests_max: 5_000,
            subscribers_per_identity_max: 10_000,
            guests_per_caller_max: 256,
            unread_bytes_max: 256 * 1024 * 1024,
            frames_max: 4_096,
            bytes_max: 32 * 1024 * 1024,
            coalesce: Duration::from_millis(5),
            hello_within: Duration::from_secs(10),
            slow_after: Duration::from_secs(30),
            forget_after: Duration::from_secs(600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_shared_only_where_many_follow() {
        let settings = FeedSettings::default();
        assert!(settings.spacing(1) < Duration::from_millis(1));
        assert!(settings.spacing(40) < Duration::from_millis(1));
        assert_eq!(settings.spacing(100), Duration::from_millis(2));
        assert_eq!(settings.spacing(1_000), settings.coalesce);
        assert_eq!(settings.spacing(usize::MAX), settings.coalesce);
    }
}
