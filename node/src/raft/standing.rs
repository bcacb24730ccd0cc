//! Who leads, who is a member, how far this node is: consensus as others may look at it.

use std::collections::{BTreeMap, BTreeSet};

use hessra_sled::Member;
use openraft::{LogId, ServerState};

use super::Metrics;

/// Where the members are and who leads, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Standing {
    pub id: u64,
    pub term: u64,
    pub leader: Option<u64>,
    pub role: Role,
    pub last_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    /// Why consensus stopped, when it did.
    pub stopped: Option<String>,
}

/// What a member is doing.
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
    /// As `status` prints it.
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
    /// Does `id` vote?
    #[must_use]
    pub fn is_voter(&self, id: u64) -> bool {
        self.voters.iter().any(|set| set.contains(&id))
    }

    /// Would the members for which `alive` is true be a quorum of every voter set?
    pub fn has_quorum(&self, alive: impl Fn(u64) -> bool) -> bool {
        !self.voters.is_empty()
            && self
                .voters
                .iter()
                .all(|set| set.iter().filter(|id| alive(**id)).count() * 2 > set.len())
    }

    /// Is a change of voters under way?
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.voters.len() > 1
    }
}

pub(super) fn matched(progress: Option<&Option<LogId<u64>>>) -> u64 {
    progress.copied().flatten().map_or(0, |id| id.index)
}

pub(super) fn standing(metrics: &Metrics, applied_index: u64) -> Standing {
    Standing {
        id: metrics.id,
        term: metrics.current_term,
        leader: metrics.current_leader,
        role: role(metrics),
        last_index: metrics.last_log_index.unwrap_or(0),
        applied_index,
        snapshot_index: metrics.snapshot.map_or(0, |id| id.index),
        stopped: metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string),
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

pub(super) fn members(metrics: &Metrics) -> Members {
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
