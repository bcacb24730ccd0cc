//! The consensus of one node: acknowledged writes, linearizable reads, changes of the members.
//!
//! ```text
//! propose ──▶ proposer: coalesce ──▶ leader here? append : forward once ──▶ committed ──▶ audit gate ──▶ answer
//! linearize ─▶ confirmer: coalesce ─▶ leader here? quorum : ask the leader ──▶ wait until applied here
//! ```
//!
//! A write that meets an election is tried again inside, with the same request ids, until its caller's deadline: the
//! state machine gives the first answer to a repeated request id, so trying twice is harmless. A caller is never told
//! "committed" when it may not be, or "not committed" when it may be: [`WriteError::Unknown`] says that.
//!
//! Nothing here decides who may ask: that is the business of the API.

mod changes;
mod founding;
mod maintenance;
mod presence;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hessra_audit::Actor;
use hessra_proof::Checker;
use hessra_revocation::Monotonic;
use hessra_sled::{Engine, Entry, Parts, StoreError};
use hessra_state::{Applied, Author, Command, Duty, RequestId, Stamped, State};
use openraft::storage::RaftLogStorage as _;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::audit::follower::LogFollower;
use crate::audit::{AuditGate, AuditLog};
use crate::author;
use crate::clocks::{self, ClockState, Clocks, OFF_MAX, now};
use crate::confirmer::{Confirmation, Confirmer};
use crate::error::{ReadError, StartError, WriteError};
use crate::measurement::Measurement;
use crate::neighbours::Neighbours;
use crate::pause::WritePause;
use crate::peers::Proposed;
use crate::plant::{Plant, is_planted};
use crate::proposer::{Origin, Proposer, WriteGuard};
use crate::raft::{self, NodeIdentity, RaftHandle, RaftSettings};
use crate::settings::{ConsensusSettings, RETRY_PAUSE};
use crate::status::{RaftStatus, StopReason};
use crate::trace::{self, Stage, Step};
use crate::turns::{self, Turns};
use crate::world::World;

/// The longest that a request is worked on, before it is forwarded.
const REQUEST_LIFE_MILLIS: u64 = 60_000;

/// Parts of the consensus of one node.
pub struct Setup<W: World, E: Engine> {
    /// The node, to its peers.
    pub identity: NodeIdentity,
    /// Log and state machine, opened.
    pub store: Parts<E, W::Runtime>,
    /// The process around it.
    pub world: W,
    /// Guard that is asked before every entry that this node writes as the leader.
    pub guard: Arc<dyn WriteGuard>,
    /// Checks the proofs of operators, here and of what other members bring.
    pub operators: Arc<Checker>,
    /// Keeps the audit records, without which nothing is acknowledged.
    pub audit: Arc<dyn AuditLog>,
    /// Timing and compaction of Raft.
    pub raft: RaftSettings,
    /// Limits of writing and reading.
    pub settings: ConsensusSettings,
}

/// A request for a change: its author, its id for retries, and the caller as audit records name it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Author; stands in the log.
    pub author: Author,
    /// A retry must carry the same.
    pub request: RequestId,
    /// The caller as the node that was asked knows it: certificate and address. Stands in this node's records only.
    pub actor: Actor,
}

/// A change that a quorum made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The state machine's answer.
    pub applied: Applied,
    /// Log index of the entry.
    pub index: u64,
    /// Members whose log was known to hold it when the answer was given.
    pub holders: usize,
    /// Time from the asking to the commit, as measured by the node that was asked.
    pub took: Duration,
}

/// The consensus of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Consensus<W: World> {
    inner: Arc<Inner<W>>,
}

/// Reads entries of this node's log, from one index to before another.
type KeptEntries<W> =
    dyn Fn(u64, u64) -> Result<Vec<Entry<<W as World>::Runtime>>, StoreError> + Send + Sync;

struct Inner<W: World> {
    raft: RaftHandle<W>,
    world: W,
    settings: ConsensusSettings,
    proposer: Proposer<W>,
    confirmer: Confirmer,
    neighbours: Neighbours<W>,
    clocks: Clocks,
    operators: Arc<Checker>,
    kept: Box<KeptEntries<W>>,
    pause: WritePause,
    turns: Turns,
    guard: Arc<dyn WriteGuard>,
    audit: AuditGate,
    collected: AtomicU64,
    /// Tick + 1 at which the newest confirmation began whose index is applied here; 0 = none yet.
    fresh: AtomicU64,
}

impl<W: World> Consensus<W> {
    /// Starts Raft and the tasks that coalesce; they end with `stop`. The second value must be run beside: without it
    /// no record is written, and so nothing is acknowledged.
    ///
    /// # Errors
    /// When the timing is contradictory, or the store cannot be read: see the sentence.
    pub async fn start<E: Engine>(
        setup: Setup<W, E>,
        stop: &CancellationToken,
    ) -> Result<(Self, Background), StartError> {
        let Setup {
            identity,
            mut store,
            world,
            guard,
            operators,
            audit,
            raft,
            settings,
        } = setup;
        let log = store.0.get_log_reader().await;
        let kept = store.0.get_log_reader().await;
        let audit = AuditGate::new(audit, identity.id);
        let raft = raft::start(store, identity, raft, world.clone()).await?;
        let (pause, turns) = (WritePause::default(), Turns::default());
        let clocks = Clocks::default();
        let proposer = Proposer::start(
            (raft.clone(), clocks.clone(), Arc::clone(&operators)),
            world.clone(),
            (pause.clone(), turns.clone()),
            Arc::clone(&guard),
            &settings,
            stop,
        );
        let confirmer = Confirmer::start(raft.clone(), world.clone(), stop);
        let neighbours = Neighbours::new(raft.clone(), world.clone(), clocks.clone());
        let remembered = Arc::clone(raft.remembered());
        let follower = LogFollower::new(audit.clone(), world.clone(), remembered);
        let published = raft.watch();
        let consensus = Self {
            inner: Arc::new(Inner {
                raft,
                world,
                settings,
                proposer,
                confirmer,
                neighbours,
                clocks,
                operators,
                kept: Box::new(move |from, end| kept.kept(from, end)),
                pause,
                turns,
                guard,
                audit,
                collected: AtomicU64::new(0),
                fresh: AtomicU64::new(0),
            }),
        };
        let beside = consensus.clone();
        let background = Background(Box::pin(async move {
            tokio::join!(
                follower.run(log, published),
                beside.trace_applied(),
                beside.neighbours().run(),
                beside.maintain(),
                beside.be_present(),
            );
        }));
        Ok((consensus, background))
    }

    /// Raft below.
    #[must_use]
    pub fn raft(&self) -> &RaftHandle<W> {
        &self.inner.raft
    }

    /// The process around it.
    #[must_use]
    pub fn world(&self) -> &W {
        &self.inner.world
    }

    /// The last reports of the other members.
    #[must_use]
    pub fn neighbours(&self) -> &Neighbours<W> {
        &self.inner.neighbours
    }

    /// State of this node's clock, beside those of the other members.
    #[must_use]
    pub fn clock(&self) -> ClockState {
        self.inner
            .raft
            .clock(&self.inner.clocks, now(&self.inner.world))
    }

    /// Time by which the clock of the state is ahead of this node's, which is right; `None`: it is not, or nothing tells.
    #[must_use]
    pub fn time_ahead(&self) -> Option<Duration> {
        let (clock, wall) = (self.state().clock(), self.inner.world.wall());
        let ahead = Duration::from_millis(clock.0.saturating_sub(wall.0));
        let is_ahead = ahead > 2 * clocks::OFF_MAX && self.clock() == ClockState::Right;
        is_ahead.then_some(ahead)
    }

    /// Differences of the other members' clocks from this node's, in milliseconds: as far as they were compared lately.
    #[must_use]
    pub fn clocks_ahead(&self) -> BTreeMap<u64, i64> {
        self.inner.clocks.ahead(now(&self.inner.world))
    }

    /// The state as last applied here, however old. See [`Self::linearize`] and [`Self::freshness`].
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.inner.raft.state()
    }

    /// The audit of this node.
    #[must_use]
    pub fn audit(&self) -> &AuditGate {
        &self.inner.audit
    }

    /// The deadline of a caller that named none.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.inner.settings.deadline
    }

    /// A request of this node itself for one of its duties, with a new id.
    #[must_use]
    pub fn asked_by_node(&self, duty: Duty) -> Asked {
        let id = self.inner.raft.identity().id;
        Asked {
            author: Author::Node { id, duty },
            request: RequestId(self.inner.world.random()),
            actor: Actor::default(),
        }
    }

    /// Makes a command durable on a quorum, and with it its audit record, which every member derives from its log. Answers as the
    /// state machine answered.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn propose(
        &self,
        command: Command,
        asked: Asked,
        deadline: Instant,
    ) -> Result<Committed, WriteError> {
        let audit = &self.inner.audit;
        audit
            .ready(self.inner.raft.applied_index())
            .map_err(WriteError::Unaudited)?;
        self.propose_unrecorded(command, asked, deadline).await
    }

    /// Makes a command durable on a quorum, whether or not its record can be written here: for the one command by which an
    /// audit that is refused may begin again, whose record is then among the first of the new chain.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn propose_unrecorded(
        &self,
        command: Command,
        asked: Asked,
        deadline: Instant,
    ) -> Result<Committed, WriteError> {
        let (stamped, actor) = self.stamp(command, asked)?;
        let _expecting = self.inner.audit.expect(stamped.request, actor);
        let (proposed, took) = self.enqueue(vec![stamped], deadline, Origin::Here).await?;
        committed(proposed, took)
    }

    /// Gives a command its stamp, after a check that its author is who the request says.
    fn stamp(&self, command: Command, asked: Asked) -> Result<(Stamped, Actor), WriteError> {
        let stamped = Stamped {
            at: self.inner.world.wall(),
            author: asked.author,
            request: asked.request,
            command,
        };
        self.check_author(&stamped)?;
        Ok((stamped, asked.actor))
    }

    /// Proposes a batch that another member forwarded. It is not forwarded again.
    ///
    /// # Errors
    /// [`WriteError::NoLeader`] when this node does not lead.
    pub(crate) async fn propose_forwarded(
        &self,
        from: u64,
        commands: Vec<Stamped>,
        deadline: Instant,
    ) -> Result<Proposed, WriteError> {
        if !self.inner.raft.is_leader() {
            return Err(WriteError::NoLeader);
        }
        for stamped in &commands {
            self.check_author(stamped)?;
            // A signature takes about a tenth of a millisecond: others have their turn between.
            tokio::task::yield_now().await;
        }
        self.check_stamps(from, &commands)?;
        let (proposed, _) = self.enqueue(commands, deadline, Origin::Member).await?;
        Ok(proposed)
    }

    /// Checks that the member that forwards has the clock of this leader, about: a stamp from the future shows it at once, and
    /// one from the past when it is older than any request lives.
    fn check_stamps(&self, from: u64, commands: &[Stamped]) -> Result<(), WriteError> {
        if is_planted(Plant::StampsBelieved) {
            return Ok(());
        }
        // A leader whose clock is off says nothing about others: the next one's does. One that is not sure goes by the time that
        // it would stamp.
        let now = self.inner.proposer.time().ok_or(WriteError::NoLeader)?.0;
        let bound = match self.clock() {
            ClockState::Right => OFF_MAX,
            // The time that it goes by may be a little behind.
            _ => OFF_MAX * 3,
        };
        let bound = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        let delay = bound.saturating_add(REQUEST_LIFE_MILLIS);
        let off = commands
            .iter()
            .map(|stamped| stamped.at.0)
            .find(|at| at.saturating_sub(now) > bound || now.saturating_sub(*at) > delay);
        off.map_or(Ok(()), |at| {
            let ahead = at.wrapping_sub(now).cast_signed();
            Err(WriteError::ClockOff(clocks::off(from, ahead)))
        })
    }

    /// Checks who made a command, before it is proposed.
    fn check_author(&self, stamped: &Stamped) -> Result<(), WriteError> {
        let checked = author::check(
            &self.inner.operators,
            author::cluster_of(&self.state()),
            stamped,
        );
        checked.map_err(|unproved| WriteError::Unproved(unproved.to_string()))
    }

    /// Checker of operators' proofs.
    pub(crate) fn operators(&self) -> &Arc<Checker> {
        &self.inner.operators
    }

    /// Entries of this node's log, from one index to before another.
    pub(crate) fn kept(&self, from: u64, end: u64) -> Result<Vec<Entry<W::Runtime>>, StoreError> {
        (self.inner.kept)(from, end)
    }

    /// The answers, and the time to the commit.
    async fn enqueue(
        &self,
        commands: Vec<Stamped>,
        deadline: Instant,
        origin: Origin,
    ) -> Result<(Proposed, Duration), WriteError> {
        let begun = Instant::now();
        let world = &self.inner.world;
        let changes = match origin {
            Origin::Here if world.is_tracing() => trace::traced(&commands),
            Origin::Here | Origin::Member => Vec::new(),
        };
        self.wait_for_changes(&commands, deadline).await;
        let proposer = &self.inner.proposer;
        let proposed = proposer.enqueue(commands, deadline, origin).await;
        if !changes.is_empty() {
            let index = proposed.as_ref().ok().map(|proposed| proposed.index);
            world.trace(Step {
                stage: Stage::Changed { index },
                changes: &changes,
                took: (begun, Instant::now()),
            });
        }
        let (proposed, took) = (proposed?, begun.elapsed());
        world.measure(Measurement::CommitTook(took));
        Ok((proposed, took))
    }

    /// Waits, as the leader, before it takes a permission for a change of the members, until no other change is being made.
    /// The proposer refuses one that comes nevertheless.
    async fn wait_for_changes(&self, commands: &[Stamped], deadline: Instant) {
        let state = self.state();
        let permits = |stamped: &Stamped| turns::may_permit(&stamped.command, &state);
        if self.inner.raft.is_leader() && commands.iter().any(permits) {
            let _ = timeout_at(deadline, self.inner.turns.no_change()).await;
        }
    }

    /// Confirms a quorum, and returns when this node has applied everything acknowledged before the call.
    ///
    /// # Errors
    /// See [`ReadError`]. An election is waited for, until the deadline.
    pub async fn linearize(&self, deadline: Instant) -> Result<Confirmation, ReadError> {
        if is_planted(Plant::StaleRead) {
            return Ok(Confirmation::now(&self.inner.world));
        }
        let confirmation = self.confirm(deadline).await?;
        let applied = timeout_at(deadline, self.inner.raft.wait_applied(confirmation.index)).await;
        applied.map_err(|_| ReadError::NoQuorum)??;
        self.inner
            .fresh
            .fetch_max(confirmation.began.tick.0 + 1, Ordering::AcqRel);
        Ok(confirmation)
    }

    /// Confirms a quorum, here or at the leader, without waiting for this node to catch up.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) async fn confirm(&self, deadline: Instant) -> Result<Confirmation, ReadError> {
        loop {
            let RaftStatus {
                leader, stopped, ..
            } = self.inner.raft.status();
            if let Some(reason) = stopped {
                return Err(ReadError::Stopped(reason));
            }
            let error = match timeout_at(deadline, self.inner.confirmer.confirm()).await {
                Err(_) => return Err(ReadError::NoQuorum),
                Ok(Ok(confirmation)) => return Ok(confirmation),
                Ok(Err(ReadError::Stopped(reason))) => return Err(ReadError::Stopped(reason)),
                Ok(Err(error)) => error,
            };
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(error);
            }
            // An election ends within a second or two; a caller with a deadline beyond it should not see it.
            let pause = Instant::now() + RETRY_PAUSE;
            let _ = timeout_at(pause, self.inner.raft.leader_is_not(leader)).await;
        }
    }

    /// Age of this node's knowledge: time since the last confirmation began whose index is applied here.
    /// `None` = nothing was confirmed in this process.
    #[must_use]
    pub fn freshness(&self) -> Option<Duration> {
        let tick = self.inner.fresh.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.inner.world.monotonic().since(Monotonic(tick)))
    }
}

/// The only answer of a batch of one.
fn committed(proposed: Proposed, took: Duration) -> Result<Committed, WriteError> {
    let applied = proposed.answers.into_iter().next();
    Ok(Committed {
        applied: applied
            .ok_or_else(|| WriteError::Stopped(StopReason::failed("no answer was given")))?,
        index: proposed.index,
        holders: proposed.holders,
        took,
    })
}

/// The work of consensus beside requests: reads the log into the audit, asks the other members for their reports,
/// completes what an earlier leader left half done. Ends by itself only when the node stops.
#[must_use = "without it nothing is ever acknowledged"]
pub struct Background(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>);

impl Background {
    /// Runs it until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.0).await;
    }
}
