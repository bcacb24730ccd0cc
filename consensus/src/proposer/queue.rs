//! The writes that wait to be proposed, and how a batch is taken from them.

use hessra_state::{Command, PendingAction, Stamped};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use crate::error::WriteError;
use crate::measurement::Lane;
use crate::peers::Proposed;

/// Commands in one entry: above it, coalescing more saves nothing that can be measured.
const BATCH_COMMANDS_MAX: usize = 256;
/// Bytes in one entry, unless one command alone is larger: an entry must reach the disk of a follower within a
/// heartbeat interval.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Commands for which a second entry is proposed while another is under way. An entry costs every member about a
/// millisecond of work however few commands it has, so smaller ones wait for the one before them.
const OVERLAP_COMMANDS_MIN: usize = 64;
/// Commands of every entry that the other lane may always fill.
const OTHERS_SHARE: usize = 16;

/// The lane of a write: one revocation in it makes all of it urgent.
pub(super) fn lane_of(commands: &[Stamped]) -> Lane {
    // An approval may be that of a revocation.
    let is_urgent = |stamped: &Stamped| {
        matches!(
            stamped.command,
            Command::Revoke(_) | Command::Approve(_) | Command::Ask(PendingAction::Revoke(_))
        )
    };
    match commands.iter().any(is_urgent) {
        true => Lane::Revocations,
        false => Lane::Others,
    }
}

/// Origin of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A caller of this node: the node looks for the leader until the deadline.
    Here,
    /// Another member, which looks for the leader itself: never forwarded again.
    Member,
}

/// One write that waits.
pub(super) struct Job {
    pub(super) commands: Vec<Stamped>,
    pub(super) bytes: usize,
    pub(super) deadline: Instant,
    pub(super) origin: Origin,
    pub(super) enqueued: Instant,
    pub(super) answer: oneshot::Sender<Result<Proposed, WriteError>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// A lane's receiver, with room for the one job that did not fit the last batch.
pub(super) struct Queue {
    jobs: mpsc::Receiver<Job>,
    held: Option<Job>,
}

impl Queue {
    pub(super) fn new(jobs: mpsc::Receiver<Job>) -> Self {
        Self { jobs, held: None }
    }

    async fn next(&mut self) -> Option<Job> {
        match self.held.take() {
            Some(job) => Some(job),
            None => self.jobs.recv().await,
        }
    }

    fn drain_into(&mut self, batch: &mut Batch, commands_max: usize) {
        while let Some(job) = self.held.take().or_else(|| self.jobs.try_recv().ok()) {
            if !batch.has_room(&job, commands_max) {
                self.held = Some(job);
                return;
            }
            batch.push(job);
        }
    }
}

/// Queues of both lanes.
pub(super) struct Queues {
    pub(super) revocations: Queue,
    pub(super) others: Queue,
}

impl Queues {
    /// Waits for the first write, then takes what is there; a small batch fills until `alone`, when no other entry is
    /// under way. `None` = the node is stopping.
    pub(super) async fn next_batch(&mut self, alone: impl Future) -> Option<Vec<Job>> {
        let mut batch = Batch::default();
        batch.push(self.next().await?);
        self.drain_into(&mut batch);
        let mut alone = std::pin::pin!(alone);
        while batch.commands < OVERLAP_COMMANDS_MIN && !self.holds_one() {
            tokio::select! {
                biased;
                _ = &mut alone => break,
                job = self.next() => self.add(job?, &mut batch),
            }
        }
        self.drain_into(&mut batch);
        Some(batch.jobs)
    }

    async fn next(&mut self) -> Option<Job> {
        tokio::select! {
            biased;
            Some(job) = self.revocations.next() => Some(job),
            Some(job) = self.others.next() => Some(job),
            else => None,
        }
    }

    fn drain_into(&mut self, batch: &mut Batch) {
        self.others.drain_into(batch, OTHERS_SHARE);
        self.revocations.drain_into(batch, BATCH_COMMANDS_MAX);
        self.others.drain_into(batch, BATCH_COMMANDS_MAX);
    }

    fn holds_one(&self) -> bool {
        self.revocations.held.is_some() || self.others.held.is_some()
    }

    fn add(&mut self, job: Job, batch: &mut Batch) {
        if batch.has_room(&job, BATCH_COMMANDS_MAX) {
            return batch.push(job);
        }
        let queue = match lane_of(&job.commands) {
            Lane::Revocations => &mut self.revocations,
            Lane::Others => &mut self.others,
        };
        queue.held = Some(job);
    }
}

#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    commands: usize,
    bytes: usize,
}

impl Batch {
    fn has_room(&self, job: &Job, commands_max: usize) -> bool {
        self.commands + job.commands.len() <= commands_max
            && self.bytes + job.bytes <= BATCH_BYTES_MAX
    }

    fn push(&mut self, job: Job) {
        self.commands += job.commands.len();
        self.bytes += job.bytes;
        self.jobs.push(job);
    }
}
