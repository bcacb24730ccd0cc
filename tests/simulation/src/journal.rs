//! The journal of one seed: what happened, counted, traced and verified.

use std::collections::BTreeMap;
use std::sync::Mutex;

use hessra_consensus::Measurement;
use hessra_proof::Proof;
use hessra_revocation::Revision;
use hessra_state::{Author, RequestId};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::Plant;
use crate::oracle::Oracle;
use crate::runtime::random;

/// Events by kind.
pub type Kinds = BTreeMap<&'static str, u64>;

/// Options of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A deliberate bug.
    pub plant: Option<Plant>,
    /// True to print every event.
    pub trace: bool,
}

/// Nodes that trust one authority more than at the beginning: people renew their certificates there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Trust {
    OfNone,
    Of(u64),
    OfAll,
}

impl Trust {
    fn any() -> Self {
        match random().gen_bool(0.5) {
            true => Self::Of(random().gen_range(1..=3)),
            false => Self::OfNone,
        }
    }

    /// True when this node trusts it.
    pub fn is_of(self, node: u64) -> bool {
        self == Self::OfAll || self == Self::Of(node)
    }
}

/// Report of one seed: what it did and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Broken promises. Empty is good.
    pub violations: Vec<String>,
    /// Operations and faults.
    pub counts: Counts,
    /// Digest of every event: the same seed gives the same.
    pub trace: [u8; 32],
    /// Newest revision.
    pub head: Revision,
    /// Comparisons the oracle made.
    pub checks: u64,
}

/// Operations and faults.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Writes that were answered.
    pub acknowledged: u64,
    /// Writes without an answer after all attempts.
    pub unknown: u64,
    /// Writes that were refused as certainly not written.
    pub refused: u64,
    /// Linearizable checks that were answered.
    pub checked: u64,
    /// Linearizable checks without an answer.
    pub unanswered: u64,
    /// Streams to verifiers that were told to resume, by reason.
    pub resets: Kinds,
    /// Kinds and changes of the members, by kind.
    pub faults: Kinds,
}

/// The journal of one seed.
pub struct Journal {
    /// Options of the run.
    pub options: Options,
    /// Instant at which it began.
    pub beginning: Instant,
    trust: Mutex<Trust>,
    /// Oracle, which sees everything.
    pub oracle: Oracle,
    counts: Mutex<Counts>,
    /// Proofs that people have made.
    signed: Mutex<Vec<Proof>>,
    /// Requests that were answered, and the log entries that they came with.
    answered: Mutex<Vec<(RequestId, u64)>>,
    /// Log indices up to which nodes have installed snapshots.
    installed: Mutex<BTreeMap<u64, u64>>,
    trace: Mutex<Sha256>,
}

impl Journal {
    /// Journal in which nothing has happened yet.
    pub fn begin(options: Options) -> Self {
        Self {
            options,
            beginning: Instant::now(),
            trust: Mutex::new(Trust::any()),
            oracle: Oracle::default(),
            counts: Mutex::default(),
            signed: Mutex::default(),
            answered: Mutex::default(),
            installed: Mutex::default(),
            trace: Mutex::default(),
        }
    }

    /// Nodes that trust one authority more than at the beginning.
    pub fn trust(&self) -> Trust {
        *self.trust.lock().expect("one thread")
    }

    /// Gives all nodes the same authorities, from the next start of each on.
    pub fn trust_alike(&self) {
        *self.trust.lock().expect("one thread") = Trust::OfAll;
    }

    /// Notes a figure of the consensus of a node. `is_low`: its disk has no room for writes.
    pub fn measured(&self, node: u64, measurement: Measurement, is_low: bool) {
        match measurement {
            Measurement::EntryProposed(commands) => {
                self.oracle.entry_was_proposed(node, commands, is_low);
            }
            Measurement::FeedForkAlarm | Measurement::ReplicaAlarm => {
                self.oracle.expect(false, || {
                    format!("I11: node {node} says that another one holds another history")
                });
            }
            Measurement::FeedLossAlarm => self.oracle.expect(false, || {
                format!("I10: node {node} says that a verifier is ahead of the quorum")
            }),
            Measurement::StoodBack => {
                self.count_kind("leader stood back from what a quorum refused")
            }
            Measurement::FeedReset(reason) => self.count(|counts| {
                *counts.resets.entry(reason.as_str()).or_default() += 1;
            }),
            _ => {}
        }
    }

    /// Keeps what people have signed, for whoever would use it again.
    pub fn note_signed(&self, author: &Author) {
        let mut signed = self.signed.lock().expect("one thread");
        signed.extend(author.proof().cloned());
    }

    /// A proof that somebody has made, at random.
    pub fn any_signed(&self) -> Option<Proof> {
        let signed = self.signed.lock().expect("one thread");
        let place = random().gen_range(0..signed.len().max(1));
        signed.get(place).cloned()
    }

    /// Notes that a change was answered, for A1.
    pub fn answer_left(&self, request: RequestId, index: u64) {
        let mut answered = self.answered.lock().expect("one thread");
        answered.push((request, index));
    }

    /// Changes that were answered, with their log entries.
    pub fn answered(&self) -> Vec<(RequestId, u64)> {
        self.answered.lock().expect("one thread").clone()
    }

    /// Notes that a node has installed a snapshot up to this log entry, for A1.
    pub fn snapshot_was_installed(&self, node: u64, upto: u64) {
        let mut installed = self.installed.lock().expect("one thread");
        let known = installed.entry(node).or_default();
        *known = upto.max(*known);
    }

    /// Log entry up to which a node has installed a snapshot; 0 = none.
    pub fn installed(&self, node: u64) -> u64 {
        let installed = self.installed.lock().expect("one thread");
        installed.get(&node).copied().unwrap_or(0)
    }

    /// Changes the counts.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().expect("one thread"));
    }

    /// Notes an event: in the digest always, on the terminal when asked for.
    pub fn trace(&self, event: impl FnOnce() -> String) {
        let line = format!(
            "{:>9.3} {}",
            self.beginning.elapsed().as_secs_f64(),
            event()
        );
        self.trace.lock().expect("one thread").update(&line);
        if self.options.trace {
            println!("{line}");
        }
    }

    /// Counts one event of a kind.
    pub fn count_kind(&self, kind: &'static str) {
        self.count(|counts| *counts.faults.entry(kind).or_default() += 1);
    }

    /// Report of what the seed did and found.
    pub fn report(&self) -> Report {
        Report {
            violations: self.oracle.violations(),
            counts: self.counts.lock().expect("one thread").clone(),
            trace: self
                .trace
                .lock()
                .expect("one thread")
                .clone()
                .finalize()
                .into(),
            head: self.oracle.head(),
            checks: self.oracle.checks(),
        }
    }
}
