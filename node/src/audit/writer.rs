//! The one thread that writes records; the queue before it.
//!
//! It takes everything that waits, chains it, writes it with one call and syncs it with one: while the disk is busy the
//! next batch grows, so a thousand waiting requests share few syncs and a lone one waits for one. A write that fails is
//! undone and its requests are told; the next batch tries again. A sync that fails is never tried again, because the
//! kernel may have thrown the bytes away while saying so only once: the audit is closed until the node is restarted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use hessra_audit::checkpoint::field;
use hessra_audit::{Event, Head, Outcome, Record, seal_into, statement};
use opentelemetry::KeyValue;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use hessra_consensus::audit::{
    AuditError, NotWritten, Progress, Recovered as LogRecovered, Written,
};

use super::folder::{AppendError, Folder, FolderError, Recovered, segments};
use super::settings::AuditSettings;
use crate::edge::Clock;
use crate::telemetry::Metrics;

/// Requests that wait for the disk: at 1 ms a sync, and 64 in one, far more than a node decides.
const QUEUE_MAX: usize = 4_096;
/// Requests of one sync.
const BATCH_MAX: usize = 1_024;
/// Room for lines that is kept between batches: that of some hundred records.
const LINES_BYTES_KEPT: usize = 512 * 1024;
/// Records after which a checkpoint is due.
const CHECKPOINT_RECORDS: u64 = 1_000;
/// Time after which a checkpoint is due, with fewer records than [`CHECKPOINT_RECORDS`].
const CHECKPOINT_AFTER: Duration = Duration::from_secs(60);
/// Least time between two checkpoints: one takes four syncs, for which everybody waits.
const CHECKPOINT_SPACING: Duration = Duration::from_secs(1);
/// Time between two tries after a failure, also when no request comes.
const PROBE_AFTER: Duration = Duration::from_secs(1);
/// Age at which a segment is turned over, so that retention by age has something to delete.
const SEGMENT_MILLIS_MAX: u64 = 24 * 3_600 * 1_000;

/// A signer of the head of the chain.
pub trait HeadSigner: Send + Sync {
    /// Feed id of the cluster, hexadecimal.
    fn cluster(&self) -> String;

    /// Id of the audit key that is active, and its Ed25519 signature; `None` = there is none.
    fn sign(&self, statement: &[u8]) -> Option<(u32, [u8; 64])>;
}

/// The signer of the checkpoints of one chain.
pub type Signer = Box<dyn HeadSigner>;

type Answer = oneshot::Sender<Result<(), NotWritten>>;

/// One thing to write.
struct Job {
    records: Vec<Record>,
    /// Progress of the log: the records are all that it says up to an entry.
    progress: Option<Progress>,
    /// True when no job comes after it.
    last: bool,
    answer: Answer,
}

/// A ticket that says when a record is durable.
#[derive(Debug)]
#[must_use = "the answer must wait for it"]
pub struct Ticket(oneshot::Receiver<Result<(), NotWritten>>);

impl Ticket {
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
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    /// Progress of the log in the chain at the start.
    pub(super) recovered: LogRecovered,
}

impl Queue {
    pub(super) fn has_room(&self) -> Result<(), AuditError> {
        if self.waiting.load(Ordering::Relaxed) < QUEUE_MAX {
            Ok(())
        } else {
            Err(AuditError::Full)
        }
    }

    pub(super) fn submit(&self, record: Record) -> Result<Ticket, AuditError> {
        let sent = self.send(vec![record], None, false);
        sent.map_err(|not| not.error)
    }

    pub(super) fn submit_log(
        &self,
        records: Vec<Record>,
        progress: Progress,
    ) -> Result<Ticket, NotWritten> {
        self.send(records, Some(progress), false)
    }

    pub(super) fn close(&self) -> Result<Ticket, AuditError> {
        let sent = self.send(Vec::new(), None, true);
        sent.map_err(|not| not.error)
    }

    fn send(
        &self,
        records: Vec<Record>,
        progress: Option<Progress>,
        last: bool,
    ) -> Result<Ticket, NotWritten> {
        let (answer, answered) = oneshot::channel();
        let job = Job {
            records,
            progress,
            last,
            answer,
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let (error, job) = match self.jobs.try_send(job) {
            Ok(()) => return Ok(Ticket(answered)),
            Err(TrySendError::Full(job)) => (AuditError::Full, job),
            Err(TrySendError::Disconnected(job)) => (AuditError::Stopped, job),
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        failed(&self.metrics, &error, 1);
        Err(NotWritten {
            error,
            records: job.records,
        })
    }
}

/// Opens the folder and starts the thread. It ends, with a last checkpoint, when the queue is dropped.
pub(super) fn start(
    settings: &AuditSettings,
    clock: Clock,
    signer: Signer,
    metrics: Arc<Metrics>,
) -> Result<(Queue, watch::Receiver<Written>), FolderError> {
    let (folder, recovered) = Folder::open(&settings.folder)?;
    let (jobs, queue) = sync_channel(QUEUE_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let written = Written {
        head: recovered.head.unwrap_or(Head::START),
        next: recovered.log.progress.next,
        members: recovered.log.progress.members.clone(),
        syncs: 0,
        failing: None,
    };
    let (sender, receiver) = watch::channel(written.clone());
    let mut writer = Writer {
        folder,
        settings: settings.clone(),
        clock,
        signer,
        metrics: Arc::clone(&metrics),
        written,
        published: sender,
        since_checkpoint: 0,
        segment_began: clock.wall().0,
        lines: Vec::new(),
        closed: None,
    };
    writer.begin(&recovered);
    let waits = Arc::clone(&waiting);
    std::thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || writer.run(&queue, &waits))
        .map_err(|source| FolderError::Io {
            action: "start the thread for",
            path: settings.folder.clone(),
            source,
        })?;
    let queue = Queue {
        jobs,
        waiting,
        metrics,
        recovered: recovered.log,
    };
    Ok((queue, receiver))
}

/// The thread's next step after a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

struct Writer {
    folder: Folder,
    settings: AuditSettings,
    clock: Clock,
    signer: Signer,
    metrics: Arc<Metrics>,
    written: Written,
    published: watch::Sender<Written>,
    since_checkpoint: u64,
    segment_began: u64,
    /// Lines of the batch that is being written; the room is kept for the next one.
    lines: Vec<u8>,
    /// Error that closed the audit: nothing is ever written again.
    closed: Option<AuditError>,
}

impl Writer {
    /// Writes the first records of this process.
    fn begin(&mut self, recovered: &Recovered) {
        let mut records = Vec::new();
        if recovered.dropped > 0 {
            let message = "a crash had cut the last lines; no answer had waited for them";
            let record = self.own(Event::AuditRecovered, message);
            records.push(record.with("dropped_bytes", recovered.dropped));
        }
        let started = self
            .own(Event::AuditStarted, "")
            .with("version", env!("CARGO_PKG_VERSION"));
        records.push(self.with_progress(started));
        if let Err(error) = self.write_all(&mut records) {
            tracing::error!(%error, "audit: nothing can be written");
            self.written.failing = Some(error);
        }
        self.published.send_replace(self.written.clone());
    }

    fn run(mut self, queue: &Receiver<Job>, waiting: &AtomicUsize) {
        let mut last = Instant::now();
        loop {
            let mut patience = self
                .checkpoint_due(last)
                .saturating_duration_since(Instant::now());
            if self.written.failing.is_some() {
                patience = patience.min(PROBE_AFTER);
            }
            match queue.recv_timeout(patience) {
                Ok(first) => {
                    let mut jobs = vec![first];
                    jobs.extend(queue.try_iter().take(BATCH_MAX - 1));
                    let left = waiting.fetch_sub(jobs.len(), Ordering::Relaxed) - jobs.len();
                    self.metrics.audit_queue.record(left as u64, &[]);
                    if self.serve(jobs) == Then::End {
                        return;
                    }
                }
                // A question whether a record can be written is answered by the last try: so there must be one.
                Err(RecvTimeoutError::Timeout) if self.written.failing.is_some() => {
                    self.checkpoint();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.checkpoint_if_new(),
            }
            if Instant::now() >= self.checkpoint_due(last) {
                self.checkpoint_if_new();
                self.prune();
                last = Instant::now();
            }
        }
    }

    /// Time at which the next checkpoint is due after the `last`.
    fn checkpoint_due(&self, last: Instant) -> Instant {
        match self.since_checkpoint >= CHECKPOINT_RECORDS {
            true => last + CHECKPOINT_SPACING,
            false => last + CHECKPOINT_AFTER,
        }
    }

    /// Writes what the jobs want, and tells all of them.
    fn serve(&mut self, mut jobs: Vec<Job>) -> Then {
        let outcome = if jobs.iter().all(|job| job.records.is_empty()) {
            Ok(())
        } else {
            self.write(&mut jobs)
        };
        let then = match jobs.iter().any(|job| job.last) {
            true => Then::End,
            false => Then::GoOn,
        };
        let progress = jobs.iter_mut().filter_map(|job| job.progress.take()).last();
        if outcome.is_ok()
            && let Some(progress) = progress
        {
            self.written.next = progress.next;
            self.written.members = progress.members;
        }
        if let Err(error) = &outcome {
            failed(&self.metrics, error, jobs.len());
        }
        self.written.failing = outcome.clone().err();
        self.published.send_replace(self.written.clone());
        if then == Then::End {
            self.prune();
            self.checkpoint_if_new();
        }
        for Job {
            answer, records, ..
        } in jobs
        {
            let outcome = outcome.clone();
            // Who has gone does not wait for it.
            let _ = answer.send(outcome.map_err(|error| NotWritten { error, records }));
        }
        then
    }

    /// Writes a record of the node itself, durable when it returns.
    fn write_own(&mut self, record: Record) -> Result<(), AuditError> {
        self.write_all(&mut [record])
    }

    /// Writes the records of all jobs or none, durable when it returns.
    fn write(&mut self, jobs: &mut [Job]) -> Result<(), AuditError> {
        self.write_all(jobs.iter_mut().flat_map(|job| &mut job.records))
    }

    fn write_all<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a mut Record>,
    ) -> Result<(), AuditError> {
        if let Some(closed) = &self.closed {
            return Err(closed.clone());
        }
        self.has_room()?;
        let continues = self.turn_over_if_full()?;
        let begun = Instant::now();
        let mut counted = BTreeMap::new();
        let mut head = self.written.head;
        self.lines.clear();
        self.lines.shrink_to(LINES_BYTES_KEPT);
        if continues {
            let mut checkpoint = self.checkpoint_record(&head);
            head = self.add(&mut checkpoint, &head, &mut counted);
        }
        for record in records {
            head = self.add(record, &head, &mut counted);
        }
        match self.folder.append(&self.lines) {
            Ok(()) => {}
            Err(AppendError::Undone(error)) => return Err(AuditError::Failing(error.to_string())),
            Err(AppendError::Broken(error)) => return Err(self.close(&error)),
        }
        if let Err(error) = self.folder.sync() {
            return Err(self.close(&error));
        }
        self.since_checkpoint += head.seq - self.written.head.seq;
        self.written.head = head;
        self.written.syncs += 1;
        count(&self.metrics, &counted, begun);
        Ok(())
    }

    /// Adds the line of a record to the batch, and counts it by its event: only names of the table of events, so few.
    /// Returns the head that the chain has with it.
    fn add(
        &mut self,
        record: &mut Record,
        head: &Head,
        counted: &mut BTreeMap<&'static str, u64>,
    ) -> Head {
        record.node = self.settings.node;
        if record.id.is_empty() {
            record.id = format!("n{}-{}", self.settings.node, head.seq + 1);
        }
        let event = Event::parse(&record.event).map_or("other", Event::as_str);
        *counted.entry(event).or_default() += 1;
        let head = seal_into(record, head, &mut self.lines);
        self.lines.push(b'\n');
        head
    }

    fn has_room(&self) -> Result<(), AuditError> {
        let free = self
            .folder
            .free_space()
            .map_err(|error| AuditError::Failing(error.to_string()))?;
        if free >= self.settings.free_min {
            return Ok(());
        }
        Err(AuditError::Failing(format!(
            "only {} MiB are free on its disk, {} MiB are kept for the log",
            free >> 20,
            self.settings.free_min >> 20
        )))
    }

    /// True when a new segment goes on from an older one.
    fn turn_over_if_full(&mut self) -> Result<bool, AuditError> {
        let now = self.clock.wall().0;
        let old = now.saturating_sub(self.segment_began) > SEGMENT_MILLIS_MAX;
        let full = self.folder.length() >= self.settings.segment_bytes || old;
        if !self.folder.is_new() && !full {
            return Ok(false);
        }
        let continues = !self.folder.is_new();
        self.folder
            .begin(self.written.head.seq + 1)
            .map_err(|error| AuditError::Failing(error.to_string()))?;
        self.segment_began = now;
        Ok(continues)
    }

    fn close(&mut self, error: &std::io::Error) -> AuditError {
        tracing::error!(%error, "audit: the disk did not keep a record; restart this node");
        let closed = AuditError::Failing(format!("the disk did not keep one: {error}"));
        self.closed = Some(closed.clone());
        closed
    }

    fn checkpoint_if_new(&mut self) {
        if self.since_checkpoint > 0 {
            self.checkpoint();
        }
    }

    fn checkpoint(&mut self) {
        let record = self.checkpoint_record(&self.written.head);
        let outcome = self.write_own(record);
        if let Err(error) = &outcome {
            failed(&self.metrics, error, 1);
        }
        self.written.failing = outcome.clone().err();
        if outcome.is_ok() {
            self.since_checkpoint = 0;
            if let Err(error) = self.folder.remember(&self.written.head) {
                tracing::warn!(%error, "audit: the head was not remembered");
            }
        }
        self.published.send_replace(self.written.clone());
    }

    fn checkpoint_record(&self, head: &Head) -> Record {
        let mut record = self.with_progress(self.own(Event::AuditCheckpoint, ""));
        let cluster = self.signer.cluster();
        let statement = statement(&cluster, self.settings.node, head, &record.ts);
        if let Some((key, signature)) = self.signer.sign(&statement) {
            let signature = data_encoding::HEXLOWER.encode(&signature);
            record = record
                .with(field::CLUSTER, cluster)
                .with(field::KEY, key)
                .with(field::SIGNATURE, signature);
        }
        record
    }

    /// Deletes what retention no longer keeps: first the record that says so, then the files.
    fn prune(&mut self) {
        let outcome = self.try_prune();
        if let Err(error) = outcome {
            tracing::warn!(%error, "audit: old segments stay");
        }
    }

    fn try_prune(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let old = self.expired()?;
        let Some(last) = old.last() else {
            return Ok(());
        };
        let record = self
            .own(Event::AuditPruned, "retention deleted old segments")
            .with(hessra_audit::walk::pruned::THROUGH, last.through)
            .with(hessra_audit::walk::pruned::HASH, last.hash.clone())
            .with("segments", old.len() as u64);
        self.write_own(record)?;
        self.published.send_replace(self.written.clone());
        for segment in &old {
            std::fs::remove_file(&segment.path)?;
        }
        Ok(())
    }

    /// Segments that retention no longer keeps, oldest first. Never the newest.
    fn expired(&self) -> Result<Vec<Expired>, Box<dyn std::error::Error>> {
        let found = segments(self.folder.path())?;
        let mut sizes = Vec::new();
        for segment in &found {
            let metadata = std::fs::metadata(&segment.path)?;
            sizes.push((metadata.len(), metadata.modified()?));
        }
        let mut total: u64 = sizes.iter().map(|(size, _)| size).sum();
        let oldest_kept = std::time::UNIX_EPOCH
            + Duration::from_millis(self.clock.wall().0).saturating_sub(self.settings.keep_age);
        let mut expired = Vec::new();
        for (pair, (size, modified)) in found.windows(2).zip(sizes) {
            if total <= self.settings.keep_bytes && modified >= oldest_kept {
                break;
            }
            total -= size;
            expired.push(Expired {
                path: pair[0].path.clone(),
                through: pair[1].first - 1,
                hash: first_prev(&pair[1].path)?,
            });
        }
        Ok(expired)
    }

    fn own(&self, event: Event, message: &str) -> Record {
        let mut record = Record::new(event, Outcome::Success, self.clock.wall().0);
        record.actor.subject = format!("node {}", self.settings.node);
        record.actor.auth = "node".to_owned();
        record.action = event
            .as_str()
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .to_owned();
        record.target.r#type = "audit".to_owned();
        record.message = message.to_owned();
        record
    }

    fn with_progress(&self, record: Record) -> Record {
        let progress = Progress {
            next: self.written.next,
            members: self.written.members.clone(),
        };
        progress.write(record)
    }
}

/// A segment that is deleted.
struct Expired {
    path: std::path::PathBuf,
    /// Number of its last record.
    through: u64,
    /// Hash of its last record.
    hash: String,
}

/// `prev` of the first record of a segment.
fn first_prev(path: &std::path::Path) -> Result<String, Box<dyn std::error::Error>> {
    use std::io::BufRead as _;
    let mut line = String::new();
    std::io::BufReader::new(std::fs::File::open(path)?).read_line(&mut line)?;
    Ok(hessra_audit::open(line.trim_end())?.record.prev)
}

fn count(metrics: &Metrics, counted: &BTreeMap<&'static str, u64>, begun: Instant) {
    metrics
        .audit_write_duration
        .record(begun.elapsed().as_secs_f64(), &[]);
    metrics
        .audit_batch
        .record(counted.values().sum::<u64>() as f64, &[]);
    for (event, number) in counted {
        metrics
            .audit_events
            .add(*number, &[KeyValue::new("event", *event)]);
    }
}

fn failed(metrics: &Metrics, error: &AuditError, count: usize) {
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
