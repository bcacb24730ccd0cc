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
    /// Commands in an entry that this node appends as the leader.
    EntryProposed(usize),
    /// Time from taking a write to its commit and application on this node.
    CommitTook(Duration),
    /// Time from the beginning of a confirmation of the quorum to its outcome.
    ConfirmationTook(Duration),
    /// Time from sending entries to one member until its answer.
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
    /// A verifier holds a revision that the cluster, confirmed by a quorum, does not have: acknowledged changes are lost.
    FeedLossAlarm,
    /// A command was brought whose author is not proved; by this member.
    Unproved {
        /// Node that brought it.
        sender: u64,
    },
    /// This node gave leadership up, because a quorum refused an entry of it.
    StoodBack,
    /// Another member holds another state at an equal revision.
    ReplicaAlarm,
    /// Time from publishing a revision to a verifier's acknowledgement.
    PropagationTook(Duration),
    /// Verifiers connected here.
    Subscribers(usize),
    /// Guests connected here: served and never counted.
    Guests(usize),
    /// Bytes of the feed that streams were given and have not taken.
    UnreadBytes(usize),
    /// Streams for which there was no seat.
    FeedTurnedAway,
    /// Enrolled verifiers that have not acknowledged anything within the bound.
    StaleSubscribers(usize),
}

/// Queue that a write waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Queue that is reserved for what makes something denied.
    Revocations,
    /// Queue of everything else.
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

/// Outcome of a heartbeat: whether it reached the frames.
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

/// Part of the rules that a snapshot has.
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
