//! Consensus as others may look at it: who leads, who is a member, how far this node is.

use std::collections::{BTreeMap, BTreeSet};

use hessra_sled::{LogId, Member};
use openraft::error::Fatal;
use openraft::{AnyError, ServerState, StorageError, StorageIOError};

/// openraft's own view of itself.
pub(crate) type Metrics = openraft::RaftMetrics<u64, Member>;

/// Status of this node as it sees it: who leads, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RaftStatus {
    pub id: u64,
    pub term: u64,
    pub leader: Option<u64>,
    pub role: Role,
    pub last_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    /// Log index up to which the log is purged; 0 = not at all.
    pub purged_index: u64,
    /// Reason for which consensus stopped, when it did.
    pub stopped: Option<StopReason>,
}

/// Reason for which consensus has stopped on a node for good. The process must end; its supervisor starts it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// openraft 0.9 stops a leader that wants to send a snapshot to a follower whose replication task has just learned
    /// of a higher term and ended: it takes that for an error of the store. The leader is deposed in that instant in any
    /// case, and follows when it is started again.
    #[error(
        "another node is becoming leader while this one was about to send a snapshot. Nothing is lost; start this node again"
    )]
    Deposed,
    /// The members have removed it: it is told so, or reads it in its own log.
    #[error(
        "node {id} was removed from the cluster, and its id is never used again. Stop it for good; to bring the machine back, add \
         it under a new id with an empty data directory"
    )]
    Removed {
        /// Id of the node.
        id: u64,
    },
    /// Its store has less than it acknowledged, or runs twice.
    #[error(
        "node {id} must not take part any more: {why}. Keep its data directory if you want to know how, remove the node \
         (`hessra cluster remove {id}`), and add the machine again under a new id with an empty data directory"
    )]
    Disowned {
        /// Id of the node.
        id: u64,
        /// Reason, in words.
        why: String,
    },
    /// The store failed, or a task of consensus broke.
    #[error("{0}")]
    Failed(String),
}

impl StopReason {
    pub(crate) fn of(fatal: &Fatal<u64>) -> Self {
        // As openraft makes it, in `RaftCore::run_command`; the store never gives this error itself.
        let source =
            StorageIOError::read_snapshot(None, AnyError::error("replication channel closed"));
        if *fatal == Fatal::StorageError(StorageError::from(source)) {
            Self::Deposed
        } else {
            Self::Failed(fatal.to_string())
        }
    }

    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }
}

/// Role of a member in consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Role {
    Learner,
    Follower,
    Candidate,
    Leader,
    Stopped,
}

impl Role {
    /// Word for the role, as `status` prints it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Stopped => "stopped",
        }
    }
}

/// The members of the cluster, as of the newest membership this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Every voter set that must agree: two while a change is under way.
    pub voters: Vec<BTreeSet<u64>>,
    /// Addresses of voters and learners.
    pub nodes: BTreeMap<u64, Member>,
    /// Log index of the membership.
    pub log_index: u64,
}

impl Members {
    /// True when `id` votes.
    #[must_use]
    pub fn is_voter(&self, id: u64) -> bool {
        self.voters.iter().any(|set| set.contains(&id))
    }

    /// True when the members for which `alive` is true would be a quorum of every voter set.
    pub fn has_quorum(&self, alive: impl Fn(u64) -> bool) -> bool {
        !self.voters.is_empty()
            && self
                .voters
                .iter()
                .all(|set| set.iter().filter(|id| alive(**id)).count() * 2 > set.len())
    }

    /// True while a change of voters is under way.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.voters.len() > 1
    }
}

pub(crate) fn matched(progress: Option<&Option<LogId>>) -> u64 {
    progress.copied().flatten().map_or(0, |id| id.index)
}

pub(crate) fn status(metrics: &Metrics, applied_index: u64) -> RaftStatus {
    RaftStatus {
        id: metrics.id,
        term: metrics.current_term,
        leader: metrics.current_leader,
        role: role(metrics),
        last_index: metrics.last_log_index.unwrap_or(0),
        applied_index,
        snapshot_index: metrics.snapshot.map_or(0, |id| id.index),
        purged_index: metrics.purged.map_or(0, |id| id.index),
        stopped: metrics.running_state.as_ref().err().map(StopReason::of),
    }
}

fn role(metrics: &Metrics) -> Role {
    match metrics.state {
        _ if metrics.running_state.is_err() => Role::Stopped,
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    }
}

pub(crate) fn members(metrics: &Metrics) -> Members {
    let membership = metrics.membership_config.membership();
    Members {
        voters: membership.get_joint_config().clone(),
        nodes: membership
            .nodes()
            .map(|(id, member)| (*id, member.clone()))
            .collect(),
        log_index: metrics.membership_config.log_id().map_or(0, |id| id.index),
    }
}
