//! Raft as the rest of consensus sees it: write a batch, confirm a quorum, read who leads.
//!
//! ```text
//! proposer ──write──▶ RaftHandle ──▶ openraft ──▶ storage (log, machine)
//!                         │              └──▶ network ──▶ Peers: the other members
//!                         └─published──▶ the state after every applied batch
//! ```
//!
//! openraft's types are named here and in the seam only. Five facts about openraft 0.9 shape it:
//! - it sends an entry only when its own disk has it, and counts itself at once: it is told that an entry is on the disk when
//!   it is written, and what rests on the disk waits for it ([`hessra_sled::Durability`], [`network`]). A node that led when it
//!   stopped would lead again when it starts, in the term in which it may have sent more than it has: the store hides that it
//!   led, and it is elected like any other;
//! - it cannot hand leadership over: the chosen follower is asked to stand ([`change`]);
//! - its election timer has one length for the life of a process: [`candidacy`] ends a split vote;
//! - a leader that wants to send a snapshot to a follower of a higher term may stop for good
//!   ([`StopReason::Deposed`](crate::StopReason::Deposed)): the process ends, and its supervisor starts it again;
//! - one append to a follower may take one heartbeat interval, disk included, before it is tried again.
//!
//! This module decides nothing about who may write.

mod candidacy;
mod change;
mod network;
mod refusals;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use hessra_revocation::Monotonic;
use hessra_sled::{
    Answers, Durability, Engine, LogId, Member, Parts, Proposal, Published, Remembered, Types,
};
use hessra_state::{Applied, Start, State};
use openraft::error::{CheckIsLeaderError, ClientWriteError, InitializeError, RaftError};
use openraft::storage::RaftLogStorage;
use openraft::{AsyncRuntime, ServerState};
use tokio::sync::watch;

pub use settings::{NodeIdentity, RaftSettings};

use crate::askers::{Askers, ReadIndex};
use crate::clocks::{ClockState, Clocks, Now};
use crate::error::{ReadError, StartError, WriteError};
use crate::measurement::Measurement;
use crate::peers::Peer;
use crate::plant::{Plant, is_planted};
use crate::status::{Members, Metrics, RaftStatus, Role, StopReason, matched, members, status};
use crate::stores::{KeepStart, Stores};
use crate::trace::{Stage, Step, TracedChange};
use crate::world::World;
use candidacy::Candidacy;
use refusals::Refusals;

/// openraft over the product's types, on the runtime of a world.
type Raft<W> = openraft::Raft<Types<<W as World>::Runtime>>;

/// One entry, committed and applied here.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// Log index of the entry.
    pub(crate) index: u64,
    /// Answers in the order of the commands of the entry.
    pub(crate) answers: Vec<Applied>,
}

/// Raft of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct RaftHandle<W: World> {
    raft: Raft<W>,
    world: W,
    identity: Arc<NodeIdentity>,
    settings: Arc<RaftSettings>,
    published: watch::Receiver<Arc<Published>>,
    remembered: Arc<dyn Remembered>,
    durability: Durability,
    refusals: Refusals,
    /// True while this leader confirms nothing, for another one to be elected.
    stands_back: Arc<AtomicBool>,
    stores: Stores,
    askers: Askers,
}

/// Leader that stands back, however that ends.
struct StandingBack<W: World> {
    raft: Raft<W>,
    stands_back: Arc<AtomicBool>,
}

impl<W: World> StandingBack<W> {
    fn begin(handle: &RaftHandle<W>) -> Self {
        handle.stands_back.store(true, Ordering::Release);
        handle.raft.runtime_config().heartbeat(false);
        Self {
            raft: handle.raft.clone(),
            stands_back: Arc::clone(&handle.stands_back),
        }
    }
}

impl<W: World> Drop for StandingBack<W> {
    fn drop(&mut self) {
        self.raft.runtime_config().heartbeat(true);
        self.stands_back.store(false, Ordering::Release);
    }
}

/// Stops consensus when this node has ended itself, so that it promises nothing more while its process goes down.
async fn end_with<R: AsyncRuntime>(stores: Stores, raft: openraft::Raft<Types<R>>) {
    let reason = stores.when_ended().await;
    tracing::error!(%reason, "this node takes no part in consensus any more");
    let _ = raft.shutdown().await;
}

/// Ends this node when its disk fails: what it appended may never be durable, and openraft takes it for done.
async fn end_without_disk(stores: Stores, durability: Durability) {
    let error = durability.failed().await;
    stores.end(StopReason::failed(error.to_string()));
}

/// Starts Raft over an opened store.
///
/// # Errors
/// When the timing is contradictory, or the store cannot be read: see the sentence.
pub(crate) async fn start<W: World, E: Engine>(
    (mut log, machine): Parts<E, W::Runtime>,
    identity: NodeIdentity,
    settings: RaftSettings,
    world: W,
) -> Result<RaftHandle<W>, StartError> {
    let storage = |error: &dyn std::fmt::Display| StartError::Storage(error.to_string());
    let config = Arc::new(settings.config(&identity.cluster)?);
    let random = [world.random(), world.random()];
    let begun = log.begin(random).await;
    let own = begun.map_err(|error| storage(&error))?;
    let keeper = log.start_keeper();
    let keep: KeepStart = Box::new(move |start| {
        let keeper = keeper.clone();
        async move { keeper.keep(&start).await }.boxed()
    });
    let vote = log.read_vote().await.map_err(|error| storage(&error))?;
    let durability = log.durability().clone();
    let (published, remembered) = (machine.watch(), machine.remembered());
    let candidacy = Arc::new(Candidacy::default());
    let stored = log.get_log_state().await.map_err(|error| storage(&error))?;
    let applied = published.borrow().applied;
    let held = stored.last_log_id.max(applied).map_or(0, |id| id.index);
    let stores = Stores::new(
        (identity.id, own, keep),
        (vote.unwrap_or_default(), held),
        published.clone(),
    );
    let refusals = Refusals::default();
    let network = network::Factory::new(
        (world.clone(), stores.clone(), durability.clone()),
        (Arc::clone(&candidacy), refusals.clone()),
        &settings,
    );
    let raft = openraft::Raft::new(identity.id, config, network, log, machine)
        .await
        .map_err(|error| storage(&error))?;
    if !is_planted(Plant::ElectionTimerDrawnOnce) {
        let (shortest, longest) = (settings.election_min, settings.election_max);
        drop(W::Runtime::spawn(candidacy.stand_again_at_random(
            raft.clone(),
            shortest,
            longest,
        )));
    }
    drop(W::Runtime::spawn(end_with(stores.clone(), raft.clone())));
    drop(W::Runtime::spawn(end_without_disk(
        stores.clone(),
        durability.clone(),
    )));
    Ok(RaftHandle {
        raft,
        world,
        identity: Arc::new(identity),
        settings: Arc::new(settings),
        published,
        remembered,
        durability,
        refusals,
        stands_back: Arc::default(),
        stores,
        askers: Askers::default(),
    })
}

impl<W: World> RaftHandle<W> {
    /// First start of a cluster: all initial members call it with one list, and it does nothing where the cluster
    /// is already there.
    ///
    /// # Errors
    /// When this node is not in the list, or consensus has stopped.
    pub(crate) async fn initialize(
        &self,
        members: BTreeMap<u64, Member>,
    ) -> Result<(), StopReason> {
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::Fatal(fatal)) => Err(StopReason::of(&fatal)),
            Err(error) => Err(StopReason::failed(error.to_string())),
        }
    }

    /// True when this node has neither voted nor a log: its store has never promised anything.
    ///
    /// # Errors
    /// When consensus has stopped.
    pub(crate) async fn is_untouched(&self) -> Result<bool, StopReason> {
        let initialized = self.raft.is_initialized().await;
        initialized
            .map(|initialized| !initialized)
            .map_err(|fatal| StopReason::of(&fatal))
    }

    /// State of this node's clock, by these comparisons.
    pub(crate) fn clock(&self, clocks: &Clocks, now: Now) -> ClockState {
        let members = self.members();
        let voters: BTreeSet<u64> = members.voters.iter().flatten().copied().collect();
        let voters: Vec<u64> = voters.into_iter().collect();
        clocks.state(self.identity.id, self.status().leader, &voters, now)
    }

    /// Start of this process on its store.
    #[must_use]
    pub fn start(&self) -> Start {
        self.stores.own()
    }

    /// Questions of the members to a leader.
    pub(crate) fn askers(&self) -> &Askers {
        &self.askers
    }

    /// Term that this node knows.
    pub(crate) fn term(&self) -> u64 {
        self.raft.metrics().borrow().current_term
    }

    /// Takes note of the flush that made an entry durable here, for traces.
    pub(crate) fn trace_flush(&self, index: u64, changes: &[TracedChange]) {
        if changes.is_empty() {
            return;
        }
        if let Some(flush) = self.durability.flush_of(index) {
            self.world.trace(Step {
                stage: Stage::Flushed { index },
                changes,
                took: (flush.written, flush.durable),
            });
        }
    }

    /// Durability of this node's log.
    pub(crate) fn durability(&self) -> &Durability {
        &self.durability
    }

    /// Stores of the members.
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// A member, as it is asked from here.
    pub(crate) fn peer(&self, id: u64, member: &Member) -> Peer {
        Peer {
            id,
            member: member.clone(),
            between: self.stores.between(id, member),
        }
    }

    /// Identity of this node.
    #[must_use]
    pub fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// Timing in use.
    #[must_use]
    pub fn settings(&self) -> &RaftSettings {
        &self.settings
    }

    /// The state as last applied here: may be behind the cluster, see [`Self::confirm`].
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.published.borrow().state)
    }

    /// Follows the applied state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.published.clone()
    }

    /// Answers given before, as of the newest entry applied here.
    #[must_use]
    pub fn remembered(&self) -> &Arc<dyn Remembered> {
        &self.remembered
    }

    /// Log index of the newest entry in the published state; 0 = none.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.published.borrow().applied.map_or(0, |id| id.index)
    }

    /// Waits until the published state holds the entry at `index`.
    ///
    /// # Errors
    /// When the state machine has stopped.
    pub(crate) async fn wait_applied(&self, index: u64) -> Result<(), ReadError> {
        let reached =
            |published: &Arc<Published>| published.applied.map_or(0, |id| id.index) >= index;
        let stopped = |_| ReadError::Stopped(StopReason::failed("the state machine has stopped"));
        self.published
            .clone()
            .wait_for(reached)
            .await
            .map(drop)
            .map_err(stopped)
    }

    /// Status of this node: who leads, and how far it is.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        let mut status = status(&self.raft.metrics().borrow(), self.applied_index());
        if let Some(reason) = self.stores.ended() {
            (status.stopped, status.role) = (Some(reason), Role::Stopped);
        }
        status
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> Members {
        members(&self.raft.metrics().borrow())
    }

    /// True when the newest membership that this node knows names `id`.
    #[must_use]
    pub fn is_member(&self, id: u64) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics
            .membership_config
            .membership()
            .get_node(&id)
            .is_some()
    }

    /// The leader this node knows, with its address.
    #[must_use]
    pub fn leader(&self) -> Option<Peer> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let id = metrics.current_leader?;
        let member = metrics.membership_config.membership().get_node(&id)?;
        Some(self.peer(id, member))
    }

    /// True when this node believes that it leads. Only [`Self::confirm`] proves it.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }

    /// Resolves when leadership of the current term is lost.
    pub(crate) async fn deposed(&self) {
        let mut metrics = self.raft.metrics();
        let term = metrics.borrow().current_term;
        let over = |metrics: &Metrics| {
            metrics.state != ServerState::Leader || metrics.current_term != term
        };
        // An error means that consensus has stopped, and then this node leads no more either.
        let _ = metrics.wait_for(over).await;
    }

    /// Resolves when the known leader is not `current`. Never once consensus has stopped: nothing changes any more.
    pub(crate) async fn leader_is_not(&self, current: Option<u64>) {
        let mut metrics = self.raft.metrics();
        let other = metrics.wait_for(|metrics| metrics.current_leader != current);
        if other.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves with the reason when consensus has stopped on this node for good.
    pub async fn stopped(&self) -> StopReason {
        tokio::select! {
            biased;
            reason = self.stores.when_ended() => reason,
            reason = self.consensus_stopped() => reason,
        }
    }

    async fn consensus_stopped(&self) -> StopReason {
        let mut metrics = self.raft.metrics();
        let stopped = metrics.wait_for(|metrics| metrics.running_state.is_err());
        match stopped
            .await
            .as_deref()
            .map(|metrics| &metrics.running_state)
        {
            Ok(Err(fatal)) => StopReason::of(fatal),
            _ => StopReason::failed("consensus task ended"),
        }
    }

    /// Members whose log holds `index`, this node included. Known to the leader only; elsewhere 0.
    #[must_use]
    pub(crate) fn holders(&self, index: u64) -> usize {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let Some(replication) = &metrics.replication else {
            return 0;
        };
        replication
            .values()
            .filter(|matched| matched.is_some_and(|id| id.index >= index))
            .count()
    }

    /// Returns when all of `ids` hold `index` in their log, or this node leads no more.
    pub(crate) async fn held_by(&self, index: u64, ids: &[u64]) {
        let held = |metrics: &Metrics| match &metrics.replication {
            Some(replication) => ids.iter().all(|id| matched(replication.get(id)) >= index),
            None => true,
        };
        let _ = self.raft.metrics().wait_for(held).await;
    }

    /// Log index up to which the member's log is known to match; 0 when unknown or not leading.
    #[must_use]
    pub fn matched_index(&self, id: u64) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics
            .replication
            .as_ref()
            .map_or(0, |replication| matched(replication.get(&id)))
    }

    /// Commits and applies one entry. Leader only. Waits as long as it takes: callers bound it.
    ///
    /// # Errors
    /// [`WriteError::NoLeader`]: not written, or overwritten by another leader's entry: try there with the same
    /// request ids, which makes a second writing harmless. [`WriteError::Stopped`].
    pub(crate) async fn write(&self, proposal: Proposal) -> Result<Written, WriteError> {
        self.world
            .measure(Measurement::EntryProposed(proposal.0.len()));
        if is_planted(Plant::AnswerBeforeCommit) {
            return Ok(self.predicted(proposal));
        }
        match self.raft.client_write(proposal).await {
            Ok(response) => {
                let Answers(answers) = response.data;
                Ok(Written {
                    index: response.log_id.index,
                    answers,
                })
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(WriteError::NoLeader)
            }
            Err(RaftError::Fatal(fatal)) => Err(WriteError::Stopped(StopReason::of(&fatal))),
            Err(error) => Err(WriteError::Stopped(StopReason::failed(error.to_string()))),
        }
    }

    /// Confirms with a quorum that this node leads *now*, and names the log index that a linearizable reader must
    /// have applied (Raft §6.4, read-index). Waits as long as one heartbeat interval.
    ///
    /// # Errors
    /// When this node does not lead, or too few members answered in time.
    pub(crate) async fn confirm(&self) -> Result<u64, ReadError> {
        if self.stands_back.load(Ordering::Acquire) {
            return Err(ReadError::NoLeader);
        }
        if is_planted(Plant::ConfirmWithoutQuorum) && self.is_leader() {
            return Ok(self.applied_index());
        }
        match self.raft.get_read_log_id().await {
            Ok((read, _)) if is_planted(Plant::StaleCommitIndex) => {
                Ok(read.map_or(0, |id| id.index.saturating_sub(3)))
            }
            Ok((read, _)) => Ok(read.map_or(0, |id| id.index)),
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(ReadError::NoQuorum)
            }
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_))) => {
                Err(ReadError::NoLeader)
            }
            Err(RaftError::Fatal(fatal)) => Err(ReadError::Stopped(StopReason::of(&fatal))),
        }
    }

    /// True when a quorum refuses what this leader appends: an author is not proved to it.
    pub(crate) fn is_refused(&self) -> bool {
        !is_planted(Plant::RefusedLeaderStays)
            && self.is_leader()
            && self.refusals.are_of_quorum(self.term(), &self.members())
    }

    /// Sends no heartbeat and confirms nothing until another leader is elected, or for the time that two elections take.
    pub(crate) async fn stand_back(&self) {
        let _back = StandingBack::begin(self);
        let elections = self.settings.election_max * 4;
        tokio::select! {
            biased;
            () = self.deposed() => {}
            () = tokio::time::sleep(elections) => {}
        }
    }

    /// Answer of this leader to a reader, after it was confirmed.
    pub(crate) fn read_index(&self, index: u64, now: Monotonic) -> ReadIndex {
        let lately = self.askers.lately(self.term(), self.identity.id, now);
        ReadIndex { index, lately }
    }

    /// Answers as this node expects them, while the entry is still on its way: for [`Plant::AnswerBeforeCommit`].
    fn predicted(&self, proposal: Proposal) -> Written {
        let now = self.remembered.image().machine;
        let judge = self.remembered.judge();
        let mut machine = hessra_state::Machine::from_records(now.records()).unwrap_or_default();
        let written = Written {
            index: self.status().last_index + 1,
            answers: proposal
                .0
                .iter()
                .map(|stamped| machine.apply(stamped, &*judge))
                .collect(),
        };
        let raft = self.raft.clone();
        drop(W::Runtime::spawn(async move {
            let _ = raft.client_write(proposal).await;
        }));
        written
    }

    /// Purges the log below the snapshot, but no entry from `recorded` on, whose record is not durable: as long as there are not
    /// too many of them.
    pub(crate) async fn purge(&self, recorded: u64) {
        let (end, purged) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let end = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
            (end(metrics.snapshot), end(metrics.purged))
        };
        let settings = &self.settings;
        let recorded = match is_planted(Plant::PurgedBeforeRecord) {
            true => u64::MAX,
            false => recorded.max(end.saturating_sub(settings.log_keep_unrecorded)),
        };
        let end = end.saturating_sub(settings.log_keep).min(recorded);
        if end < purged + settings.purge_batch {
            return;
        }
        if let Err(error) = self.raft.trigger().purge_log(end - 1).await {
            tracing::debug!(%error, "the log is not purged any more");
        }
    }

    /// Stops consensus; returns when its tasks have ended.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus task did not end cleanly");
        }
    }

    /// openraft, for what other members ask of it.
    pub(crate) fn openraft(&self) -> &Raft<W> {
        &self.raft
    }
}
