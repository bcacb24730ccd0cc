//! The queue before the thread of a chain: takes records, and says when they are durable.
//!
//! It has a bound, and says at once when it is full. It also states the head of the chain to the cluster: what is durable,
//! signed with the node's audit key.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hessra_audit::{ChainId, Head, Record};
use hessra_consensus::audit::{
    AuditError, NotWritten, Progress, Recovered as LogRecovered, Written,
};
use hessra_state::{ChainHead, ChainName, Witness};
use opentelemetry::KeyValue;
use tokio::sync::{oneshot, watch};

use super::key::NodeKey;
use super::sign::ClusterSide;
use crate::edge::Clock;
use crate::telemetry::Metrics;

/// Requests that wait for the disk: at 1 ms a sync, and 64 in one, far more than a node decides.
pub(super) const QUEUE_MAX: usize = 4_096;
/// Heads of this process that may become witnessed: one a minute is stated, so these are of a quarter of an hour.
const STATED_MAX: usize = 16;

/// Surroundings of a chain.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) clock: Clock,
    pub(super) cluster: Arc<dyn ClusterSide>,
    pub(super) key: NodeKey,
    pub(super) metrics: Arc<Metrics>,
}

type Answer = oneshot::Sender<Result<(), NotWritten>>;

/// One thing to write.
pub(super) struct Job {
    pub(super) records: Vec<Record>,
    /// Progress of the log: the records are all that it says up to an entry.
    pub(super) progress: Option<Progress>,
    /// First and last record that somebody holds a copy of.
    pub(super) exported: Option<(u64, u64)>,
    /// True when no job comes after it.
    pub(super) last: bool,
    pub(super) answer: Answer,
}

/// A ticket that says when a record is durable.
#[derive(Debug)]
#[must_use = "the answer must wait for it"]
pub struct Ticket(oneshot::Receiver<Result<(), NotWritten>>);

impl Ticket {
    /// A ticket of a record that needs no waiting.
    pub(super) fn done() -> Self {
        let (answer, answered) = oneshot::channel();
        let _ = answer.send(Ok(()));
        Self(answered)
    }

    /// Returns when the record is durable.
    ///
    /// # Errors
    /// The record is not durable.
    pub async fn durable(self) -> Result<(), AuditError> {
        self.written().await.map_err(|not| not.error)
    }

    /// Returns as [`Self::durable`] does; the records come back when they were not written.
    pub(super) async fn written(self) -> Result<(), NotWritten> {
        let stopped = || NotWritten {
            error: AuditError::Stopped,
            records: Vec::new(),
        };
        self.0.await.unwrap_or_else(|_| Err(stopped()))
    }
}

/// The queue before the thread.
pub(super) struct Queue {
    pub(super) jobs: SyncSender<Job>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) around: Around,
    pub(super) name: ChainName,
    pub(super) written: watch::Receiver<Written>,
    pub(super) stated: Arc<Stated>,
    pub(super) exported: Arc<AtomicU64>,
    /// Progress of the log in the chain at the start.
    pub(super) recovered: LogRecovered,
}

/// Heads that this process has stated, newest last, and the id of the chain.
#[derive(Debug, Default)]
pub(super) struct Stated(Mutex<(Option<ChainId>, VecDeque<Head>)>);

impl Stated {
    pub(super) fn lock(&self) -> MutexGuard<'_, (Option<ChainId>, VecDeque<Head>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Durable part of the chain, as it changes.
    pub(super) fn written(&self) -> &watch::Receiver<Written> {
        &self.written
    }

    /// The last record up to which the chain is exported without a gap.
    pub(super) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Acquire)
    }

    /// The head of the chain, signed for the cluster; `None` when there is none, or nothing can be written.
    pub(super) fn statement(&self) -> Option<Witness> {
        let written = self.written.borrow().clone();
        let mut stated = self.stated.lock();
        let id = stated.0?;
        if written.failing.is_some() || written.head.seq == 0 {
            return None;
        }
        let head = ChainHead {
            id: id.0,
            seq: written.head.seq,
            hash: written.head.hash,
        };
        stated.1.push_back(written.head);
        let surplus = stated.1.len().saturating_sub(STATED_MAX);
        stated.1.drain(..surplus);
        let statement = Witness::statement(&self.around.cluster.cluster(), &self.name, &head);
        Some(Witness {
            name: self.name.clone(),
            head,
            key: self.around.key.public(),
            signature: self.around.key.sign(&statement),
        })
    }

    pub(super) fn has_room(&self) -> Result<(), AuditError> {
        if self.waiting.load(Ordering::Relaxed) < QUEUE_MAX {
            Ok(())
        } else {
            Err(AuditError::Full)
        }
    }

    pub(super) fn submit(&self, record: Record) -> Result<Ticket, AuditError> {
        let sent = self.send(Job::of(vec![record]));
        sent.map_err(|not| not.error)
    }

    /// Takes the record of an export of records `from` to `through`.
    pub(super) fn submit_export(
        &self,
        record: Record,
        from: u64,
        through: u64,
    ) -> Result<Ticket, AuditError> {
        let mut job = Job::of(vec![record]);
        job.0.exported = Some((from, through));
        self.send(job).map_err(|not| not.error)
    }

    pub(super) fn submit_log(
        &self,
        records: Vec<Record>,
        progress: Progress,
    ) -> Result<Ticket, NotWritten> {
        let mut job = Job::of(records);
        job.0.progress = Some(progress);
        self.send(job)
    }

    pub(super) fn close(&self) -> Result<Ticket, AuditError> {
        let mut job = Job::of(Vec::new());
        job.0.last = true;
        self.send(job).map_err(|not| not.error)
    }

    fn send(&self, (job, ticket): (Job, Ticket)) -> Result<Ticket, NotWritten> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let (error, job) = match self.jobs.try_send(job) {
            Ok(()) => return Ok(ticket),
            Err(TrySendError::Full(job)) => (AuditError::Full, job),
            Err(TrySendError::Disconnected(job)) => (AuditError::Stopped, job),
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        failed(&self.around.metrics, &error, 1);
        Err(NotWritten {
            error,
            records: job.records,
        })
    }
}

impl Job {
    /// A job that writes these, and the ticket of it.
    fn of(records: Vec<Record>) -> (Self, Ticket) {
        let (answer, answered) = oneshot::channel();
        let job = Self {
            records,
            progress: None,
            exported: None,
            last: false,
            answer,
        };
        (job, Ticket(answered))
    }
}

/// Counts records that were not written, by reason.
pub(super) fn failed(metrics: &Metrics, error: &AuditError, count: usize) {
    let reason = match error {
        AuditError::Full => "full",
        AuditError::Failing(_) => "disk",
        AuditError::Late => "late",
        AuditError::Stopped => "stopping",
    };
    metrics
        .audit_write_failures
        .add(count as u64, &[KeyValue::new("reason", reason)]);
}
