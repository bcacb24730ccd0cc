//! What a node does unasked, once a second: complete what an earlier leader left half done, collect what has ended,
//! and step aside when it leads but cannot write.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hessra_proto::status::Failure;
use hessra_revocation::Monotonic;
use hessra_state::{Command, RequestId};

use super::Authority;
use crate::edge::random_16;

/// What has ended denies and permits nothing: how soon it is removed is a matter of space only.
const COLLECT_EVERY: Duration = Duration::from_secs(60);

impl Authority {
    /// Call it every second.
    pub async fn tend(&self) {
        if !self.inner.raft.is_leader() {
            return;
        }
        self.finish_interrupted_change().await;
        self.collect_ended().await;
        self.step_aside().await;
    }

    /// A leader that crashed between the two steps of a change left the members in both configurations.
    async fn finish_interrupted_change(&self) {
        let Ok(_one_at_a_time) = self.inner.changing.try_lock() else {
            return;
        };
        if let Err(error) = self.inner.raft.finish_interrupted_change().await {
            tracing::warn!(%error, "could not complete a change of the members that an earlier leader began");
        }
    }

    /// An entry of the log, so that every replica keeps one state.
    async fn collect_ended(&self) {
        let (tick, wall) = (self.inner.clock.monotonic(), self.inner.clock.wall());
        let now = wall.seconds();
        let last = Monotonic(self.inner.collected.load(Ordering::Relaxed));
        if tick.since(last) < COLLECT_EVERY || !self.state().has_ended(wall) {
            return;
        }
        self.inner.collected.store(tick.0, Ordering::Relaxed);
        let identity = self.inner.raft.identity();
        let (by, request) = (identity.urn(identity.id), RequestId(random_16()));
        match self
            .propose(Command::Collect { now }, &by, request, self.deadline())
            .await
        {
            Ok((applied, _)) => tracing::info!(?applied, "collected what had ended"),
            Err(error) => {
                tracing::warn!(error = %Failure::from(error), "could not collect what had ended")
            }
        }
    }

    /// A leader without room on its disk refuses every write, while another member may have room.
    async fn step_aside(&self) {
        let Some(reason) = self.inner.guard.get().and_then(|guard| guard()) else {
            return;
        };
        let Ok(_one_at_a_time) = self.inner.changing.try_lock() else {
            return;
        };
        let has_room = |id: u64| {
            let heard = self.inner.neighbours.last_heard();
            self.is_alive(id)
                && heard
                    .get(&id)
                    .is_some_and(|neighbour| neighbour.status.state == "ready")
        };
        let Some(heir) = self.inner.raft.heir(has_room) else {
            return;
        };
        tracing::warn!(reason, heir, "cannot write: handing leadership over");
        let change = crate::raft::membership::Change::TransferTo(heir);
        if let Err(error) = self.inner.raft.change(change, &self.inner.gate).await {
            tracing::warn!(%error, "leadership was not handed over");
        }
    }
}
