//! Who is a member: add a learner, promote it, remove a member, hand leadership over.
//!
//! One change at a time, each through joint consensus. What may be changed is decided by [`check`], which is pure;
//! [`RaftHandle::change`] does it, on the leader only.
//!
//! Leadership is handed over in three steps: new writes are held back at the [`Gate`], the chosen voter catches up to
//! the last entry, and it is asked to stand. The leader's own lease does not bind its own vote, so of three members
//! two agree at once; in a larger cluster the others agree when the lease of the old leader has run out.

use std::collections::BTreeSet;
use std::time::Duration;

use hessra_proto::v1::raft::StandRequest;
use hessra_sled::Member;
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::RaftHandle;
use super::peers::within;

mod check;

pub use check::{Situation, check};

/// The longest one change may take: the joint and the final configuration are two commits.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest a hand-over may hold back writes: twice the longest election of the default timing.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(4);

/// A wish to change the members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    AddLearner { id: u64, member: Member },
    Promote(u64),
    Remove(u64),
    TransferTo(u64),
}

/// Why the members are as they were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ChangeError {
    #[error("this node does not lead")]
    NotLeader,
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    QuorumLost(String),
    /// May have happened, in part.
    #[error("{0}")]
    Unavailable(String),
}

/// Holds writes back while leadership is handed over.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Gate {
    /// Returns when writes may go on.
    pub async fn opened(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }

    fn close(&self) -> Closed {
        self.0.send_replace(false);
        Closed(self.clone())
    }
}

/// Opens the gate when dropped, however the hand-over ended.
struct Closed(Gate);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.0.send_replace(true);
    }
}

impl RaftHandle {
    /// Makes a change that was checked, and returns the log index of the membership after it. Leader only.
    ///
    /// # Errors
    /// See [`ChangeError`]. A change that was interrupted by a new leader may be repeated.
    pub async fn change(&self, change: Change, gate: &Gate) -> Result<u64, ChangeError> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let done = timeout_at(deadline, self.change_unbounded(change, gate)).await;
        done.unwrap_or_else(|_| {
            Err(ChangeError::Unavailable(
                "the change was not confirmed in time and may be done in part. See `hessra cluster members`, then repeat it"
                    .to_owned(),
            ))
        })
    }

    async fn change_unbounded(&self, change: Change, gate: &Gate) -> Result<u64, ChangeError> {
        let members = self.members();
        match change {
            Change::AddLearner { id, member } => {
                self.submit(ChangeMembers::AddNodes([(id, member)].into()), true)
                    .await?;
            }
            Change::Promote(id) if !members.is_voter(id) => {
                self.submit(ChangeMembers::AddVoterIds([id].into()), true)
                    .await?;
            }
            Change::Promote(_) => {}
            Change::Remove(id) if members.is_voter(id) => {
                self.submit(ChangeMembers::RemoveVoters([id].into()), false)
                    .await?;
            }
            Change::Remove(id) => {
                self.submit(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false)
                    .await?
            }
            Change::TransferTo(id) => self.transfer(id, gate).await?,
        }
        Ok(self.members().log_index)
    }

    async fn submit(
        &self,
        change: ChangeMembers<u64, Member>,
        retain: bool,
    ) -> Result<(), ChangeError> {
        match self.raft.change_membership(change, retain).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(ChangeError::NotLeader)
            }
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                Err(ChangeError::Conflict(format!(
                    "{error}. See `hessra cluster members`, then repeat it"
                )))
            }
            Err(RaftError::Fatal(fatal)) => Err(ChangeError::Unavailable(format!(
                "consensus has stopped: {fatal}"
            ))),
        }
    }

    async fn transfer(&self, target: u64, gate: &Gate) -> Result<(), ChangeError> {
        if target == self.identity.id {
            return if self.is_leader() {
                Ok(())
            } else {
                Err(ChangeError::NotLeader)
            };
        }
        let _closed = gate.close();
        let deadline = Instant::now() + TRANSFER_TIMEOUT;
        let handed = timeout_at(deadline, async {
            self.held_by(self.standing().last_index, &[target]).await;
            self.ask_to_stand(target).await
        });
        handed.await.unwrap_or_else(|_| {
            Err(ChangeError::Unavailable(format!(
                "node {target} did not take over in time. See `hessra status`, then repeat it"
            )))
        })
    }

    /// Asks until the target leads: a first try may meet a voter that is still bound to the old leader.
    async fn ask_to_stand(&self, target: u64) -> Result<(), ChangeError> {
        let member = self.members().nodes.get(&target).cloned();
        let member = member
            .ok_or_else(|| ChangeError::NotFound(format!("no member has node id {target}")))?;
        loop {
            let request = StandRequest {
                cluster_id: self.peers.cluster_id(),
            };
            let mut client = self.peers.client(target, &member);
            if let Err(error) = client
                .stand(within(request, self.settings.election_max))
                .await
            {
                tracing::warn!(peer = target, %error, "a member refused to stand");
            }
            let mut metrics = self.raft.metrics();
            tokio::select! {
                _ = metrics.wait_for(|metrics| metrics.current_leader == Some(target)) => return Ok(()),
                () = sleep(self.settings.election_max) => {}
            }
        }
    }

    /// Stands for election, because the leader asked for it.
    ///
    /// # Errors
    /// When consensus has stopped on this node.
    pub async fn stand(&self) -> Result<(), ChangeError> {
        let stopped = |error| {
            ChangeError::Unavailable(format!("consensus has stopped on this node: {error}"))
        };
        self.raft.trigger().elect().await.map_err(stopped)
    }

    /// Leader only, and only while no change is under way: leaves the joint configuration for the newer half of it.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn finish_interrupted_change(&self) -> Result<(), ChangeError> {
        let members = self.members();
        let Some(newer) = members
            .voters
            .last()
            .filter(|_| members.is_changing() && self.is_leader())
        else {
            return Ok(());
        };
        tracing::warn!(voters = ?newer, "completed a change of the members that was interrupted");
        // Retained as learners: whether they should go is for a person to say.
        self.submit(ChangeMembers::ReplaceAllVoters(newer.clone()), true)
            .await
    }

    /// The voter to hand leadership to: the one that is least behind. `None` = there is no other.
    #[must_use]
    pub fn heir(&self, alive: impl Fn(u64) -> bool) -> Option<u64> {
        let members = self.members();
        let others = members
            .voters
            .iter()
            .flatten()
            .copied()
            .filter(|id| *id != self.identity.id && alive(*id));
        others.max_by_key(|id| self.matched_index(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_gate_opens_again_however_a_hand_over_ends() {
        let gate = Gate::default();
        let closed = gate.close();
        assert!(
            tokio::time::timeout(Duration::from_millis(1), gate.opened())
                .await
                .is_err()
        );
        drop(closed);
        gate.opened().await;
    }
}
