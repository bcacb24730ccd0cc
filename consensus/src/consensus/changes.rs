//! Changes of the members, and leadership handed over, wherever the leader is.

use hessra_audit::Actor;
use hessra_state::{Applied, Command, MemberChange};
use tokio::time::{Instant, timeout_at};

use super::{Asked, Consensus};
use crate::membership::{Change, ChangeError, Situation, check};
use crate::peers::{Peer, PeerError, Peers as _};
use crate::settings::RETRY_PAUSE;
use crate::world::World;

impl<W: World> Consensus<W> {
    /// Changes the members, here or at the leader. First its author's command is made, which permits this change and no
    /// other: every member asks for it before it acknowledges the members that follow from it. Returns the log index when
    /// the change is committed and applied here.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_members(
        &self,
        change: &Change,
        asked: Asked,
        deadline: Instant,
    ) -> Result<u64, ChangeError> {
        let audit = &self.inner.audit;
        let _expecting = audit.expect_members(asked.actor.clone());
        let command = Command::Members(MemberChange::from(change));
        match self.propose(command, asked, deadline).await?.applied {
            Applied::MembersPermitted => {}
            Applied::Refused(refusal) => return Err(refusal.into()),
            other => {
                return Err(ChangeError::Conflict(format!(
                    "the request id belongs to another request, which was answered {other:?}. Choose a new one"
                )));
            }
        }
        self.make_permitted(change, deadline).await
    }

    /// Makes a change of the members that an approval has permitted, as [`Self::change_members`] does after its command.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_approved_members(
        &self,
        change: &Change,
        actor: Actor,
        deadline: Instant,
    ) -> Result<u64, ChangeError> {
        let _expecting = self.inner.audit.expect_members(actor);
        self.make_permitted(change, deadline).await
    }

    async fn make_permitted(&self, change: &Change, deadline: Instant) -> Result<u64, ChangeError> {
        let index = self.change_members_somewhere(change, deadline).await?;
        // A membership names nobody, and its record here names its caller only while the caller is expected. The entry of
        // its own removal does not come to a node.
        if !self.is_own_removal(change) {
            let _ = self.inner.audit.covers(index, deadline).await;
        }
        Ok(index)
    }

    fn is_own_removal(&self, change: &Change) -> bool {
        *change == Change::Remove(self.inner.raft.identity().id)
    }

    async fn change_members_somewhere(
        &self,
        change: &Change,
        deadline: Instant,
    ) -> Result<u64, ChangeError> {
        loop {
            let outcome = match self.inner.raft.leader() {
                Some(leader) if leader.id == self.inner.raft.identity().id => {
                    self.change_members_here(change).await
                }
                Some(leader) => self.forward_change(&leader, change, deadline).await,
                None => Err(ChangeError::NotLeader),
            };
            match outcome {
                Err(ChangeError::NotLeader) if Instant::now() + RETRY_PAUSE < deadline => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(ChangeError::NotLeader) => {
                    return Err(ChangeError::Unavailable(
                        "no leader is known. Try again in a few seconds; `hessra status` shows which nodes answer".to_owned(),
                    ));
                }
                done => return done,
            }
        }
    }

    async fn forward_change(
        &self,
        leader: &Peer,
        change: &Change,
        deadline: Instant,
    ) -> Result<u64, ChangeError> {
        let within = deadline.saturating_duration_since(Instant::now());
        let changed = self
            .inner
            .world
            .peers()
            .change_members(leader, change, within)
            .await;
        let index = changed.map_err(|error| match error {
            PeerError::Failed(failure) => ChangeError::from(failure),
            error => ChangeError::Unavailable(error.to_string()),
        })?;
        if self.is_own_removal(change) {
            return Ok(index);
        }
        // The leader confirmed it; that this node shows it a little later is no error.
        let _ = timeout_at(deadline, self.inner.raft.wait_applied(index)).await;
        Ok(index)
    }

    /// Changes the members as the leader. A leader that is to be removed hands leadership over first.
    ///
    /// # Errors
    /// [`ChangeError::NotLeader`]: ask the new leader.
    pub(crate) async fn change_members_here(&self, change: &Change) -> Result<u64, ChangeError> {
        let _turn = self.inner.turns.change().await;
        let raft = &self.inner.raft;
        if !raft.is_leader() {
            return Err(ChangeError::NotLeader);
        }
        let deadline = self.deadline();
        // A new leader may not have applied yet what the leader before it committed.
        let known = self.linearize(deadline).await;
        known.map_err(|_| ChangeError::NotLeader)?;
        // Nor what its own log holds: a permission that nobody waits for any more may be in it.
        let applied = timeout_at(deadline, raft.wait_applied(raft.status().last_index)).await;
        applied.map_err(|_| {
            ChangeError::Unavailable(
                "what was written before the change is not committed yet. See `hessra status`, then ask for it again"
                    .to_owned(),
            )
        })?.map_err(|_| ChangeError::NotLeader)?;
        if self.state().member_change() != Some(&MemberChange::from(change)) {
            return Err(ChangeError::NotPermitted(
                "no operator's command permits this change now: another one was made after it. Ask for it again"
                    .to_owned(),
            ));
        }
        let answered = self.inner.neighbours.ask_all(false).await;
        let (members, own) = (raft.members(), raft.identity().id);
        let answers = |id| id == own || answered.contains_key(&id);
        check(
            &Situation {
                members: &members,
                answers: &answers,
            },
            change,
        )?;
        if *change == Change::Remove(raft.identity().id) && members.is_voter(raft.identity().id) {
            self.hand_over_to_heir().await?;
            return Err(ChangeError::NotLeader);
        }
        raft.change(change.clone(), &self.inner.pause).await
    }

    /// True when the member was heard of lately. This node always was.
    #[must_use]
    pub fn is_alive(&self, id: u64) -> bool {
        id == self.inner.raft.identity().id
            || self
                .inner
                .neighbours
                .heard_within(id, self.inner.settings.silent_after)
    }

    async fn hand_over_to_heir(&self) -> Result<u64, ChangeError> {
        let heir = self.inner.raft.heir(|id| self.is_alive(id));
        let heir = heir.ok_or_else(|| {
            ChangeError::QuorumLost(
                "no other voter answers that could lead. Restart one first".to_owned(),
            )
        })?;
        let change = Change::TransferTo(heir);
        self.inner.raft.change(change, &self.inner.pause).await
    }

    /// Hands leadership over before this node stops, when it leads and there is another voter. Bounded.
    pub async fn hand_over(&self) {
        let _turn = self.inner.turns.change().await;
        if !self.inner.raft.is_leader() {
            return;
        }
        match self.hand_over_to_heir().await {
            Ok(_) => tracing::info!(
                leader = self.inner.raft.status().leader,
                "handed leadership over"
            ),
            Err(error) => tracing::warn!(%error, "stopped while leading"),
        }
    }
}
