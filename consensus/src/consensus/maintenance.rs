//! Background maintenance of the leader, once a second: completes what an earlier leader left half done, collects what
//! has ended, and steps aside when it leads but cannot write. And of every member: purges the log.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hessra_proto::status::Failure;
use hessra_revocation::Monotonic;
use hessra_state::{Command, Duty};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Consensus;
use crate::clocks::{self, ClockState};
use crate::measurement::Measurement;
use crate::membership::Change;
use crate::plant::{Plant, is_planted};
use crate::trace::{Stage, Step};
use crate::world::World;

/// An interrupted change of the members is completed within about so long.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// Pause between collections of what has ended: that denies and permits nothing, and is a matter of space only.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// Collections in a row while something is being undone: what else this loop does waits for a second at most.
const COLLECTIONS_MAX: usize = 50;

impl<W: World> Consensus<W> {
    pub(super) async fn maintain(&self) {
        // Beside each other: what waits for a commit must not hold up what lets another leader be elected.
        tokio::join!(
            self.finish_changes(),
            self.leave_to_another(),
            self.give_way(),
            self.collect(),
            self.purge_log()
        );
    }

    /// Takes note of what is applied, for traces.
    pub(super) async fn trace_applied(&self) {
        if !self.inner.world.is_tracing() {
            return;
        }
        let mut published = self.inner.raft.watch();
        let mut last = published.borrow().applied.map_or(0, |id| id.index);
        while published.changed().await.is_ok() {
            for entry in self.inner.raft.remembered().recent(last) {
                last = entry.index;
                let changes: Vec<_> = entry.changes.iter().map(|(change, _)| *change).collect();
                self.inner.world.trace(Step {
                    stage: Stage::Applied { index: entry.index },
                    changes: &changes,
                    took: entry.applied,
                });
            }
        }
    }

    async fn purge_log(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            self.inner.raft.purge(self.inner.audit.resumes()).await;
        }
    }

    async fn finish_changes(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            if self.inner.raft.is_leader() {
                self.finish_interrupted_change().await;
            }
        }
    }

    async fn leave_to_another(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            if self.inner.raft.is_leader() {
                self.step_aside().await;
            }
        }
    }

    async fn give_way(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            if self.inner.raft.is_leader() {
                self.stand_back_if_refused().await;
            }
        }
    }

    async fn collect(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            if self.inner.raft.is_leader() && self.why_not_write().is_none() {
                self.collect_ended().await;
            }
        }
    }

    /// A leader that crashed between the two steps of a change left the members in both configurations.
    async fn finish_interrupted_change(&self) {
        if is_planted(Plant::JointChangeAbandoned) {
            return;
        }
        let Some(_turn) = self.inner.turns.try_change() else {
            return;
        };
        if let Err(error) = self.inner.raft.finish_interrupted_change().await {
            tracing::warn!(%error, "could not complete a change of the members that an earlier leader began");
        }
    }

    /// Proposes the collection: an entry of the log, so that every replica keeps one state.
    async fn collect_ended(&self) {
        let (tick, wall) = (self.inner.world.monotonic(), self.inner.world.wall());
        let now = wall.seconds();
        let last = Monotonic(self.inner.collected.load(Ordering::Relaxed));
        let is_due = tick.since(last) >= COLLECT_EVERY && self.state().has_ended(wall);
        // What is being undone denies until it is removed: people wait for it.
        if !is_due && self.state().undoing().next().is_none() {
            return;
        }
        self.inner.collected.store(tick.0, Ordering::Relaxed);
        for _ in 0..COLLECTIONS_MAX {
            let proposed = self.propose(
                Command::Collect { now },
                self.asked_by_node(Duty::Collection),
                self.deadline(),
            );
            match proposed.await {
                Ok(committed) => {
                    tracing::info!(applied = ?committed.applied, "collected what had ended");
                }
                Err(error) => {
                    tracing::warn!(error = %Failure::from(error), "could not collect what had ended");
                    return;
                }
            }
            if self.state().undoing().next().is_none() {
                return;
            }
        }
    }

    /// Reason for which this node may not write as the leader; `None` = it may.
    fn why_not_write(&self) -> Option<String> {
        let clock_off = || match self.clock() {
            ClockState::Off(ahead) => Some(clocks::off(self.inner.raft.identity().id, ahead)),
            ClockState::Right | ClockState::Unknown => None,
        };
        self.inner.guard.refusal().or_else(clock_off)
    }

    /// Hands leadership over when this node may not write and another member may: it would refuse every write.
    async fn step_aside(&self) {
        let Some(reason) = self.why_not_write() else {
            return;
        };
        let Some(_turn) = self.inner.turns.try_change() else {
            return;
        };
        let has_room = |id: u64| {
            let heard = self.inner.neighbours.last_heard();
            let is_ready = heard.get(&id).is_some_and(|known| known.status.is_ready());
            self.is_alive(id) && is_ready
        };
        let Some(heir) = self.inner.raft.heir(has_room) else {
            return;
        };
        tracing::warn!(reason, heir, "cannot write: handing leadership over");
        let change = Change::TransferTo(heir);
        if let Err(error) = self.inner.raft.change(change, &self.inner.pause).await {
            tracing::warn!(%error, "leadership was not handed over");
        }
    }

    /// Lets another member be elected when a quorum refuses what this leader has appended: nothing could be written any more.
    async fn stand_back_if_refused(&self) {
        if !self.inner.raft.is_refused() {
            return;
        }
        tracing::error!(
            "a quorum refuses an entry of this leader, because its author is not proved to them: standing back for another \
             leader. Give all nodes the same `tls.client_ca`"
        );
        self.inner.world.measure(Measurement::StoodBack);
        self.inner.raft.stand_back().await;
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(MAINTAIN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
