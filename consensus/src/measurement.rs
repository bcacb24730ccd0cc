//! The figures that consensus gives: what happened, how long it took, how many there are.
//!
//! A node turns them into the instruments of its metrics page, the simulation counts what it has met. Labels are enums,
//! so their number is bounded. Nothing here says how a figure is collected.

use std::time::Duration;

/// One figure, at the moment at which it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measurement {
    /// Commands that wait in a lane.
    ProposalsQueued(Lane, usize),
    /// A write was refused because its lane, or the room for all writes, was full.
    ProposalRefused(Lane),
    /// Commands that became one log entry.
    ProposalSize(usize),
    /// This node appends an entry of so many commands as the leader.
    EntryProposed(usize),
    /// From taking a write to its commit and application on this node.
    CommitTook(Duration),
    /// From the beginning of a confirmation of the quorum to its outcome.
    ConfirmationTook(Duration),
    /// From sending entries to one member until its answer.
    AppendTook(Duration),
    /// A heartbeat of the feed was sent, or could not be confirmed.
    Heartbeat(HeartbeatOutcome),
    /// The feed revision that is published here.
    Published(u64),
    /// Bytes of frames handed to a stream.
    FeedBytes(usize),
    /// A snapshot for a verifier was begun.
    FeedSnapshot(SnapshotMode),
    /// A stream was told to resume.
    FeedReset(hessra_revocation::publisher::ResetReason),
    /// A verifier holds another history at an equal revision.
    FeedForkAlarm,
    /// Another member holds another state at an equal revision.
    ReplicaAlarm,
    /// From publishing a revision to a verifier's acknowledgement.
    PropagationTook(Duration),
    /// Verifiers connected here.
    Subscribers(usize),
    /// Enrolled verifiers that have not acknowledged anything within the bound.
    StaleSubscribers(usize),
}

/// Which queue a write waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reserved for what makes something denied.
    Revocations,
    /// Everything else.
    Others,
}

impl Lane {
    /// The lane's name in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Revocations => "revocations",
            Self::Others => "others",
        }
    }
}

/// Whether a heartbeat reached the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HeartbeatOutcome {
    Sent,
    Unconfirmed,
}

impl HeartbeatOutcome {
    /// The outcome's name in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// How much of the rules a snapshot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SnapshotMode {
    Full,
    Buckets,
}

impl SnapshotMode {
    /// The mode's name in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Buckets => "buckets",
        }
    }
}
