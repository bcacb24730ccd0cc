//! Makes the changes of the members that [`crate::membership::check`] has permitted, on the leader.
//!
//! Leadership is handed over in three steps, because openraft 0.9 cannot: writes are held back, the chosen voter catches
//! up to the last entry, and it is asked to stand. The leader's own lease does not bind its own vote, so of three members
//! two agree at once; in a larger cluster the others agree when the lease of the old leader has run out.

use std::collections::BTreeSet;
use std::time::Duration;

use hessra_sled::Member;
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, RaftError};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::RaftHandle;
use crate::membership::{Change, ChangeError};
use crate::pause::WritePause;
use crate::peers::Peers as _;
use crate::status::Members;
use crate::world::World;

/// The longest one change may take: the joint and the final configuration are two commits.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest a promotion waits for the member to have everything that was written when it was asked for.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest a hand-over may hold back writes: twice the longest election of the default timing.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(4);

impl<W: World> RaftHandle<W> {
    /// Makes a change that was checked, and returns the log index of the membership after it. Leader only.
    ///
    /// # Errors
    /// See [`ChangeError`]. A change that was interrupted by a new leader may be repeated.
    pub(crate) async fn change(
        &self,
        change: Change,
        pause: &WritePause,
    ) -> Result<u64, ChangeError> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let done = timeout_at(deadline, self.change_unbounded(change, pause)).await;
        done.unwrap_or_else(|_| {
            Err(ChangeError::Unavailable(
                "the change was not confirmed in time and may be done in part. See `hessra cluster members`, then repeat it"
                    .to_owned(),
            ))
        })
    }

    async fn change_unbounded(
        &self,
        change: Change,
        pause: &WritePause,
    ) -> Result<u64, ChangeError> {
        let members = self.members();
        match change {
            Change::AddLearner { id, member } => {
                self.change_membership(ChangeMembers::AddNodes([(id, member)].into()), true)
                    .await?;
            }
            Change::Promote(id) if !members.is_voter(id) => {
                self.name_store(id, &members).await?;
                self.change_membership(ChangeMembers::AddVoterIds([id].into()), true)
                    .await?;
            }
            Change::Promote(_) => {}
            Change::Remove(id) if members.is_voter(id) => {
                self.change_membership(ChangeMembers::RemoveVoters([id].into()), false)
                    .await?;
            }
            Change::Remove(id) => {
                let ids = BTreeSet::from([id]);
                self.change_membership(ChangeMembers::RemoveNodes(ids), false)
                    .await?;
            }
            Change::TransferTo(id) => self.transfer(id, pause).await?,
        }
        Ok(self.members().log_index)
    }

    /// Waits until a learner has everything that is written now, its own start included, and names its store in the
    /// membership: the vote that it gets is of that store.
    async fn name_store(&self, id: u64, members: &Members) -> Result<(), ChangeError> {
        let last = self.status().last_index;
        let caught_up = async {
            self.held_by(last, &[id]).await;
            let mut published = self.published.clone();
            let known = published.wait_for(|now| now.state.starts().find(id).is_some());
            known.await.ok()?.state.starts().find(id).copied()
        };
        let start = tokio::time::timeout(CATCH_UP_TIMEOUT, caught_up).await;
        let Ok(Some(start)) = start else {
            let behind = last.saturating_sub(self.matched_index(id));
            return Err(ChangeError::Conflict(format!(
                "node {id} has not caught up: it is {behind} entries behind after {} s. Wait until `hessra status` shows \
                 no lag, then promote it",
                CATCH_UP_TIMEOUT.as_secs()
            )));
        };
        let member = members.nodes.get(&id).cloned().unwrap_or_default();
        let store = Some(start.incarnation);
        if member.incarnation == store {
            return Ok(());
        }
        let named = Member {
            incarnation: store,
            ..member
        };
        // The addresses are those that stand: no other machine is meant.
        self.change_membership(ChangeMembers::SetNodes([(id, named)].into()), true)
            .await
    }

    async fn change_membership(
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

    async fn transfer(&self, target: u64, pause: &WritePause) -> Result<(), ChangeError> {
        if target == self.identity.id {
            return if self.is_leader() {
                Ok(())
            } else {
                Err(ChangeError::NotLeader)
            };
        }
        let _paused = pause.begin();
        let deadline = Instant::now() + TRANSFER_TIMEOUT;
        let _standing_back = StandingBack::begin(self);
        let handed = timeout_at(deadline, self.ask_to_stand(target)).await;
        handed.unwrap_or_else(|_| {
            Err(ChangeError::Unavailable(format!(
                "node {target} did not take over in time. See `hessra status`, then repeat it"
            )))
        })
    }

    /// Asks until the target leads: a first try may meet a voter that is still bound to the old leader. Before each try the target
    /// has what this leader has: an entry that was on its way when writes were held back, too.
    async fn ask_to_stand(&self, target: u64) -> Result<(), ChangeError> {
        let member = self.members().nodes.get(&target).cloned();
        let member = member
            .ok_or_else(|| ChangeError::NotFound(format!("no member has node id {target}")))?;
        let peer = self.peer(target, &member);
        loop {
            if self.is_leader() {
                self.held_by(self.status().last_index, &[target]).await;
            }
            let asked = self
                .world
                .peers()
                .stand(&peer, self.settings.election_max)
                .await;
            if let Err(error) = asked {
                tracing::warn!(peer = target, %error, "a member refused to stand");
            }
            let mut metrics = self.raft.metrics();
            tokio::select! {
                biased;
                _ = metrics.wait_for(|metrics| metrics.current_leader == Some(target)) => return Ok(()),
                () = sleep(self.settings.election_max) => {}
            }
        }
    }

    /// Stands for election, because the leader asked for it.
    ///
    /// # Errors
    /// When consensus has stopped on this node.
    pub(crate) async fn stand(&self) -> Result<(), ChangeError> {
        let stopped = |error| {
            ChangeError::Unavailable(format!("consensus has stopped on this node: {error}"))
        };
        self.raft.trigger().elect().await.map_err(stopped)
    }

    /// Leader only, and only while no change is under way: leaves the joint configuration for the newer half of it.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub(crate) async fn finish_interrupted_change(&self) -> Result<(), ChangeError> {
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
        let newer = ChangeMembers::ReplaceAllVoters(newer.clone());
        let done = timeout(CHANGE_TIMEOUT, self.change_membership(newer, true)).await;
        done.unwrap_or_else(|_| {
            Err(ChangeError::Unavailable(
                "a quorum did not confirm it in time".to_owned(),
            ))
        })
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

/// Keeps this node from standing for as long as it hands over, however that ends: with a log of the same length, it would win as
/// often as the one that is to take over.
struct StandingBack<'a, W: World>(&'a RaftHandle<W>);

impl<'a, W: World> StandingBack<'a, W> {
    fn begin(raft: &'a RaftHandle<W>) -> Self {
        raft.raft.runtime_config().elect(false);
        Self(raft)
    }
}

impl<W: World> Drop for StandingBack<'_, W> {
    fn drop(&mut self) {
        self.0.raft.runtime_config().elect(true);
    }
}
