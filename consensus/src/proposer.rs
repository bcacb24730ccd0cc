//! Concurrent writes become one log entry: one append, one flush, one round to the followers, one apply.
//!
//! ```text
//! propose ─▶ queue: two lanes ─▶ batch ─▶ leader here? append : forward once ─▶ answers, one per command
//! ```
//! Two lanes, so that revocations have a capacity of their own and go first; a small share of every entry is kept for
//! the other lane, so that a flood of revocations does not stop a key rotation. While entries are under way
//! (`pipeline` at a time, the later ones only when they are worth an entry) the next one fills; so the batch grows with
//! the load and a lone write waits for nobody.

mod queue;

use std::sync::Arc;
use std::time::Duration;

use hessra_proof::Checker;
use hessra_proto::status::{Failure, Reason};
use hessra_revocation::UnixMillis;
use hessra_sled::codec;
use hessra_state::{Command, Stamped};
use openraft::AsyncRuntime;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clocks::{ClockState, Clocks, Estimate, now};
use crate::error::WriteError;
use crate::measurement::{Lane, Measurement};
use crate::pause::WritePause;
use crate::peers::{Peer, PeerError, Peers as _, Proposed};
use crate::plant::{Plant, is_planted};
use crate::raft::{RaftHandle, Written};
use crate::settings::{ConsensusSettings, RETRY_PAUSE};
use crate::status::StopReason;
use crate::trace::{Stage, Step, TracedChange, traced};
use crate::turns::{PermissionTurn, Turns, may_permit};
use crate::world::{World, spawn_until};
use queue::{Job, Queue, Queues, lane_of};

pub(crate) use queue::Origin;

/// A forwarded batch that the leader does not answer for so long is tried again, perhaps at another leader.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Says why this node may not write as the leader now; `None` = it may. Asked before every entry: a full disk must be
/// met by a refusal, before it is met by an error that stops the node.
pub trait WriteGuard: Send + Sync + 'static {
    /// Reason for which this node may not write now: a sentence.
    fn refusal(&self) -> Option<String>;
}

/// The lanes' sending ends, and the room for all that waits.
pub(crate) struct Proposer<W: World> {
    world: W,
    batcher: Arc<Batcher<W>>,
    revocations: mpsc::Sender<Job>,
    others: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    room_max: usize,
}

impl<W: World> Proposer<W> {
    pub(crate) fn start(
        (raft, clocks, operators): (RaftHandle<W>, Clocks, Arc<Checker>),
        world: W,
        (pause, turns): (WritePause, Turns),
        guard: Arc<dyn WriteGuard>,
        settings: &ConsensusSettings,
        stop: &CancellationToken,
    ) -> Self {
        let (revocations, urgent) = mpsc::channel(settings.revocations_queued_max);
        let (others, patient) = mpsc::channel(settings.others_queued_max);
        let queues = Queues {
            revocations: Queue::new(urgent),
            others: Queue::new(patient),
        };
        let under_way = Arc::new(Semaphore::new(settings.pipeline));
        let estimate = Estimate::new(raft.state().clock(), world.monotonic());
        let batcher = Batcher {
            raft,
            clocks,
            operators,
            estimate,
            world: world.clone(),
            pause,
            turns,
            guard,
        };
        let batcher = Arc::new(batcher);
        spawn_until::<W>(stop, take_batches(Arc::clone(&batcher), queues, under_way));
        let room_max = settings.queued_bytes_max.min(u32::MAX as usize);
        Self {
            world,
            batcher,
            revocations,
            others,
            room: Arc::new(Semaphore::new(room_max)),
            room_max,
        }
    }

    /// Time that this leader would give an entry now; `None`: its clock is off.
    pub(crate) fn time(&self) -> Option<UnixMillis> {
        self.batcher.time()
    }

    /// Puts commands into their lane, and waits for their answers.
    pub(crate) async fn enqueue(
        &self,
        commands: Vec<Stamped>,
        deadline: Instant,
        origin: Origin,
    ) -> Result<Proposed, WriteError> {
        let lane = lane_of(&commands);
        let bytes = commands
            .iter()
            .map(codec::stamped_len)
            .sum::<usize>()
            .min(self.room_max);
        let (answer, answered) = oneshot::channel();
        // INVARIANT: `bytes` fits in 32 bits because `room_max` does.
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(bytes as u32)
            .map_err(|_| self.refused(lane))?;
        let queue = match lane {
            Lane::Revocations => &self.revocations,
            Lane::Others => &self.others,
        };
        let job = Job {
            commands,
            bytes,
            deadline,
            origin,
            enqueued: Instant::now(),
            answer,
            _room: room,
        };
        queue.try_send(job).map_err(|_| self.refused(lane))?;
        let waiting = queue.max_capacity() - queue.capacity();
        self.world
            .measure(Measurement::ProposalsQueued(lane, waiting));
        match timeout_at(deadline, answered).await {
            Ok(Ok(outcome)) => outcome,
            // Sent or not: nobody is left who knows.
            Ok(Err(_)) | Err(_) => Err(WriteError::Unknown),
        }
    }

    fn refused(&self, lane: Lane) -> WriteError {
        self.world.measure(Measurement::ProposalRefused(lane));
        WriteError::Overloaded
    }
}

async fn take_batches<W: World>(
    batcher: Arc<Batcher<W>>,
    mut queues: Queues,
    under_way: Arc<Semaphore>,
) {
    let at_once = under_way.available_permits() as u32;
    while let Ok(permit) = Arc::clone(&under_way).acquire_owned().await {
        let alone = under_way.acquire_many(at_once - 1);
        let Some(jobs) = queues.next_batch(alone).await else {
            return;
        };
        let batcher = Arc::clone(&batcher);
        drop(W::Runtime::spawn(async move {
            batcher.deliver(jobs).await;
            drop(permit);
        }));
    }
}

/// Brings batches to the leader, here or elsewhere.
struct Batcher<W: World> {
    raft: RaftHandle<W>,
    clocks: Clocks,
    operators: Arc<Checker>,
    estimate: Estimate,
    world: W,
    pause: WritePause,
    turns: Turns,
    guard: Arc<dyn WriteGuard>,
}

/// The outcome of one try at a batch.
enum Tried {
    Done(Proposed),
    /// Failure that is worth another try; `sent` = the batch may have been written nevertheless.
    Again {
        sent: bool,
    },
    Failed(WriteError),
}

impl<W: World> Batcher<W> {
    /// Tries until there is an answer, or no caller waits for it any more.
    async fn deliver(&self, mut jobs: Vec<Job>) {
        let commands: usize = jobs.iter().map(|job| job.commands.len()).sum();
        self.world.measure(Measurement::ProposalSize(commands));
        self.trace_queued(&jobs);
        let mut sent = false;
        loop {
            jobs = without_expired(jobs, sent);
            let Some(deadline) = jobs.iter().map(|job| job.deadline).max() else {
                return;
            };
            let leader = self.raft.status().leader;
            match self.try_once(&mut jobs, sent, deadline).await {
                Tried::Done(proposed) => return answer(jobs, proposed),
                Tried::Failed(error) => return fail(jobs, &still_true(error, sent)),
                Tried::Again { sent: this_time } => sent |= this_time,
            }
            jobs = without_forwarded(jobs, sent);
            let pause = deadline.min(Instant::now() + RETRY_PAUSE);
            let _ = timeout_at(pause, self.raft.leader_is_not(leader)).await;
        }
    }

    fn trace_queued(&self, jobs: &[Job]) {
        // The member that forwarded has its own queue, and waits for the answer.
        let own = jobs.iter().filter(|job| job.origin == Origin::Here);
        for job in own.filter(|_| self.world.is_tracing()) {
            let changes = traced(&job.commands);
            self.step(Stage::Queued, &changes, job.enqueued);
        }
    }

    /// Takes note of a step that ends now.
    fn step(&self, stage: Stage<'_>, changes: &[TracedChange], begun: Instant) {
        if !changes.is_empty() {
            let took = (begun, Instant::now());
            self.world.trace(Step {
                stage,
                changes,
                took,
            });
        }
    }

    /// Changes in commands, when anybody traces them.
    fn changes(&self, commands: &[Stamped]) -> Vec<TracedChange> {
        match self.world.is_tracing() {
            true => traced(commands),
            false => Vec::new(),
        }
    }

    async fn try_once(&self, jobs: &mut Vec<Job>, sent: bool, deadline: Instant) -> Tried {
        if timeout_at(deadline, self.pause.over()).await.is_err() {
            return Tried::Again { sent: false };
        }
        match self.raft.leader() {
            Some(leader) if leader.id == self.raft.identity().id => {
                // Leadership is handed over within a second: the next try is there.
                let Some(at) = self.time() else {
                    return Tried::Again { sent: false };
                };
                *jobs = self.without_untimely(std::mem::take(jobs), at, sent);
                *jobs = self.without_guesses(std::mem::take(jobs), sent);
                // Held until the entry is applied, or may not be.
                let (taken, _turn) = self.without_permissions(std::mem::take(jobs), sent);
                *jobs = taken;
                match stamped(jobs, at) {
                    commands if commands.is_empty() => Tried::Again { sent: false },
                    commands => self.append(commands, deadline).await,
                }
            }
            Some(leader) => {
                let commands = jobs.iter().flat_map(|job| job.commands.iter().cloned());
                let commands = commands.collect();
                self.forward(&leader, commands, deadline).await
            }
            None => match self.raft.status().stopped {
                Some(reason) => Tried::Failed(WriteError::Stopped(reason)),
                None => Tried::Again { sent: false },
            },
        }
    }

    /// Appends as the leader.
    async fn append(&self, commands: Vec<Stamped>, deadline: Instant) -> Tried {
        if let Some(reason) = self.guard.refusal()
            && !is_planted(Plant::WriteWithoutRoom)
        {
            return Tried::Failed(WriteError::NoRoom(reason));
        }
        let count = commands.len();
        let (changes, begun) = (self.changes(&commands), Instant::now());
        let written = tokio::select! {
            biased;
            written = self.raft.write(commands.into()) => written,
            () = self.raft.deposed() => return Tried::Again { sent: true },
            () = sleep_until(deadline) => return Tried::Again { sent: true },
        };
        if let Ok(Written { index, .. }) = written {
            self.step(Stage::Committed { index }, &changes, begun);
            self.raft.trace_flush(index, &changes);
        }
        match written {
            Ok(written) if written.answers.len() == count => Tried::Done(Proposed {
                answers: written.answers,
                index: written.index,
                holders: self.raft.holders(written.index),
            }),
            Ok(written) => Tried::Failed(miscounted(count, written.answers.len())),
            // An entry that was truncated was certainly not applied, but one of an earlier try may have been.
            Err(WriteError::NoLeader) => Tried::Again { sent: false },
            Err(error) => Tried::Failed(error),
        }
    }

    /// Time that the next entry gets: this leader's, so that no other member's clock gets into the log. A leader whose clock was not
    /// compared yet stays near what has passed. `None`: the clock of this leader is off.
    fn time(&self) -> Option<UnixMillis> {
        let (state, now) = (self.raft.state(), now(&self.world));
        match self.raft.clock(&self.clocks, now) {
            ClockState::Off(_) => None,
            ClockState::Unknown if state.is_initialized() => {
                Some(self.estimate.stamp(state.clock(), now))
            }
            ClockState::Unknown | ClockState::Right => Some(now.wall),
        }
    }

    /// Fails the jobs with a proof that is not believed at the time of the entry: no member would acknowledge one that has it.
    fn without_untimely(&self, jobs: Vec<Job>, at: UnixMillis, sent: bool) -> Vec<Job> {
        let untimely = |job: &Job| {
            let proofs = job
                .commands
                .iter()
                .filter_map(|stamped| stamped.author.proof());
            let mut checked = proofs.map(|proof| self.operators.check_time(proof, at.seconds().0));
            checked.find_map(Result::err)
        };
        let mut timely = Vec::with_capacity(jobs.len());
        for job in jobs {
            match untimely(&job) {
                Some(unproved) if !is_planted(Plant::StampsBelieved) => {
                    let error = WriteError::Unproved(unproved.to_string());
                    fail(vec![job], &still_true(error, sent));
                }
                _ => timely.push(job),
            }
        }
        timely
    }

    /// Fails the jobs that set the time of the cluster back while nothing tells that this leader's clock is right.
    fn without_guesses(&self, jobs: Vec<Job>, sent: bool) -> Vec<Job> {
        let sets_back = |job: &Job| {
            let mut commands = job.commands.iter();
            commands.any(|stamped| matches!(stamped.command, Command::SetClockBack { .. }))
        };
        let is_right = || self.raft.clock(&self.clocks, now(&self.world)) == ClockState::Right;
        let (guesses, jobs): (Vec<Job>, Vec<Job>) = jobs
            .into_iter()
            .partition(|job| sets_back(job) && !is_right());
        let message = "nothing tells whether the clock of the leader is right: fewer than half of the members were compared, or \
                       they differ. Put the clocks right, and try again in a few seconds";
        fail(
            guesses,
            &still_true(WriteError::ClockOff(message.to_owned()), sent),
        );
        jobs
    }

    /// Fails the jobs that permit a change of the members while another change is being made. With the turn of those that
    /// are left.
    fn without_permissions(
        &self,
        jobs: Vec<Job>,
        sent: bool,
    ) -> (Vec<Job>, Option<PermissionTurn>) {
        let state = self.raft.state();
        let permits = |job: &Job| {
            let mut commands = job.commands.iter();
            commands.any(|stamped| may_permit(&stamped.command, &state))
        };
        if !jobs.iter().any(permits) {
            return (jobs, None);
        }
        if let Some(turn) = self.turns.try_permission() {
            return (jobs, Some(turn));
        }
        let (permissions, jobs): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(permits);
        fail(permissions, &still_true(WriteError::Changing, sent));
        (jobs, None)
    }

    /// Forwards to the leader, once.
    async fn forward(&self, leader: &Peer, commands: Vec<Stamped>, deadline: Instant) -> Tried {
        let count = commands.len();
        let (changes, begun) = (self.changes(&commands), Instant::now());
        let within = FORWARD_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let answered = tokio::select! {
            biased;
            answered = self.world.peers().propose(leader, commands, within) => answered,
            () = self.raft.leader_is_not(Some(leader.id)) => return Tried::Again { sent: true },
            () = sleep_until(Instant::now() + within) => return Tried::Again { sent: true },
        };
        let stage = Stage::Forwarded { leader: leader.id };
        self.step(stage, &changes, begun);
        match answered {
            Ok(proposed) if proposed.answers.len() == count => Tried::Done(shifted(proposed)),
            Ok(proposed) => Tried::Failed(miscounted(count, proposed.answers.len())),
            Err(error) => refused_by_leader(leader.id, error),
        }
    }
}

/// Commands of jobs in one entry, with its time.
fn stamped(jobs: &[Job], at: UnixMillis) -> Vec<Stamped> {
    let commands = jobs.iter().flat_map(|job| job.commands.iter().cloned());
    let stamp = |stamped: Stamped| match is_planted(Plant::StampsBelieved) {
        true => stamped,
        false => Stamped { at, ..stamped },
    };
    commands.map(stamp).collect()
}

/// Shifts the answers, for [`Plant::ForwardedAnswersShifted`].
fn shifted(mut proposed: Proposed) -> Proposed {
    if is_planted(Plant::ForwardedAnswersShifted) {
        proposed.answers.rotate_left(1);
    }
    proposed
}

fn miscounted(commands: usize, answers: usize) -> WriteError {
    WriteError::Stopped(StopReason::failed(format!(
        "{commands} commands got {answers} answers"
    )))
}

fn refused_by_leader(leader: u64, error: PeerError) -> Tried {
    tracing::debug!(leader, %error, "the leader did not take a batch");
    let Failure {
        reason, message, ..
    } = match error {
        PeerError::Failed(failure) => failure,
        PeerError::TooLarge { .. } => return Tried::Failed(WriteError::Overloaded),
        PeerError::Unreadable(why) => {
            return Tried::Failed(WriteError::Stopped(StopReason::Failed(why)));
        }
    };
    match reason {
        Reason::Limit => Tried::Failed(WriteError::Overloaded),
        // Told by the leader in words that are already a whole sentence.
        Reason::Degraded => Tried::Failed(WriteError::NoRoom(message)),
        Reason::Unauthenticated => Tried::Failed(WriteError::Unproved(message)),
        Reason::ClockOff => Tried::Failed(WriteError::ClockOff(message)),
        Reason::Conflict => Tried::Failed(WriteError::Changing),
        Reason::NoLeader => Tried::Again { sent: false },
        _ => Tried::Again { sent: true },
    }
}

fn answer(jobs: Vec<Job>, proposed: Proposed) {
    let Proposed {
        answers,
        index,
        holders,
    } = proposed;
    let mut answers = answers.into_iter();
    for job in jobs {
        let answers = answers.by_ref().take(job.commands.len()).collect();
        // A caller that gave up is no error: the write is durable all the same.
        let _ = job.answer.send(Ok(Proposed {
            answers,
            index,
            holders,
        }));
    }
}

fn fail(jobs: Vec<Job>, error: &WriteError) {
    for job in jobs {
        let _ = job.answer.send(Err(error.clone()));
    }
}

/// The error of a try, after tries before it. A refusal says that nothing was written: once an earlier try may have been
/// written, nobody knows.
fn still_true(error: WriteError, sent: bool) -> WriteError {
    match error {
        WriteError::Overloaded
        | WriteError::NoLeader
        | WriteError::NoRoom(_)
        | WriteError::ClockOff(_)
        | WriteError::Unproved(_)
        | WriteError::Changing
            if sent =>
        {
            WriteError::Unknown
        }
        error => error,
    }
}

fn not_written(sent: bool) -> WriteError {
    if sent {
        WriteError::Unknown
    } else {
        WriteError::NoLeader
    }
}

/// Expires jobs past their deadline before proposing. Slightly before the caller's own deadline, so that the answer says
/// whether anything was sent.
fn without_expired(jobs: Vec<Job>, sent: bool) -> Vec<Job> {
    let now = Instant::now() + RETRY_PAUSE / 2;
    let (live, expired): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| job.deadline > now);
    fail(expired, &not_written(sent));
    live
}

/// The member that forwarded a batch looks for the new leader itself.
fn without_forwarded(jobs: Vec<Job>, sent: bool) -> Vec<Job> {
    let (own, forwarded): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| job.origin == Origin::Here);
    fail(forwarded, &not_written(sent));
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_after_a_try_that_may_have_been_written_says_that_nobody_knows() {
        let refusals = [
            WriteError::Overloaded,
            WriteError::NoLeader,
            WriteError::NoRoom("full".to_owned()),
        ];
        for refusal in refusals {
            assert_eq!(still_true(refusal.clone(), false), refusal);
            assert_eq!(still_true(refusal, true), WriteError::Unknown);
        }
        let stopped = WriteError::Stopped(StopReason::Deposed);
        assert_eq!(still_true(stopped.clone(), true), stopped);
    }
}
