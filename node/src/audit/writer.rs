//! The one thread that writes the records of a chain.
//!
//! It takes everything that waits, chains it, writes it with one call and syncs it with one: while the disk is busy the
//! next batch grows, so a thousand waiting requests share few syncs and a lone one waits for one. A write that fails is
//! undone and its requests are told; the next batch tries again. A sync that fails is never tried again, because the
//! kernel may have thrown the bytes away while saying so only once: the audit is closed until the node is restarted.
//!
//! It is closed too when the file that is written is not at its path any more, and when the chain is not the one that the
//! cluster has witnessed: cut, set back, rewritten, begun anew, or signed with another key. Another chain than the
//! witnessed one goes on as soon as an operator has accepted that the witnessed one is lost; all else needs a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use data_encoding::HEXLOWER;
use hessra_audit::checkpoint::field;
use hessra_audit::marks::field as mark;
use hessra_audit::{Chain, ChainId, Event, Head, Marks, Outcome, Record, Statement, seal_into};
use hessra_state::{ChainName, Witnessed};
use opentelemetry::KeyValue;
use tokio::sync::watch;
use tokio::time::Instant;

use hessra_consensus::audit::{AuditError, NotWritten, Progress, Written, resumes_at};

use super::folder::{AppendError, Folder, FolderError};
use super::queue::{Around, Job, QUEUE_MAX, Queue, Stated, failed};
use super::retention::expired;
use super::settings::ChainSettings;
use super::sign::hex;
use super::sums::{Sum, Sums};
use crate::telemetry::Metrics;

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

/// Time between two looks at the file and at what the cluster has witnessed, also when no request comes.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Opens the folder and starts the thread. It ends, with a last checkpoint, when the queue is dropped. `fresh`: id of the
/// chain, should it begin now. `sums`: what is to be written of refusals that were counted.
pub(super) fn start(
    settings: ChainSettings,
    around: Around,
    fresh: ChainId,
    sums: Option<Arc<Sums>>,
) -> Result<Queue, FolderError> {
    let (folder, recovered) = Folder::open(&settings.folder)?;
    let (jobs, queue) = sync_channel(QUEUE_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let written = Written {
        head: recovered.head.unwrap_or(Head::START),
        next: recovered.log.progress.next,
        resumes: recovered.log.progress.next,
        members: recovered.log.progress.members.clone(),
        syncs: 0,
        failing: None,
    };
    let (sender, receiver) = watch::channel(written.clone());
    let stated = Arc::new(Stated::default());
    let exported = Arc::new(AtomicU64::new(recovered.marks.exported));
    let name = ChainName {
        node: settings.node,
        chain: settings.chain.as_str().to_owned(),
    };
    let place = settings.folder.clone();
    let mut writer = Writer {
        folder,
        settings,
        around: around.clone(),
        written,
        marks: recovered.marks,
        fresh,
        stated: Arc::clone(&stated),
        exported: Arc::clone(&exported),
        compared: None,
        sums,
        unwritten: Vec::new(),
        published: sender,
        since_checkpoint: 0,
        segment_began: around.clock.wall().0,
        lines: Vec::new(),
        closed: None,
        dropped: recovered.dropped,
        begun: false,
    };
    writer.begin();
    let waits = Arc::clone(&waiting);
    std::thread::Builder::new()
        .name(format!("audit {}", name.chain))
        .spawn(move || writer.run(&queue, &waits))
        .map_err(|source| FolderError::Io {
            action: "start the thread for",
            path: place,
            source,
        })?;
    Ok(Queue {
        jobs,
        waiting,
        around,
        name,
        written: receiver,
        stated,
        exported,
        recovered: recovered.log,
    })
}

/// The thread's next step after a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

/// Reason for which the chain is closed: nothing is written to it.
#[derive(Clone)]
enum Closed {
    /// It may not be what was written: until the node is started again.
    Damaged(AuditError),
    /// The cluster has witnessed another chain: until an operator accepts that that one is lost.
    Contradicted(AuditError),
}

impl Closed {
    fn error(&self) -> &AuditError {
        match self {
            Self::Damaged(error) | Self::Contradicted(error) => error,
        }
    }
}

struct Writer {
    folder: Folder,
    settings: ChainSettings,
    around: Around,
    written: Written,
    marks: Marks,
    /// Id of the chain, should it begin in this process.
    fresh: ChainId,
    stated: Arc<Stated>,
    exported: Arc<AtomicU64>,
    /// Head that the cluster had witnessed when the chain was compared with it last.
    compared: Option<Witnessed>,
    sums: Option<Arc<Sums>>,
    /// Records of sums that are not written yet.
    unwritten: Vec<Record>,
    published: watch::Sender<Written>,
    since_checkpoint: u64,
    segment_began: u64,
    /// Lines of the batch that is being written; the room is kept for the next one.
    lines: Vec<u8>,
    closed: Option<Closed>,
    /// Bytes of the last lines that a crash had cut; the first records say so.
    dropped: u64,
    /// True once this process has written its first records.
    begun: bool,
}

impl Writer {
    /// Writes the first records of this process, unless the cluster has witnessed another chain.
    fn begin(&mut self) {
        let mut records = Vec::new();
        if self.dropped > 0 {
            let message = "a crash had cut the last lines; what they said of changes is written again from the log, and no other answer had waited for them";
            let record = self.own(Event::AuditRecovered, message);
            records.push(record.with("dropped_bytes", self.dropped));
        }
        let id = *self.marks.chain_id.get_or_insert(self.fresh);
        let started = self
            .own(Event::AuditStarted, "")
            .with("version", env!("CARGO_PKG_VERSION"));
        records.push(self.with_progress(started));
        match self.write_all(&mut records) {
            Ok(()) => {
                self.begun = true;
                self.written.failing = None;
            }
            Err(error) => {
                if self.written.failing.as_ref() != Some(&error) {
                    tracing::error!(%error, chain = %self.settings.chain, "audit: nothing can be written");
                }
                self.written.failing = Some(error);
            }
        }
        self.stated.lock().0 = Some(id);
        self.published.send_replace(self.written.clone());
    }

    /// Looks at the file and at what the cluster has witnessed.
    fn look(&mut self) {
        match &self.closed {
            Some(Closed::Contradicted(_)) if self.replaces_a_lost_chain() => self.closed = None,
            Some(_) => return,
            None => {}
        }
        if !self.begun {
            return self.begin();
        }
        let looked = match self.folder.check_place() {
            Ok(()) => self.compare(),
            Err(reason) => Err(self.refuse(&reason, Closed::Damaged)),
        };
        if let Err(error) = looked {
            self.written.failing = Some(error);
            self.published.send_replace(self.written.clone());
        }
    }

    /// Compares the chain with what the cluster has witnessed; closes it when it is another one.
    fn compare(&mut self) -> Result<(), AuditError> {
        let known = self.around.cluster.witnessed(self.settings.chain);
        if known == self.compared {
            return Ok(());
        }
        if let Some(known) = &known
            && let Err(how) = self.follows(known)
        {
            let node = self.settings.node;
            let reason = format!(
                "the audit in `{}` is not the one that the cluster has witnessed at record {}: {how}. Keep a copy and look for \
                 who changed it. To go on without its records: `hessra audit accept-loss {node}`, move the folder `audit` \
                 away, start this node again",
                self.settings.folder.display(),
                known.head.seq,
            );
            return Err(self.refuse(&reason, Closed::Contradicted));
        }
        self.compared = known;
        Ok(())
    }

    /// True when an operator has accepted that the witnessed chain is lost, and this is another one.
    fn replaces_a_lost_chain(&self) -> bool {
        let known = self.around.cluster.witnessed(self.settings.chain);
        known.is_some_and(|known| known.loss_accepted && !self.is_chain(&known))
    }

    fn is_chain(&self, known: &Witnessed) -> bool {
        self.marks.chain_id == Some(ChainId(known.head.id))
    }

    /// Checks that the chain is the witnessed one, and goes on from it.
    fn follows(&self, known: &Witnessed) -> Result<(), String> {
        let head = Head {
            seq: known.head.seq,
            hash: known.head.hash,
        };
        let is_same = self.is_chain(known);
        if !is_same && known.loss_accepted {
            return Ok(());
        }
        if self.written.head.seq == 0 {
            return Err("it is empty".to_owned());
        }
        if !is_same {
            return Err("it began anew".to_owned());
        }
        if known.key != self.around.key.public() {
            return Err("this node has another audit key".to_owned());
        }
        if self.written.head.seq < head.seq {
            return Err(format!("it ends at record {}", self.written.head.seq));
        }
        if self.stated.lock().1.contains(&head) {
            return Ok(());
        }
        self.folder.check_contains(&head)
    }

    fn run(mut self, queue: &Receiver<Job>, waiting: &AtomicUsize) {
        let mut last = Instant::now();
        let mut looked = last;
        loop {
            let mut patience = self
                .checkpoint_due(last)
                .saturating_duration_since(Instant::now())
                .min(LOOK_AFTER);
            if self.written.failing.is_some() {
                patience = patience.min(PROBE_AFTER);
            }
            match queue.recv_timeout(patience) {
                Ok(first) => {
                    let mut jobs = vec![first];
                    jobs.extend(queue.try_iter().take(BATCH_MAX - 1));
                    let left = waiting.fetch_sub(jobs.len(), Ordering::Relaxed) - jobs.len();
                    let labels = [KeyValue::new("chain", self.settings.chain.as_str())];
                    self.around.metrics.audit_queue.record(left as u64, &labels);
                    if self.serve(jobs) == Then::End {
                        return;
                    }
                }
                // A question whether a record can be written is answered by the last try: so there must be one.
                Err(RecvTimeoutError::Timeout) if self.written.failing.is_some() => {
                    self.checkpoint();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.write_sums(true);
                    return self.checkpoint_if_new();
                }
            }
            if looked.elapsed() >= LOOK_AFTER {
                self.look();
                self.write_sums(false);
                looked = Instant::now();
            }
            if Instant::now() >= self.checkpoint_due(last) {
                self.check_segments();
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
        let before = self.marks;
        self.mark_exports(&mut jobs);
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
        self.exported.store(
            outcome.as_ref().map_or(before, |()| self.marks).exported,
            Ordering::Release,
        );
        if let Err(error) = &outcome {
            self.marks = before;
            failed(&self.around.metrics, error, jobs.len());
        }
        self.written.failing = outcome.clone().err();
        self.published.send_replace(self.written.clone());
        if then == Then::End {
            self.write_sums(true);
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

    /// Takes note of exports, and says in their records how far the chain is exported with them.
    fn mark_exports(&mut self, jobs: &mut [Job]) {
        for job in jobs {
            let Some((from, through)) = job.exported else {
                continue;
            };
            self.marks.export(from, through);
            for record in &mut job.records {
                *record = self.marks.write(record.clone());
            }
        }
    }

    /// Writes the sums of refusals that were counted.
    fn write_sums(&mut self, last: bool) {
        let Some(sums) = &self.sums else {
            return;
        };
        let due = sums.due(self.around.clock.monotonic(), last);
        // Those that could not be written are tried again; no more are taken meanwhile than one window has.
        if self.unwritten.is_empty() {
            let at = self.around.clock.wall().0;
            self.unwritten = due.iter().map(|sum| summed(sum, at)).collect();
        }
        if self.unwritten.is_empty() {
            return;
        }
        let mut records = std::mem::take(&mut self.unwritten);
        if let Err(error) = self.write_all(&mut records) {
            failed(&self.around.metrics, &error, records.len());
            self.written.failing = Some(error);
            self.unwritten = records;
        }
        self.published.send_replace(self.written.clone());
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
            return Err(closed.error().clone());
        }
        self.compare()?;
        self.has_room()?;
        let continues = self.turn_over_if_full()?;
        let begun = Instant::now();
        let mut counted = BTreeMap::new();
        let mut head = self.written.head;
        let mut resumes = self.written.resumes;
        self.lines.clear();
        self.lines.shrink_to(LINES_BYTES_KEPT);
        if continues {
            let mut checkpoint = self.checkpoint_record(&head);
            head = self.add(&mut checkpoint, &head, &mut counted);
        }
        for record in records {
            head = self.add(record, &head, &mut counted);
            resumes = resumes.max(resumes_at(record).unwrap_or(0));
        }
        match self.folder.append(&self.lines) {
            Ok(()) => {}
            Err(AppendError::Undone(error)) => return Err(AuditError::Failing(error.to_string())),
            Err(AppendError::Broken(error)) => return Err(self.close(&error)),
        }
        if let Err(error) = self.folder.sync() {
            return Err(self.close(&error));
        }
        // After the sync: what was written to a file that is gone by then is in no audit.
        if let Err(reason) = self.folder.check_place() {
            return Err(self.refuse(&reason, Closed::Damaged));
        }
        self.since_checkpoint += head.seq - self.written.head.seq;
        (self.written.head, self.written.resumes) = (head, resumes);
        self.written.syncs += 1;
        count(&self.around.metrics, &counted, begun);
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
        record.chain = self.settings.chain;
        if record.id.is_empty() {
            let letter = match self.settings.chain {
                Chain::Changes => "",
                Chain::Refusals => "r",
            };
            record.id = format!("n{}{letter}-{}", self.settings.node, head.seq + 1);
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
        if !self.folder.is_new() && !self.is_full() {
            return Ok(false);
        }
        let continues = !self.folder.is_new();
        self.folder
            .begin(self.written.head.seq + 1)
            .map_err(|error| AuditError::Failing(error.to_string()))?;
        self.segment_began = self.around.clock.wall().0;
        Ok(continues)
    }

    fn is_full(&self) -> bool {
        let age = self
            .around
            .clock
            .wall()
            .0
            .saturating_sub(self.segment_began);
        self.folder.length() >= self.settings.segment_bytes || age > SEGMENT_MILLIS_MAX
    }

    fn close(&mut self, error: &std::io::Error) -> AuditError {
        tracing::error!(%error, "audit: the disk did not keep a record; restart this node");
        let closed = AuditError::Failing(format!("the disk did not keep one: {error}"));
        self.closed = Some(Closed::Damaged(closed.clone()));
        closed
    }

    /// Closes the audit: it is not the one that it was.
    fn refuse(&mut self, reason: &str, closed_as: fn(AuditError) -> Closed) -> AuditError {
        let closed = AuditError::Failing(reason.to_owned());
        if self.written.failing.as_ref() != Some(&closed) {
            tracing::error!(reason, chain = %self.settings.chain, "audit: closed");
        }
        self.closed = Some(closed_as(closed.clone()));
        closed
    }

    fn check_segments(&mut self) {
        if self.closed.is_some() {
            return;
        }
        if let Err(reason) = self.folder.check_segments() {
            self.written.failing = Some(self.refuse(&reason, Closed::Damaged));
            self.published.send_replace(self.written.clone());
        }
    }

    fn checkpoint_if_new(&mut self) {
        if self.since_checkpoint > 0 {
            self.checkpoint();
        }
    }

    fn checkpoint(&mut self) {
        let outcome = self.write_checkpoint();
        if let Err(error) = &outcome {
            failed(&self.around.metrics, error, 1);
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

    /// Writes one checkpoint. A segment that goes on from an older one begins with one, so it gets no second, which would
    /// sign a head that is not the one before it.
    fn write_checkpoint(&mut self) -> Result<(), AuditError> {
        if self.is_full() && !self.folder.is_new() {
            return self.write_all(&mut []);
        }
        let record = self.checkpoint_record(&self.written.head);
        self.write_own(record)
    }

    fn checkpoint_record(&self, head: &Head) -> Record {
        let record = self.with_progress(self.own(Event::AuditCheckpoint, ""));
        let cluster = hex(&self.around.cluster.cluster());
        let statement = Statement {
            cluster: &cluster,
            node: self.settings.node,
            chain: self.settings.chain,
            chain_id: self.marks.chain_id.unwrap_or_default(),
            head,
            ts: &record.ts,
        };
        let statement = statement.bytes();
        let by_cluster = self.around.cluster.sign(&statement);
        let key = &self.around.key;
        let record = record
            .with(field::CLUSTER, cluster)
            .with(field::NODE_KEY, HEXLOWER.encode(&key.public()))
            .with(
                field::NODE_SIGNATURE,
                HEXLOWER.encode(&key.sign(&statement)),
            );
        match by_cluster {
            None => record,
            Some((key, signature)) => record
                .with(field::KEY, key)
                .with(field::SIGNATURE, HEXLOWER.encode(&signature)),
        }
    }

    /// Deletes what retention no longer keeps: first the record that says so, then the files.
    fn prune(&mut self) {
        if self.closed.is_some() {
            return;
        }
        let outcome = self.try_prune();
        if let Err(error) = outcome {
            tracing::warn!(%error, "audit: old segments stay");
        }
    }

    fn try_prune(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let witnessed = self.around.cluster.witnessed(self.settings.chain);
        let witnessed = witnessed.map_or(u64::MAX, |known| known.head.seq);
        let now = self.around.clock.wall().0;
        let old = expired(&self.folder, &self.settings, now, witnessed)?;
        let Some(last) = old.last() else {
            return Ok(());
        };
        self.marks.pruned = self.marks.pruned.max(last.through);
        if self.marks.exported < last.through {
            let (through, exported) = (last.through, self.marks.exported);
            tracing::error!(
                chain = %self.settings.chain,
                through, exported, "audit: records were deleted that nobody had exported"
            );
        }
        let record = self
            .own(Event::AuditPruned, "retention deleted old segments")
            .with(mark::THROUGH, last.through)
            .with(mark::HASH, last.hash.clone())
            .with("segments", old.len() as u64);
        let record = self.marks.write(record);
        self.write_own(record)?;
        self.published.send_replace(self.written.clone());
        for expired in &old {
            self.folder.remove(&expired.segment)?;
        }
        Ok(())
    }

    fn own(&self, event: Event, message: &str) -> Record {
        let mut record = Record::new(event, Outcome::Success, self.around.clock.wall().0);
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
        let record = self.marks.write(record);
        if self.settings.chain != Chain::Changes {
            return record;
        }
        let progress = Progress {
            next: self.written.next,
            members: self.written.members.clone(),
        };
        progress.write(record)
    }
}

/// The record of a sum. `at`: Unix milliseconds.
fn summed(sum: &Sum, at: u64) -> Record {
    let event = Event::parse(&sum.event).unwrap_or(Event::AccessDenied);
    let mut record = Record::new(event, Outcome::Denied, at)
        .with("summed", sum.count)
        .with("millis", sum.millis);
    record.reason.clone_from(&sum.reason);
    record.actor.auth = "node".to_owned();
    record.actor.ip.clone_from(&sum.address);
    record.action = "sum".to_owned();
    record.message = match sum.address.as_str() {
        "" => format!(
            "{} more of this kind, of many addresses, have no record of their own",
            sum.count
        ),
        address => format!(
            "{} more of this kind from {address} have no record of their own",
            sum.count
        ),
    };
    record
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
