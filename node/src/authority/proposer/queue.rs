//! What waits to be proposed, and how a batch is taken from it.

use hessra_sled::codec;
use hessra_state::{Command, KeyCommand, PendingAction, Revoke, Stamped};
use opentelemetry::KeyValue;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::Committed;
use crate::authority::ProposeError;

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
/// Which queue a write waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Reserved for what makes something denied.
    Revocations,
    /// Everything else.
    Others,
}

impl Lane {
    pub(super) fn of(commands: &[Stamped]) -> Self {
        // An approval may be that of a revocation.
        let is_urgent = |stamped: &Stamped| {
            matches!(
                stamped.command,
                Command::Revoke(_) | Command::Approve(_) | Command::Ask(PendingAction::Revoke(_))
            )
        };
        match commands.iter().any(is_urgent) {
            true => Self::Revocations,
            false => Self::Others,
        }
    }

    pub(super) fn label(self) -> KeyValue {
        KeyValue::new(
            "queue",
            if self == Self::Revocations {
                "revocations"
            } else {
                "others"
            },
        )
    }
}

pub(super) struct Job {
    pub(super) commands: Vec<Stamped>,
    pub(super) bytes: usize,
    pub(super) deadline: Instant,
    /// Came from a client of this node; what another member forwarded is not forwarded again.
    pub(super) forward: bool,
    pub(super) answer: oneshot::Sender<Result<Committed, ProposeError>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// About the bytes of a command in the log.
pub(super) fn size(stamped: &Stamped) -> usize {
    const ENVELOPE: usize = 64;
    let of_revoke = |revoke: &Revoke| {
        let targets: usize = revoke.targets.iter().map(codec::target_len).sum();
        targets + revoke.reason.len() + revoke.ticket.len() + revoke.message.len()
    };
    let body = match &stamped.command {
        Command::Revoke(revoke) | Command::Ask(PendingAction::Revoke(revoke)) => of_revoke(revoke),
        Command::Lift(lift) | Command::Ask(PendingAction::Lift(lift)) => lift.reason.len(),
        Command::ApplyPolicy { policy, change, .. } => {
            let why = change.message.len() + change.ticket.len();
            policy.clients_toml.len() + policy.resources_toml.len() + why
        }
        Command::Init(init) => init.policy.clients_toml.len() + init.policy.resources_toml.len(),
        Command::Key(KeyCommand::Rewrap(envelopes)) => {
            let sealed = envelopes.iter().map(|envelope| envelope.sealed.len() + 8);
            sealed.sum()
        }
        Command::Key(_)
        | Command::Ask(PendingAction::RevokeKey(_))
        | Command::Approve(_)
        | Command::Cancel(_)
        | Command::Spend(_)
        | Command::Context(_)
        | Command::Collect { .. }
        | Command::RaiseVersion(_) => ENVELOPE,
    };
    ENVELOPE + stamped.by.len() + body
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
        let queue = match Lane::of(&job.commands) {
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
