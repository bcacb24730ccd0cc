//! One node's audit log: records that become durable after a while, and of which a crash keeps a beginning.
//!
//! Chaining and files are the business of the node (`node/src/audit`) and of its own crash tests. Here it matters when a
//! record is durable, what a new life finds, and what happens while nothing can be written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hessra_audit::checkpoint::field;
use hessra_audit::{Event, Head, Outcome, Record};
use hessra_consensus::audit::{
    AuditError, AuditLog, NotWritten, Progress, Recovered, Written, resumes_at,
};
use rand::Rng;
use tokio::sync::watch;

use crate::disk::sync_duration;
use crate::runtime::{Process, random};

/// Disk of an audit log, which stays when a node crashes: the records on it, and whether more can be written.
#[derive(Default)]
pub struct AuditDisk {
    durable: Mutex<Vec<Record>>,
    full: AtomicBool,
}

/// The audit log of one life.
pub struct SimAuditLog {
    disk: Arc<AuditDisk>,
    process: Process,
    recovered: Recovered,
    written: watch::Sender<Written>,
    /// Lock held while a batch is on its way to the disk: one after the other.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl AuditDisk {
    /// Fills the disk, so that nothing can be written from now on, or makes room again.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Requests whose records are durable, in hexadecimal, and the log entries that they came with first.
    ///
    /// Read from the records, not from what the code under test says of them.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let durable = self.durable.lock().expect("one thread");
        durable
            .iter()
            .filter_map(|record| Some((record.request.id.clone(), record.raft?.index)))
            .collect()
    }

    /// Log entries of which the records say that they were gone before they could be recorded.
    pub fn skipped(&self) -> Vec<Range<u64>> {
        let durable = self.durable.lock().expect("one thread");
        let number = |record: &Record, name: &str| {
            let value = record.change.get(name);
            value.and_then(|value| value.as_u64()).unwrap_or(0)
        };
        durable
            .iter()
            .filter(|record| record.event == Event::SnapshotRestored.as_str())
            .map(|record| number(record, "from")..number(record, field::NEXT_INDEX))
            .collect()
    }

    /// Records of changes that are in it twice: each change of the cluster has one record on a node.
    pub fn repeated(&self) -> Vec<String> {
        let durable = self.durable.lock().expect("one thread");
        let mut ids = BTreeSet::new();
        let of_log = durable
            .iter()
            .filter(|record| record.raft.is_some() && !record.id.is_empty());
        of_log
            .filter(|record| !ids.insert(record.id.clone()))
            .map(|record| record.id.clone())
            .collect()
    }

    fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn append(&self, records: Vec<Record>) {
        self.durable.lock().expect("one thread").extend(records);
    }
}

impl SimAuditLog {
    /// Opens the log of a new life, over the records that a crash left.
    pub fn open(disk: Arc<AuditDisk>, process: Process) -> Self {
        let mut recovered = Recovered::default();
        for record in disk.durable.lock().expect("one thread").iter() {
            recovered.note(record);
        }
        let written = Written {
            head: Head::START,
            next: recovered.progress.next,
            resumes: recovered.progress.next,
            members: recovered.progress.members.clone(),
            syncs: 0,
            failing: None,
        };
        Self {
            disk,
            process,
            recovered,
            written: watch::Sender::new(written),
            turn: Arc::default(),
        }
    }

    fn refuse(&self) -> AuditError {
        let error = AuditError::Failing("the simulated disk is full".to_owned());
        let failing = Some(error.clone());
        self.written
            .send_modify(|written| written.failing = failing);
        error
    }
}

impl AuditLog for SimAuditLog {
    fn ready(&self) -> Result<(), AuditError> {
        match self.disk.is_full() {
            true => Err(self.refuse()),
            false => Ok(()),
        }
    }

    fn written(&self) -> watch::Receiver<Written> {
        self.written.subscribe()
    }

    fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    fn append(
        &self,
        records: Vec<Record>,
        progress: Progress,
    ) -> BoxFuture<'static, Result<(), NotWritten>> {
        if self.disk.is_full() {
            let error = self.refuse();
            return std::future::ready(Err(NotWritten { error, records })).boxed();
        }
        let (disk, written, turn) = (
            Arc::clone(&self.disk),
            self.written.clone(),
            Arc::clone(&self.turn),
        );
        async move {
            let _turn = turn.lock().await;
            // The lines of a batch reach the disk one after the other: a crash in between keeps some of them.
            let (mut first, mut rest) = (records, Vec::new());
            if !first.is_empty() {
                rest = first.split_off(random().gen_range(0..=first.len()));
            }
            if random().gen_bool(0.05) {
                rest.push(checkpoint(&progress));
            }
            let resumes = first.iter().chain(&rest).filter_map(resumes_at).max();
            tokio::time::sleep(sync_duration(false) / 2).await;
            disk.append(first);
            tokio::time::sleep(sync_duration(false) / 2).await;
            disk.append(rest);
            written.send_modify(|written| {
                written.next = progress.next;
                written.resumes = written.resumes.max(resumes.unwrap_or(0));
                written.members = progress.members;
                written.syncs += 1;
                written.failing = None;
            });
            Ok(())
        }
        .boxed()
    }

    fn tell(&self, record: Record) {
        let disk = Arc::clone(&self.disk);
        self.process.spawn(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            disk.append(vec![record]);
        });
    }
}

/// Checkpoint of the progress: entries that make no record are known to be done from it only.
fn checkpoint(progress: &Progress) -> Record {
    progress.write(Record::new(Event::AuditCheckpoint, Outcome::Success, 0))
}
