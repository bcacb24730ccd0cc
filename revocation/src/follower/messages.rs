//! What the follower is told and what it asks for: the words between it and its driver.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::publisher::{Hello, ResetReason};
use crate::{Epoch, FeedId, FeedSalt, Hash, Monotonic, Revision, SignedCheckpoint};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stream to some node is open. Answered with [`Action::SendHello`].
    Connected,
    /// The server's first message.
    Welcome(Welcome),
    /// Part of a snapshot.
    SnapshotChunk {
        /// Wholly replaced by what follows; ascending.
        buckets: Vec<u8>,
        /// Canonical rules of these buckets, concatenated.
        rules: Vec<u8>,
        /// Canonical key set, in the first chunk.
        keys: Vec<u8>,
    },
    /// The snapshot is complete; what it must be.
    SnapshotEnd {
        /// About the snapshot.
        checkpoint: SignedCheckpoint,
        /// Right frontier of the log at the checkpoint's revision.
        frontier: Vec<Hash>,
        /// Policy in force.
        policy_digest: Hash,
    },
    /// New revisions.
    Delta {
        /// First revision in it.
        from: Revision,
        /// Last revision in it.
        to: Revision,
        /// Canonical bytes, one entry per revision, in order.
        entries: Vec<Vec<u8>>,
        /// At `to`.
        checkpoint: SignedCheckpoint,
    },
    /// Nothing new, and that is known for certain.
    Heartbeat(SignedCheckpoint),
    /// The server ends the stream.
    Reset {
        /// Why.
        reason: ResetReason,
        /// Not before.
        retry_after: Duration,
    },
    /// The stream ended, or an attempt to open one failed. Not needed after the driver closed it by
    /// [`Action::Reconnect`].
    Disconnected,
    /// The carrier brought something that is no message at all: wrong lengths, unknown numbers.
    Malformed,
}

/// The server's first message.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// Its feed.
    pub feed_id: FeedId,
    /// Salt of the feed's digests.
    pub salt: FeedSalt,
    /// Which history of the feed it serves.
    pub epoch: Epoch,
    /// Newest revision it has.
    pub head: Revision,
    /// Entries above this one it can serve as deltas.
    pub floor: Revision,
    /// What follows.
    pub mode: Mode,
    /// Its monotonic clock when it read the hello, in milliseconds.
    pub tick_ms: u64,
    /// Which node it is: ticks compare only with checkpoints of the same node.
    pub node: u64,
    /// Public feed keys by id; believed only by who has nothing else to believe.
    pub feed_keys: BTreeMap<u32, [u8; 32]>,
}

/// What follows the welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Deltas on top of what the verifier holds.
    Deltas,
    /// A whole snapshot, then deltas.
    Snapshot,
    /// The buckets that differ, then deltas.
    Buckets,
}

/// What the driver must do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say this first.
    SendHello(Hello),
    /// Say that a revision holds here.
    SendAck {
        /// Applied through.
        revision: Revision,
        /// Root of what was applied: proves content, not a number.
        state_root: Hash,
    },
    /// The view changed: make it visible to checks *before* sending the ack that follows.
    Publish,
    /// Write view and high-water mark to disk when convenient.
    Persist,
    /// Close this stream; connect again after the delay (plus jitter of the driver's), to another node when
    /// `elsewhere`.
    Reconnect {
        /// How long to wait.
        after: Duration,
        /// This node is not worth another try now.
        elsewhere: bool,
    },
    /// Never silent: log as error, count, tell the operator.
    Alarm(Alarm),
}

/// What must wake a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Alarm {
    /// Two histories under one name.
    #[error(
        "fork at revision {revision}: this verifier and the node have different roots. Compare the cluster's nodes \
         with `hessra feed status`, and start this verifier anew when they agree with each other"
    )]
    Fork {
        /// Where they differ, at the latest.
        revision: Revision,
    },
    /// A signature that does not hold.
    #[error(
        "a checkpoint signed with feed key {key_id} has a false signature: something between this verifier and the \
         cluster forges. Look at the path to the node"
    )]
    Forged {
        /// The key named.
        key_id: u32,
    },
    /// A key that was never introduced.
    #[error(
        "feed key {key_id} is not known to this verifier: the checkpoint is forged, or the keys were rotated while \
         this verifier was away. Compare with `hessra keys list`, then pin the key or remove the stored view"
    )]
    UnknownKey {
        /// The key named.
        key_id: u32,
    },
    /// A signed past.
    #[error(
        "a node served epoch {epoch} revision {revision}, below the high-water mark of this verifier: it was set back \
         without a restore. Rebuild that node from the others"
    )]
    Rollback {
        /// Epoch served.
        epoch: Epoch,
        /// Revision served.
        revision: Revision,
    },
    /// Another cluster.
    #[error(
        "the node serves feed {got}, this verifier follows {expected}: correct the address, or its stored view"
    )]
    OtherFeed {
        /// What is followed.
        expected: FeedId,
        /// What was served.
        got: FeedId,
    },
    /// A signed entry that no version makes.
    #[error(
        "entry {revision} of the feed is signed for and breaks the feed's own format. This verifier permits nothing \
         until the cluster no longer serves it: report it with the nodes' versions"
    )]
    Unreadable {
        /// The entry.
        revision: Revision,
    },
    /// Made by a newer cluster.
    #[error(
        "the feed has variant {variant}, which this verifier does not know. It permits nothing until it is upgraded"
    )]
    Upgrade {
        /// What was not understood.
        variant: u8,
    },
}

/// How old the knowledge is, by this verifier's own monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Complete through the view's revision as of this instant; `None` = never confirmed in this process.
    pub as_of: Option<Monotonic>,
    /// How long the cluster wants a confirmation to be relied upon.
    pub fresh_for: Duration,
}

impl Freshness {
    /// Age of the knowledge at `now`; `None` = unknown.
    #[must_use]
    pub fn age(&self, now: Monotonic) -> Option<Duration> {
        self.as_of.map(|as_of| now.since(as_of))
    }
}
