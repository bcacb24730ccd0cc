//! Concurrent writes become one log entry: one append, one flush, one round to the followers, one apply.
//!
//! Two lanes, so that revocations have a capacity of their own and go first; a small share of every entry is kept for
//! the other lane, so that a flood of revocations does not stop a key rotation. While entries are under way
//! (`pipeline` at a time, the later ones only when they are worth an entry) the next one fills; so the batch grows with
//! the load and a lone write waits for nobody.

mod queue;

use std::sync::Arc;
use std::time::Duration;

use hessra_proto::status::Reason;
use hessra_proto::v1::raft::ProposeRequest;
use hessra_sled::codec;
use hessra_state::{Applied, Stamped};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{AuthoritySettings, Guard, ProposeError, RETRY_PAUSE};
use crate::raft::membership::Gate;
use crate::raft::peers::within;
use crate::raft::{RaftHandle, WriteError};
use queue::{Job, Lane, Queue, Queues, size};

/// A forwarded batch that the leader does not answer for so long is tried again, perhaps at another leader.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(2);

/// A batch that a quorum made durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// In the order of the commands.
    pub answers: Vec<Applied>,
    /// Log index of the entry.
    pub index: u64,
    /// Members whose log was known to hold it when the answer was given.
    pub holders: usize,
    /// From the asking to the commit, as measured by the node that was asked.
    pub took: Duration,
}

pub(super) struct Proposer {
    revocations: mpsc::Sender<Job>,
    others: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    room_max: usize,
}

impl Proposer {
    pub(super) fn start(
        raft: RaftHandle,
        gate: Gate,
        guard: Guard,
        settings: &AuthoritySettings,
        stop: CancellationToken,
    ) -> Self {
        let (revocations, urgent) = mpsc::channel(settings.revocations_queued_max);
        let (others, patient) = mpsc::channel(settings.others_queued_max);
        let queues = Queues {
            revocations: Queue::new(urgent),
            others: Queue::new(patient),
        };
        let under_way = Arc::new(Semaphore::new(settings.pipeline));
        let batches = propose_batches(Arc::new(Batcher { raft, gate, guard }), queues, under_way);
        tokio::spawn(async move { stop.run_until_cancelled(batches).await });
        let room_max = settings.queued_bytes_max.min(u32::MAX as usize);
        Self {
            revocations,
            others,
            room: Arc::new(Semaphore::new(room_max)),
            room_max,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        [&self.revocations, &self.others]
            .iter()
            .all(|queue| queue.capacity() == queue.max_capacity())
    }

    pub(super) async fn submit(
        &self,
        commands: Vec<Stamped>,
        deadline: Instant,
        forward: bool,
    ) -> Result<Committed, ProposeError> {
        let lane = Lane::of(&commands);
        let bytes = commands.iter().map(size).sum::<usize>().min(self.room_max);
        let (answer, answered) = oneshot::channel();
        // INVARIANT: `bytes` fits in 32 bits because `room_max` does.
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(bytes as u32)
            .map_err(|_| refused(lane))?;
        let queue = if lane == Lane::Revocations {
            &self.revocations
        } else {
            &self.others
        };
        let job = Job {
            commands,
            bytes,
            deadline,
            forward,
            answer,
            _room: room,
        };
        queue.try_send(job).map_err(|_| refused(lane))?;
        let waiting = queue.max_capacity() - queue.capacity();
        crate::telemetry::metrics()
            .proposals_queued
            .record(waiting as u64, &[lane.label()]);
        match timeout_at(deadline, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ProposeError::Unknown),
            Err(_) => Err(ProposeError::Unknown),
        }
    }
}

fn refused(lane: Lane) -> ProposeError {
    crate::telemetry::metrics()
        .proposals_refused
        .add(1, &[lane.label()]);
    ProposeError::Overloaded
}

async fn propose_batches(batcher: Arc<Batcher>, mut queues: Queues, under_way: Arc<Semaphore>) {
    let at_once = under_way.available_permits() as u32;
    while let Ok(permit) = Arc::clone(&under_way).acquire_owned().await {
        let alone = under_way.acquire_many(at_once - 1);
        let Some(jobs) = queues.next_batch(alone).await else {
            return;
        };
        let batcher = Arc::clone(&batcher);
        tokio::spawn(async move {
            batcher.deliver(jobs).await;
            drop(permit);
        });
    }
}

struct Batcher {
    raft: RaftHandle,
    gate: Gate,
    guard: Guard,
}

/// What one try at a batch came to.
enum Tried {
    Done(Committed),
    /// Worth another try; `sent` = it may have been written nevertheless.
    Again {
        sent: bool,
    },
    Failed(ProposeError),
}

impl Batcher {
    async fn deliver(&self, mut jobs: Vec<Job>) {
        let commands: usize = jobs.iter().map(|job| job.commands.len()).sum();
        crate::telemetry::metrics()
            .proposal_size
            .record(commands as f64, &[]);
        let mut sent = false;
        loop {
            jobs = without_expired(jobs, sent);
            let Some(deadline) = jobs.iter().map(|job| job.deadline).max() else {
                return;
            };
            let leader = self.raft.standing().leader;
            match self.try_once(&jobs, deadline).await {
                Tried::Done(committed) => return answer(jobs, committed),
                Tried::Failed(error) => return fail(jobs, &error),
                Tried::Again { sent: this_time } => sent |= this_time,
            }
            jobs = without_forwarded(jobs, sent);
            let pause = deadline.min(Instant::now() + RETRY_PAUSE);
            let _ = timeout_at(pause, self.raft.leader_is_not(leader)).await;
        }
    }

    async fn try_once(&self, jobs: &[Job], deadline: Instant) -> Tried {
        if timeout_at(deadline, self.gate.opened()).await.is_err() {
            return Tried::Again { sent: false };
        }
        let commands: Vec<Stamped> = jobs
            .iter()
            .flat_map(|job| job.commands.iter().cloned())
            .collect();
        match self.raft.leader() {
            Some((id, _)) if id == self.raft.identity().id => self.write(commands, deadline).await,
            Some((id, member)) => self.forward(id, &member, commands, deadline).await,
            None => Tried::Again { sent: false },
        }
    }

    async fn write(&self, commands: Vec<Stamped>, deadline: Instant) -> Tried {
        if let Some(reason) = self.guard.get().and_then(|guard| guard()) {
            return Tried::Failed(ProposeError::NoRoom(reason));
        }
        let count = commands.len();
        let written = tokio::select! {
            biased;
            written = self.raft.write(commands.into()) => written,
            () = self.raft.deposed() => return Tried::Again { sent: true },
            () = sleep_until(deadline) => return Tried::Again { sent: true },
        };
        match written {
            Ok(written) if written.answers.len() == count => {
                let holders = self.raft.holders(written.index);
                Tried::Done(Committed {
                    answers: written.answers,
                    index: written.index,
                    holders,
                    took: Duration::ZERO,
                })
            }
            Ok(written) => Tried::Failed(ProposeError::Stopped(format!(
                "{count} commands got {} answers",
                written.answers.len()
            ))),
            // An entry that was truncated was certainly not applied, but one of an earlier try may have been.
            Err(WriteError::NotLeader) => Tried::Again { sent: false },
            Err(WriteError::Stopped(reason)) => Tried::Failed(ProposeError::Stopped(reason)),
        }
    }

    async fn forward(
        &self,
        leader: u64,
        member: &hessra_sled::Member,
        commands: Vec<Stamped>,
        deadline: Instant,
    ) -> Tried {
        let count = commands.len();
        let timeout = FORWARD_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let commands = commands.iter().map(codec::encode_stamped).collect();
        let request = ProposeRequest {
            cluster_id: self.raft.peers().cluster_id(),
            commands,
        };
        let mut client = self.raft.peers().client(leader, member);
        let response = tokio::select! {
            response = client.propose(within(request, timeout)) => response,
            () = self.raft.leader_is_not(Some(leader)) => return Tried::Again { sent: true },
            () = sleep_until(Instant::now() + timeout) => return Tried::Again { sent: true },
        };
        match response {
            Ok(response) => decoded(response.into_inner(), count),
            Err(status) => refused_by_leader(leader, &status),
        }
    }
}

fn decoded(response: hessra_proto::v1::raft::ProposeResponse, count: usize) -> Tried {
    let answers: Result<Vec<Applied>, _> =
        response.applied.iter().map(codec::decode_applied).collect();
    match answers {
        Ok(answers) if answers.len() == count => Tried::Done(Committed {
            answers,
            index: response.log_index,
            holders: response.holders as usize,
            took: Duration::ZERO,
        }),
        _ => Tried::Failed(ProposeError::Stopped(
            "the leader's answer cannot be read: it runs another version. Upgrade this node"
                .to_owned(),
        )),
    }
}

fn refused_by_leader(leader: u64, status: &tonic::Status) -> Tried {
    tracing::debug!(leader, %status, "the leader did not take a batch");
    match Reason::from(status) {
        Reason::Limit => Tried::Failed(ProposeError::Overloaded),
        // Told by the leader in words that are already a whole sentence.
        Reason::Degraded => Tried::Failed(ProposeError::NoRoom(status.message().to_owned())),
        Reason::NoLeader => Tried::Again { sent: false },
        _ => Tried::Again { sent: true },
    }
}

fn answer(jobs: Vec<Job>, committed: Committed) {
    let Committed {
        answers,
        index,
        holders,
        took,
    } = committed;
    let mut answers = answers.into_iter();
    for job in jobs {
        let answers = answers.by_ref().take(job.commands.len()).collect();
        // A caller that gave up is no error: the write is durable all the same.
        let _ = job.answer.send(Ok(Committed {
            answers,
            index,
            holders,
            took,
        }));
    }
}

fn fail(jobs: Vec<Job>, error: &ProposeError) {
    for job in jobs {
        let _ = job.answer.send(Err(error.clone()));
    }
}

fn not_written(sent: bool) -> ProposeError {
    if sent {
        ProposeError::Unknown
    } else {
        ProposeError::NoLeader
    }
}

/// Who has waited too long is answered, and not proposed any more. Slightly before the caller's own deadline, so that
/// the answer says whether anything was sent.
fn without_expired(jobs: Vec<Job>, sent: bool) -> Vec<Job> {
    let now = Instant::now() + RETRY_PAUSE / 2;
    let (live, expired): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| job.deadline > now);
    fail(expired, &not_written(sent));
    live
}

/// The member that forwarded a batch looks for the new leader itself.
fn without_forwarded(jobs: Vec<Job>, sent: bool) -> Vec<Job> {
    let (own, forwarded): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.forward);
    fail(forwarded, &not_written(sent));
    own
}
