//! Deliberate bugs. A checker that finds none of them checks nothing.

use std::fmt;
use std::str::FromStr;

/// A bug that the simulation plants around the real code, for one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The disk says "durable" before it is.
    AckBeforeFsync,
    /// The vote is never written.
    VoteNotSaved,
    /// A resumed verifier is served from one revision too late.
    PublisherOffByOne,
    /// A node beats without asking a quorum.
    HeartbeatWithoutQuorum,
    /// A check is answered from the node's own state, without read-index.
    StaleRead,
    /// A snapshot is installed without the log id it goes to.
    SnapshotWithoutLastApplied,
    /// A restarted verifier forgets how far it had come and believes whoever answers.
    HighWaterForgotten,
    /// A leader that was restored from its own vote confirms reads before an entry of its new life is committed.
    RestoredLeaderTrusted,
    /// A node's election time-out is drawn once, and looked at once a tick: two survivors may vote for themselves for
    /// ever. Caught by losing the leader on a slow network, not by the common run.
    ElectionTimerDrawnOnce,
    /// A node that has stopped by itself stays up and deaf.
    NeverRestarted,
}

/// All of them.
pub const PLANTS: [Plant; 10] = [
    Plant::AckBeforeFsync,
    Plant::VoteNotSaved,
    Plant::PublisherOffByOne,
    Plant::HeartbeatWithoutQuorum,
    Plant::StaleRead,
    Plant::SnapshotWithoutLastApplied,
    Plant::HighWaterForgotten,
    Plant::RestoredLeaderTrusted,
    Plant::ElectionTimerDrawnOnce,
    Plant::NeverRestarted,
];

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AckBeforeFsync => "ack-before-fsync",
            Self::VoteNotSaved => "vote-not-saved",
            Self::PublisherOffByOne => "publisher-off-by-one",
            Self::HeartbeatWithoutQuorum => "heartbeat-without-quorum",
            Self::StaleRead => "stale-read",
            Self::SnapshotWithoutLastApplied => "snapshot-without-last-applied",
            Self::HighWaterForgotten => "high-water-forgotten",
            Self::RestoredLeaderTrusted => "restored-leader-trusted",
            Self::ElectionTimerDrawnOnce => "election-timer-drawn-once",
            Self::NeverRestarted => "never-restarted",
        })
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || PLANTS.map(|plant| plant.to_string()).join(", ");
        PLANTS
            .into_iter()
            .find(|plant| plant.to_string() == text)
            .ok_or_else(|| format!("no planted bug is called `{text}`. There are: {}.", known()))
    }
}
