//! Events, actions and alarms: the vocabulary between the follower and its driver.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::publisher::{Hello, Nonce, ResetReason};
use crate::{Epoch, FeedId, FeedSalt, Hash, Monotonic, Revision, SignedCheckpoint};

/// Event that the driver reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stream to some node is open. Answered with [`Action::SendHello`].
    Connected {
        /// Nonce of this stream: random, never used before.
        nonce: Nonce,
    },
    /// The server's first message.
    Welcome(SignedWelcome),
    /// Beginning of a stored feed, in the place of a stream's welcome: it needs no signature, and no age comes of it.
    Stored(Welcome),
    /// Part of a snapshot.
    SnapshotChunk {
        /// Buckets that are wholly replaced by the rules that follow; ascending.
        buckets: Vec<u8>,
        /// Canonical rules of these buckets, concatenated.
        rules: Vec<u8>,
        /// Canonical key set, in the first chunk.
        keys: Vec<u8>,
    },
    /// End of the snapshot, with the statement that it must match.
    SnapshotEnd {
        /// Checkpoint about the snapshot.
        checkpoint: SignedCheckpoint,
        /// Right frontier of the log at the checkpoint's revision.
        frontier: Vec<Hash>,
        /// Digest of the policy in force.
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
        /// Checkpoint at `to`.
        checkpoint: SignedCheckpoint,
    },
    /// Heartbeat: nothing new, as of a confirmation by a quorum.
    Heartbeat(SignedCheckpoint),
    /// The server ends the stream.
    Reset {
        /// Reason of the node.
        reason: ResetReason,
        /// Time to wait before reconnecting.
        retry_after: Duration,
    },
    /// The stream ended, or an attempt to open one failed. Not needed after the driver closed it by
    /// [`Action::Reconnect`].
    Disconnected,
    /// Bytes from the carrier that are no message at all: wrong lengths, unknown numbers.
    Malformed,
}

/// Domain of the bytes of a welcome that are signed, so that no other signed message of a feed key can pass for one.
const DOMAIN: &[u8] = b"hessra welcome v1\n";

/// The server's first message, as it comes from a carrier: not yet believed.
#[derive(Clone, Debug)]
pub struct SignedWelcome {
    /// Welcome that is signed.
    pub welcome: Welcome,
    /// Id of the feed key that signed.
    pub key_id: u32,
    /// Ed25519 over [`Welcome::to_bytes`].
    pub signature: [u8; 64],
}

/// The server's first message. Signed once per stream, over the nonce of the stream's hello: a carrier can neither play an
/// older one again nor move its tick, on which all freshness of the stream rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Id of the feed.
    pub feed_id: FeedId,
    /// Salt of the feed's digests.
    pub salt: FeedSalt,
    /// Number of the feed's history that is served.
    pub epoch: Epoch,
    /// Newest revision of the node.
    pub head: Revision,
    /// Floor of the node: it can serve entries above this revision as deltas.
    pub floor: Revision,
    /// Way in which the verifier is served.
    pub mode: Mode,
    /// Monotonic clock of the node when it read the hello, in milliseconds.
    pub tick_ms: u64,
    /// Id of the node: ticks compare only with checkpoints of the same node.
    pub node: u64,
    /// Public feed keys by id; believed only by a verifier that has nothing else to believe.
    pub feed_keys: BTreeMap<u32, [u8; 32]>,
    /// True when the policy knows this verifier: revocations wait for what it acknowledges.
    pub counted: bool,
}

impl Welcome {
    /// Canonical bytes for one stream: a domain separator, the nonce of its hello, then the fields in order, numbers
    /// big-endian.
    #[must_use]
    pub fn to_bytes(&self, nonce: &Nonce) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160 + 36 * self.feed_keys.len());
        bytes.extend(DOMAIN);
        bytes.extend(nonce.0);
        bytes.extend(self.feed_id.0);
        bytes.extend(self.salt.0);
        bytes.extend(self.epoch.0.to_be_bytes());
        bytes.extend(self.head.0.to_be_bytes());
        bytes.extend(self.floor.0.to_be_bytes());
        bytes.push(self.mode.number());
        bytes.extend(self.tick_ms.to_be_bytes());
        bytes.extend(self.node.to_be_bytes());
        for (id, key) in &self.feed_keys {
            bytes.extend(id.to_be_bytes());
            bytes.extend(key);
        }
        bytes.push(u8::from(self.counted));
        bytes
    }
}

/// Way in which a verifier is served after the welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Deltas on top of the verifier's view.
    Deltas,
    /// A whole snapshot, then deltas.
    Snapshot,
    /// The buckets that differ, then deltas.
    Buckets,
}

impl Mode {
    /// Number in signed bytes, as in feed.proto.
    fn number(self) -> u8 {
        match self {
            Self::Deltas => 1,
            Self::Snapshot => 2,
            Self::Buckets => 3,
        }
    }
}

/// Action that the driver must take, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the hello, as the first message.
    SendHello(Hello),
    /// Send an acknowledgement of a revision.
    SendAck {
        /// Revision that was applied.
        revision: Revision,
        /// Root of what was applied: proves content, not a number.
        state_root: Hash,
    },
    /// Publish the view: make it visible to checks *before* sending the ack that follows.
    Publish,
    /// Store the view and the high-water mark when convenient.
    Persist,
    /// Close this stream; connect again after the delay (plus jitter of the driver's), to another node when
    /// `elsewhere`.
    Reconnect {
        /// Time to wait.
        after: Duration,
        /// Connect to another node: this one is not worth another try now.
        elsewhere: bool,
    },
    /// Raise an alarm: log it as an error, count it, tell the operator. Never silent.
    Alarm(Alarm),
}

/// Alarm: a fault that a person must look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Alarm {
    /// Fork: two histories under one name.
    #[error(
        "fork at revision {revision}: this verifier and the node have different roots. Compare the cluster's nodes \
         with `hessra feed status`, and start this verifier anew when they agree with each other"
    )]
    Fork {
        /// Revision at which they differ, at the latest.
        revision: Revision,
    },
    /// Signature that does not verify.
    #[error(
        "a statement signed with feed key {key_id} has a false signature: something between this verifier and the \
         cluster forges. Look at the path to the node"
    )]
    Forged {
        /// Key that was named.
        key_id: u32,
    },
    /// Key that was never introduced.
    #[error(
        "feed key {key_id} is not known to this verifier: the statement is forged, or the keys were rotated while \
         this verifier was away. Compare with `hessra keys list`, then pin the key or remove the stored view"
    )]
    UnknownKey {
        /// Key that was named.
        key_id: u32,
    },
    /// Rollback: a signed checkpoint from the past.
    #[error(
        "a node served epoch {epoch} revision {revision}, below the high-water mark of this verifier: it was set back \
         without a restore. Rebuild that node from the others"
    )]
    Rollback {
        /// Epoch that was served.
        epoch: Epoch,
        /// Revision that was served.
        revision: Revision,
    },
    /// Feed of another cluster.
    #[error(
        "the node serves feed {got}, this verifier follows {expected}: correct the address, or its stored view"
    )]
    OtherFeed {
        /// Feed that is followed.
        expected: FeedId,
        /// Feed that was served.
        got: FeedId,
    },
    /// Signed entry that no version makes.
    #[error(
        "entry {revision} of the feed is signed for and breaks the feed's own format. This verifier permits nothing \
         until the cluster no longer serves it: report it with the nodes' versions"
    )]
    Unreadable {
        /// Revision of the entry.
        revision: Revision,
    },
    /// Entry or rule that a newer cluster made.
    #[error(
        "the feed has variant {variant}, which this verifier does not know. It permits nothing until it is upgraded"
    )]
    Upgrade {
        /// Number that is not known here.
        variant: u8,
    },
}

/// Freshness: the age of the knowledge, by this verifier's own monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Instant as of which the view is complete; `None` = never confirmed in this process.
    pub as_of: Option<Monotonic>,
    /// Time for which the cluster wants a confirmation to be relied upon.
    pub fresh_for: Duration,
}

impl Freshness {
    /// Age of the knowledge at `now`; `None` = unknown.
    #[must_use]
    pub fn age(&self, now: Monotonic) -> Option<Duration> {
        self.as_of.map(|as_of| now.since(as_of))
    }
}
