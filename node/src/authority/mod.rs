//! What the cluster is asked to do, and what it is asked to know.
//!
//! ```text
//! propose ──▶ proposer: coalesce ──▶ leader here? write : forward the batch once ──▶ answers
//! linearize ─▶ confirmer: coalesce ─▶ leader here? quorum : ask the leader ──▶ wait until applied here
//! ```
//!
//! A write that meets an election is tried again inside, with the same request ids, until its caller's deadline: the
//! state machine gives the first answer to a repeated request id, so trying twice is harmless. What a caller is never
//! told is "committed" when it may not be, or "not committed" when it may be: [`ProposeError::Unknown`] says that.
//!
//! Nothing here decides who may ask: that is `api`.

mod changes;
mod confirmer;
mod error;
pub mod inspector;
pub mod neighbours;
mod proposer;
mod tend;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hessra_revocation::{Monotonic, UnixMillis};
use hessra_state::{Applied, Command, RequestId, Stamped, State};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

pub use error::{ProposeError, ReadError};
pub use proposer::Committed;

use crate::audit::{Auditor, trail};
use crate::edge::Clock;
use crate::raft::membership::Gate;
use crate::raft::{ConfirmError, RaftHandle};
use confirmer::Confirmer;
use neighbours::Neighbours;
use proposer::Proposer;

/// Limits and bounds of writing and reading.
#[derive(Clone, Debug)]
pub struct AuthoritySettings {
    /// Revocations waiting to be proposed; more are refused. Reserved: no other write takes their place. Default 4,096.
    pub revocations_queued_max: usize,
    /// Other writes waiting. Default 512.
    pub others_queued_max: usize,
    /// Bytes of all writes waiting or under way. Default 64 MiB.
    pub queued_bytes_max: usize,
    /// Log entries under way at a time: while one is replicated the next is written. Default 2.
    pub pipeline: usize,
    /// A write or linearizable read without a deadline of its own gets this one. Default 10 s.
    pub deadline: Duration,
    /// A member that was not heard of for so long is taken for dead. Default 3 s.
    pub silent_after: Duration,
}

impl Default for AuthoritySettings {
    fn default() -> Self {
        Self {
            revocations_queued_max: 4_096,
            others_queued_max: 512,
            queued_bytes_max: 64 * 1024 * 1024,
            pipeline: 2,
            deadline: Duration::from_secs(10),
            silent_after: Duration::from_secs(3),
        }
    }
}

/// The instant at which a confirmation of the quorum began, on both clocks of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Began {
    pub tick: Monotonic,
    pub wall: UnixMillis,
}

/// A quorum stood behind a leader at some moment after `began`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Everything acknowledged before `began` is at or below this log index.
    pub index: u64,
    /// When it began.
    pub began: Began,
}

/// Says why nothing may be written on this node now; `None` = it may.
type Guard = Arc<OnceLock<Box<dyn Fn() -> Option<String> + Send + Sync>>>;

/// The authority of this node. Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    raft: RaftHandle,
    clock: Clock,
    settings: AuthoritySettings,
    proposer: Proposer,
    confirmer: Confirmer,
    neighbours: Neighbours,
    gate: Gate,
    changing: Mutex<()>,
    guard: Guard,
    auditor: OnceLock<Auditor>,
    collected: AtomicU64,
    /// Tick + 1 at which the newest confirmation began whose index is applied here; 0 = none yet.
    fresh: AtomicU64,
}

impl Authority {
    /// Starts the tasks that coalesce; they end with `stop`.
    #[must_use]
    pub fn start(
        raft: RaftHandle,
        settings: AuthoritySettings,
        clock: Clock,
        stop: &CancellationToken,
    ) -> Self {
        let (gate, guard) = (Gate::default(), Guard::default());
        let proposer = Proposer::start(
            raft.clone(),
            gate.clone(),
            Arc::clone(&guard),
            &settings,
            stop.clone(),
        );
        let confirmer = Confirmer::start(raft.clone(), clock, stop.clone());
        let neighbours = Neighbours::new(raft.clone(), clock);
        let inner = Inner {
            raft,
            clock,
            settings,
            proposer,
            confirmer,
            neighbours,
            gate,
            changing: Mutex::new(()),
            guard,
            auditor: OnceLock::new(),
            collected: AtomicU64::new(0),
            fresh: AtomicU64::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Consensus below.
    #[must_use]
    pub fn raft(&self) -> &RaftHandle {
        &self.inner.raft
    }

    /// What the other members last said of themselves.
    #[must_use]
    pub fn neighbours(&self) -> &Neighbours {
        &self.inner.neighbours
    }

    /// The clock of this node.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    /// The state as last applied here, however old. See [`Self::linearize`] and [`Self::freshness`].
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.inner.raft.state()
    }

    /// Asked before every entry that this node writes as the leader: a full disk must be met by a refusal, before it
    /// is met by an error that stops the node. Set once; later calls change nothing.
    pub fn refuse_writes_when(&self, reason: impl Fn() -> Option<String> + Send + Sync + 'static) {
        let _ = self.inner.guard.set(Box::new(reason));
    }

    /// From now on a write is acknowledged only after its audit record is durable here, and refused when none can be
    /// written. Set once; later calls change nothing.
    pub fn audited_by(&self, auditor: Auditor) {
        let _ = self.inner.auditor.set(auditor);
    }

    /// The audit of this node; `None` where there is none (tests and the simulation of consensus).
    #[must_use]
    pub fn auditor(&self) -> Option<&Auditor> {
        self.inner.auditor.get()
    }

    /// No write waits on this node.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inner.proposer.is_idle()
    }

    /// The deadline of a caller that named none.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.inner.settings.deadline
    }

    /// Makes a command durable and answers what the state machine answered, here or at the leader.
    ///
    /// `by` is the identity of who asks. A retry must carry the same request id.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(
        &self,
        command: Command,
        by: &str,
        request: RequestId,
        deadline: Instant,
    ) -> Result<(Applied, Committed), ProposeError> {
        let stamped = Stamped {
            at: self.inner.clock.wall(),
            by: by.to_owned(),
            request,
            command,
        };
        let mut committed = self.submit_audited(stamped, deadline).await?;
        let applied = committed
            .answers
            .pop()
            .ok_or_else(|| ProposeError::Stopped("no answer was given".to_owned()))?;
        Ok((applied, committed))
    }

    /// Proposes what another member forwarded. It is not forwarded again.
    ///
    /// # Errors
    /// [`ProposeError::NoLeader`] when this node does not lead.
    pub async fn propose_forwarded(
        &self,
        commands: Vec<Stamped>,
        deadline: Instant,
    ) -> Result<Committed, ProposeError> {
        if !self.inner.raft.is_leader() {
            return Err(ProposeError::NoLeader);
        }
        self.submit(commands, deadline, false).await
    }

    async fn submit_audited(
        &self,
        stamped: Stamped,
        deadline: Instant,
    ) -> Result<Committed, ProposeError> {
        let Some(auditor) = self.auditor() else {
            return self.submit(vec![stamped], deadline, true).await;
        };
        auditor.ready().map_err(ProposeError::Unaudited)?;
        let _expecting = auditor.expect(stamped.request, trail::current().noted().actor);
        let committed = self.submit(vec![stamped], deadline, true).await?;
        auditor
            .covers(committed.index, deadline)
            .await
            .map_err(ProposeError::CommittedUnaudited)?;
        Ok(committed)
    }

    async fn submit(
        &self,
        commands: Vec<Stamped>,
        deadline: Instant,
        forward: bool,
    ) -> Result<Committed, ProposeError> {
        let begun = Instant::now();
        let proposed = self.inner.proposer.submit(commands, deadline, forward);
        let mut committed = proposed.await?;
        committed.took = begun.elapsed();
        let seconds = committed.took.as_secs_f64();
        crate::telemetry::metrics()
            .commit_duration
            .record(seconds, &[]);
        self.count_holders(&mut committed).await;
        Ok(committed)
    }

    /// A quorum has the entry in any case; the other members of one site follow within a millisecond, and are waited
    /// for while nobody else waits. Only the leader knows; its answer to a forwarded batch says it too.
    async fn count_holders(&self, committed: &mut Committed) {
        let raft = &self.inner.raft;
        if !raft.is_leader() || !self.is_idle() {
            return;
        }
        let members = raft.members().nodes.into_keys();
        let alive: Vec<u64> = members.filter(|id| self.is_alive(*id)).collect();
        // Whether all of them had it in time is what is counted next.
        let _ = timeout(HOLDERS_WAIT, raft.held_by(committed.index, &alive)).await;
        committed.holders = committed.holders.max(raft.holders(committed.index));
    }

    /// Confirms a quorum, and returns when this node has applied everything acknowledged before the call.
    ///
    /// # Errors
    /// See [`ReadError`]. An election is waited for, until the deadline.
    pub async fn linearize(&self, deadline: Instant) -> Result<Confirmation, ReadError> {
        let confirmation = self.confirm(deadline).await?;
        let applied = timeout_at(deadline, self.inner.raft.wait_applied(confirmation.index)).await;
        applied
            .map_err(|_| ReadError::NoQuorum)?
            .map_err(read_error)?;
        self.inner
            .fresh
            .fetch_max(confirmation.began.tick.0 + 1, Ordering::AcqRel);
        Ok(confirmation)
    }

    /// Confirms a quorum, here or at the leader, without waiting for this node to catch up.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn confirm(&self, deadline: Instant) -> Result<Confirmation, ReadError> {
        loop {
            let leader = self.inner.raft.standing().leader;
            let error = match timeout_at(deadline, self.inner.confirmer.confirm()).await {
                Err(_) => return Err(ReadError::NoQuorum),
                Ok(Ok(confirmation)) => return Ok(confirmation),
                Ok(Err(ConfirmError::Stopped(reason))) => return Err(ReadError::Stopped(reason)),
                Ok(Err(error)) => read_error(error),
            };
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(error);
            }
            // An election ends within a second or two; whoever has a deadline beyond it should not see it.
            let _ = timeout_at(
                Instant::now() + RETRY_PAUSE,
                self.inner.raft.leader_is_not(leader),
            )
            .await;
        }
    }

    /// Age of this node's knowledge: time since the last confirmation began whose index is applied here.
    /// `None` = nothing was confirmed in this process.
    #[must_use]
    pub fn freshness(&self) -> Option<Duration> {
        let tick = self.inner.fresh.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.inner.clock.monotonic().since(Monotonic(tick)))
    }
}

/// How long an acknowledged write waits for members that are about to have it too.
const HOLDERS_WAIT: Duration = Duration::from_millis(5);
/// Between two tries during an election: a third of the shortest one.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

fn read_error(error: ConfirmError) -> ReadError {
    match error {
        ConfirmError::NotLeader => ReadError::NoLeader,
        ConfirmError::NoQuorum => ReadError::NoQuorum,
        ConfirmError::Stopped(reason) => ReadError::Stopped(reason),
    }
}
