//! Deliberate bugs, planted into the code that ships: a checker that finds none of them checks nothing.
//!
//! A bug exists only in a build with the feature `plants` *and* debug assertions, so a release build has none of them
//! whatever features are on. It is chosen for the current thread, because a simulated cluster is one thread:
//!
//! ```
//! use hessra_sled::plant::{Plant, is_planted};
//! assert!(!is_planted(Plant::VoteNotSaved), "nothing is planted by itself");
//! ```

use std::fmt;
use std::str::FromStr;

/// True when this build has the planted bugs at all.
pub const AVAILABLE: bool = cfg!(all(feature = "plants", debug_assertions));

macro_rules! plants {
    ($($(#[$doc:meta])+ $name:ident = $text:literal;)+) => {
        /// A deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Plant { $($(#[$doc])+ $name,)+ }

        impl Plant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The bug's name on the command line.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

plants! {
    /// The store acknowledges an append before the disk has synced it.
    AckBeforeFsync = "ack-before-fsync";
    /// The store does not write the vote.
    VoteNotSaved = "vote-not-saved";
    /// The store installs a snapshot without the mark of how far it goes.
    SnapshotWithoutMark = "snapshot-without-mark";
    /// A new leader's first entry makes the state machine forget the answered requests: a retry runs twice.
    RetryRunsTwice = "retry-runs-twice";
    /// A leader answers from its own prediction, before a quorum has the entry.
    AnswerBeforeCommit = "answer-before-commit";
    /// The log is purged before its audit records are durable.
    PurgedBeforeRecord = "purged-before-record";
    /// A leader confirms reads without asking a quorum.
    ConfirmWithoutQuorum = "confirm-without-quorum";
    /// A confirmation names the commit index of the confirmation before it.
    StaleCommitIndex = "stale-commit-index";
    /// A leader takes what it has sent for committed before its own disk has it.
    CommitBeforeOwnFsync = "commit-before-own-fsync";
    /// A leader that is started again goes on leading in its term, with less in its log than it had sent.
    RestoredLeaderTrusted = "restored-leader-trusted";
    /// A linearizable read is answered from the node's own state at once.
    StaleRead = "stale-read";
    /// A heartbeat claims the end of its confirmation as the instant of its knowledge, not the beginning.
    HeartbeatStampedLate = "heartbeat-stamped-late";
    /// The feed confirms a heartbeat without asking a quorum.
    HeartbeatWithoutQuorum = "heartbeat-without-quorum";
    /// The frame log skips a revision for a subscriber that falls off the frames kept.
    SkippedRevision = "skipped-revision";
    /// A verifier that resumes is served from one revision too late.
    ResumeOffByOne = "resume-off-by-one";
    /// The member that forwarded a batch gives each caller its neighbour's answer.
    ForwardedAnswersShifted = "forwarded-answers-shifted";
    /// A leader writes although its disk has no room for writes.
    WriteWithoutRoom = "write-without-room";
    /// An acknowledgement counts for the newest revision, whatever the verifier said.
    AcknowledgedTooMuch = "acknowledged-too-much";
    /// An acknowledgement of a revision that was never published counts.
    UnpublishedCounted = "unpublished-counted";
    /// A caller is counted under any verifier's id, whoever it is.
    AnyoneCounted = "anyone-counted";
    /// A node's election time-out is drawn once: two survivors may vote for themselves for ever. Found by losing the
    /// leader on a slow network, not by the common run.
    ElectionTimerDrawnOnce = "election-timer-drawn-once";
    /// A change of the members that a leader left half done is never completed.
    JointChangeAbandoned = "joint-change-abandoned";
    /// A node hears any sender that has a certificate of the cluster, member or not.
    StrangersHeard = "strangers-heard";
    /// A node takes any store for that of its member: a new one, an older copy, one that runs twice.
    StoresBelieved = "stores-believed";
    /// A leader takes the time that the asked member has stamped.
    StampsBelieved = "stamps-believed";
    /// A node believes whatever author a member states.
    AuthorsBelieved = "authors-believed";
    /// A leader whose entry a quorum refuses stays the leader.
    RefusedLeaderStays = "refused-leader-stays";
    /// A node forgets at once who followed a member that is removed.
    RemovedForgotten = "removed-forgotten";
    /// Of two processes with one verifier's id the better one counts.
    BetterOfEqualNames = "better-of-equal-names";
    /// A restarted verifier forgets how far it had come. Planted in the simulation's verifier.
    HighWaterForgotten = "high-water-forgotten";
    /// A node that has stopped by itself is not started again. Planted in the simulation's supervisor.
    NeverRestarted = "never-restarted";
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no planted bug has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no planted bug is called `{name}`. There are: {}", all_names())]
pub struct UnknownPlant {
    name: String,
}

fn all_names() -> String {
    let names: Vec<&str> = Plant::ALL.iter().map(|plant| plant.as_str()).collect();
    names.join(", ")
}

impl FromStr for Plant {
    type Err = UnknownPlant;

    fn from_str(text: &str) -> Result<Self, UnknownPlant> {
        let found = Plant::ALL.iter().find(|plant| plant.as_str() == text);
        found.copied().ok_or_else(|| UnknownPlant {
            name: text.to_owned(),
        })
    }
}

#[cfg(all(feature = "plants", debug_assertions))]
mod chosen {
    use std::cell::Cell;

    use super::Plant;

    thread_local! {
        static CHOSEN: Cell<Option<Plant>> = const { Cell::new(None) };
    }

    /// Plants one bug, or none, into everything that runs on this thread from now on.
    pub fn plant(bug: Option<Plant>) {
        CHOSEN.set(bug);
    }

    /// True when this bug is planted.
    #[must_use]
    pub fn is_planted(bug: Plant) -> bool {
        CHOSEN.get() == Some(bug)
    }
}

#[cfg(not(all(feature = "plants", debug_assertions)))]
mod chosen {
    use super::Plant;

    /// Plants nothing: this build has no bugs to plant.
    pub fn plant(_: Option<Plant>) {}

    /// True when this bug is planted: never, in this build.
    #[must_use]
    #[inline(always)]
    pub const fn is_planted(_: Plant) -> bool {
        false
    }
}

pub use chosen::{is_planted, plant};
