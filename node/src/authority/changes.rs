//! Changes of the members, and leadership handed over, wherever the leader is.

use tokio::time::Instant;

use super::{Authority, RETRY_PAUSE};
use crate::raft::membership::{Change, ChangeError, Situation, check};

impl Authority {
    /// Changes the members, here or at the leader. Returns when the change is committed and applied here.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_members(
        &self,
        change: &Change,
        deadline: Instant,
    ) -> Result<u64, ChangeError> {
        loop {
            let outcome = match self.inner.raft.leader() {
                Some((id, _)) if id == self.inner.raft.identity().id => {
                    self.change_members_here(change).await
                }
                Some(leader) => {
                    self.inner
                        .neighbours
                        .forward_change(leader, change, deadline)
                        .await
                }
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

    /// Changes the members as the leader. A leader that is to be removed hands leadership over first.
    ///
    /// # Errors
    /// [`ChangeError::NotLeader`]: ask the new leader.
    pub async fn change_members_here(&self, change: &Change) -> Result<u64, ChangeError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let raft = &self.inner.raft;
        if !raft.is_leader() {
            return Err(ChangeError::NotLeader);
        }
        let members = raft.members();
        let last = raft.standing().last_index;
        let lag = |id| last.saturating_sub(raft.matched_index(id));
        let alive = |id| self.is_alive(id);
        check(
            &Situation {
                members: &members,
                lag: &lag,
                alive: &alive,
            },
            change,
        )?;
        if *change == Change::Remove(raft.identity().id) && members.is_voter(raft.identity().id) {
            self.hand_over_to_heir().await?;
            return Err(ChangeError::NotLeader);
        }
        raft.change(change.clone(), &self.inner.gate).await
    }

    /// Was the member heard of lately? This node always was.
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
        self.inner
            .raft
            .change(Change::TransferTo(heir), &self.inner.gate)
            .await
    }

    /// Before this node stops: lets another one lead, when there is one. Bounded.
    pub async fn hand_over(&self) {
        let _one_at_a_time = self.inner.changing.lock().await;
        if !self.inner.raft.is_leader() {
            return;
        }
        match self.hand_over_to_heir().await {
            Ok(_) => tracing::info!(
                leader = self.inner.raft.standing().leader,
                "handed leadership over"
            ),
            Err(error) => tracing::warn!(%error, "stopped while leading"),
        }
    }
}
