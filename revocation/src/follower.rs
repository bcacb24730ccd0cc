//! The verifier's half: applies every revision in order or knows that it has not, never goes backwards, and knows
//! how old its knowledge is.
//!
//! Freshness needs no shared clock. The hello was sent at `h` on our monotonic clock; the welcome names the node's
//! tick `t0` when it read the hello, which is not before `h`. A checkpoint of tick `t` therefore states knowledge as
//! of `h + (t - t0)` or later, on our clock. A delayed message cannot look fresher than it is.
use crate::publisher::{Hello, ResetReason};
use crate::{
    Checkpoint, Epoch, FeedId, FeedSalt, Hash, Monotonic, Revision, SignedCheckpoint, View,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ed25519 (RFC 8032) verification; the cryptography lives with the driver.
pub trait VerifySignature {
    /// Is `signature` by `public_key` over `message`? Strict verification.
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;
}

/// What happened.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Event {
    /// A stream to some node is open. Answered with [`Action::Hello`].
    Connected,
    Welcome(Welcome),
    SnapshotChunk {
        buckets: Vec<u8>,
        rules: Vec<u8>,
        keys: Vec<u8>,
    },
    SnapshotEnd {
        checkpoint: SignedCheckpoint,
        frontier: Vec<Hash>,
        policy_digest: Hash,
    },
    Delta {
        from: Revision,
        to: Revision,
        entries: Vec<Vec<u8>>,
        checkpoint: SignedCheckpoint,
    },
    Heartbeat(SignedCheckpoint),
    Reset {
        reason: ResetReason,
        retry_after: Duration,
    },
    Disconnected,
}
/// The server's first message.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Welcome {
    pub feed_id: FeedId,
    pub salt: FeedSalt,
    pub epoch: Epoch,
    pub head: Revision,
    pub floor: Revision,
    pub mode: Mode,
    pub tick_ms: u64,
    pub node: u64,
    pub feed_keys: BTreeMap<u32, [u8; 32]>,
}
/// What follows the welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mode {
    Deltas,
    Snapshot,
    Buckets,
}

/// What the driver must do, in order.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Action {
    SendHello(Hello),
    SendAck {
        revision: Revision,
        state_root: Hash,
    },
    /// [`Follower::view`] changed: make it visible to checks *before* sending the ack that follows.
    Publish,
    /// Write view and high-water mark to disk when convenient.
    Persist,
    /// Close this stream; connect again after the delay, to another node when `elsewhere`.
    Reconnect {
        after: Duration,
        elsewhere: bool,
    },
    /// Never silent: log as error, count, tell the operator.
    Alarm(Alarm),
}
/// What must wake a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Alarm {
    #[error("fork at revision {revision}: this verifier and the node have different roots")]
    Fork { revision: Revision },
}

/// How old the knowledge is, by this verifier's own monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Freshness {
    /** Complete through the view's revision as of this instant; `None` = never confirmed in this process. */
    pub as_of: Option<Monotonic>,
    pub fresh_for: Duration,
}
impl Freshness {
    /// Age of the knowledge at `now`; `None` = unknown.
    pub fn age(&self, now: Monotonic) -> Option<Duration> {
        todo!()
    }
}

/// The protocol's verifier half. Drive it with events; do what it returns.
pub struct Follower<V> {
    verify: V,
}
impl<V: VerifySignature> Follower<V> {
    /// Knows nothing. `pinned`: feed keys to trust; empty = those of the first welcome (over authenticated TLS only).
    pub fn new(verify: V, pinned: BTreeMap<u32, [u8; 32]>) -> Self {
        todo!()
    }
    /// Continues from a stored view; its position is the high-water mark below which it never goes.
    pub fn resume(verify: V, pinned: BTreeMap<u32, [u8; 32]>, view: View) -> Self {
        todo!()
    }
    /// One step.
    pub fn handle(&mut self, event: Event, now: Monotonic) -> Vec<Action> {
        todo!()
    }
    /// Current knowledge; `None` before the first snapshot.
    pub fn view(&self) -> Option<&View> {
        todo!()
    }
    /// How old it is.
    pub fn freshness(&self) -> Freshness {
        todo!()
    }
    /// Last verified checkpoint.
    pub fn checkpoint(&self) -> Option<&(Checkpoint, SignedCheckpoint)> {
        todo!()
    }
}
