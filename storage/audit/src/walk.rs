//! Walks the lines of one chain and names the first that is wrong.
//!
//! | what was done to the files | what is said |
//! |---|---|
//! | a byte changed | the record's bytes do not give its hash |
//! | a line taken out, put in, or moved | the record is not the one that follows |
//! | the last line cut | the record does not end with a hash |
//! | the end taken away | the chain ends before the record that its head names |
//! | the beginning taken away | records are missing, and none says that retention deleted them |
//! | rewritten whole | a signed checkpoint does not fit |
//!
//! A chain that was rewritten whole since its last signed checkpoint cannot be told from a true one: compare it with
//! what was exported, or with the head that its node names.

use crate::chain::{BadLine, Head, Line, open};
use crate::checkpoint::{CheckpointKey, Signed, check};
use crate::record::{Event, Record};

/// Names of the fields in `change` of [`Event::AuditPruned`].
pub mod pruned {
    /// Last record that was deleted.
    pub const THROUGH: &str = "through";
    /// Hash of that record.
    pub const HASH: &str = "hash";
}

/// Fault of a chain, and the record that has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq}: {wrong}")]
#[allow(missing_docs)]
pub struct Fault {
    /// Number of the record that should be there.
    pub seq: u64,
    pub wrong: Wrong,
}

/// Kinds of damage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Wrong {
    #[error(transparent)]
    Line(#[from] BadLine),
    #[error("the line says that it is record {found}: a line was removed, added or moved")]
    Sequence { found: u64 },
    #[error("it does not continue the record before it: one of the two was replaced")]
    Prev,
    #[error("it is of node {found}, the chain is of node {expected}")]
    Node { expected: u64, found: u64 },
    #[error("its signature by audit key {key} is wrong: the chain before it was rewritten")]
    Signature { key: u32 },
    #[error("its hash is not the one that was known of it: the chain was rewritten")]
    Known,
    #[error("the chain ends before it: the end of the audit was taken away")]
    Missing,
    #[error("it and all before it are missing, and no record says that retention deleted them")]
    Beginning,
}

/// Facts seen of a chain without a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Walked {
    pub records: u64,
    pub first: u64,
    pub last: u64,
    pub node: u64,
    /// Hash of the last record, hexadecimal.
    pub hash: String,
    pub checkpoints: u64,
    /// Checkpoints with a right signature.
    pub signed: u64,
    /// The last record that a right signature covers; 0 = none.
    pub signed_through: u64,
    /// Keys that signed and were not given.
    pub unknown_keys: Vec<u32>,
}

/// A walk along one chain.
#[derive(Clone, Debug)]
pub struct Walk {
    keys: Vec<CheckpointKey>,
    known: Option<Head>,
    known_seen: bool,
    head: Option<Head>,
    first: Option<(u64, String)>,
    anchored: bool,
    walked: Walked,
}

impl Walk {
    /// Starts at the first line that there is. `keys`: public audit keys. `known`: a head that the chain must contain.
    #[must_use]
    pub fn new(keys: Vec<CheckpointKey>, known: Option<Head>) -> Self {
        let known = known.filter(|head| head.seq > 0);
        Self {
            keys,
            known,
            known_seen: false,
            head: None,
            first: None,
            anchored: false,
            walked: Walked::default(),
        }
    }

    /// The next line, without its line feed.
    ///
    /// # Errors
    /// [`Fault`]: what is wrong with it. After an error the walk is over.
    pub fn line(&mut self, text: &str) -> Result<Line, Fault> {
        let expected = self.head.map_or(0, |head| head.seq + 1);
        let line = open(text).map_err(|bad| fault(expected, bad.into()))?;
        match self.head {
            None => self.begin(&line.record),
            Some(head) => follows(&line.record, &head, self.walked.node)?,
        }
        self.compare(&line)?;
        self.note(&line)?;
        self.head = Some(line.head);
        Ok(line)
    }

    /// The end of the chain.
    ///
    /// # Errors
    /// When its beginning or its end is missing.
    pub fn finish(mut self) -> Result<Walked, Fault> {
        if let Some((seq, _)) = self.first.as_ref().filter(|_| !self.anchored) {
            return Err(fault(seq - 1, Wrong::Beginning));
        }
        if let Some(known) = self.known.filter(|_| !self.known_seen) {
            return Err(fault(known.seq, Wrong::Missing));
        }
        self.walked.hash = self.head.map(|head| head.hex()).unwrap_or_default();
        Ok(self.walked)
    }

    fn begin(&mut self, record: &Record) {
        self.walked.first = record.seq;
        self.walked.node = record.node;
        self.anchored = record.seq == 1 && record.prev == Head::START.hex();
        self.first = Some((record.seq, record.prev.clone()));
        // A head from before what retention left cannot be met any more.
        self.known_seen = self.known.is_some_and(|known| known.seq < record.seq);
    }

    fn compare(&mut self, line: &Line) -> Result<(), Fault> {
        let Some(known) = self.known.filter(|known| known.seq == line.head.seq) else {
            return Ok(());
        };
        self.known_seen = true;
        if known == line.head {
            Ok(())
        } else {
            Err(fault(known.seq, Wrong::Known))
        }
    }

    fn note(&mut self, line: &Line) -> Result<(), Fault> {
        self.walked.records += 1;
        self.walked.last = line.record.seq;
        match Event::parse(&line.record.event) {
            Some(Event::AuditPruned) => self.anchor(&line.record),
            Some(Event::AuditCheckpoint) => self.checkpoint(&line.record)?,
            _ => {}
        }
        Ok(())
    }

    fn anchor(&mut self, record: &Record) {
        let Some((first, prev)) = &self.first else {
            return;
        };
        let through = record
            .change
            .get(pruned::THROUGH)
            .and_then(|value| value.as_u64());
        let hash = record
            .change
            .get(pruned::HASH)
            .and_then(|value| value.as_str());
        self.anchored |= through == Some(first - 1) && hash == Some(prev);
    }

    fn checkpoint(&mut self, record: &Record) -> Result<(), Fault> {
        self.walked.checkpoints += 1;
        let Some(before) = self.head else {
            return Ok(());
        };
        match check(record, &before, &self.keys) {
            Signed::No => {}
            Signed::Yes => {
                self.walked.signed += 1;
                self.walked.signed_through = before.seq;
            }
            Signed::UnknownKey(key) => {
                if !self.walked.unknown_keys.contains(&key) {
                    self.walked.unknown_keys.push(key);
                }
            }
            Signed::Wrong(key) => return Err(fault(record.seq, Wrong::Signature { key })),
        }
        Ok(())
    }
}

fn follows(record: &Record, head: &Head, node: u64) -> Result<(), Fault> {
    let expected = head.seq + 1;
    if record.seq != expected {
        return Err(fault(expected, Wrong::Sequence { found: record.seq }));
    }
    if record.prev != head.hex() {
        return Err(fault(expected, Wrong::Prev));
    }
    if record.node != node {
        let found = record.node;
        return Err(fault(
            expected,
            Wrong::Node {
                expected: node,
                found,
            },
        ));
    }
    Ok(())
}

fn fault(seq: u64, wrong: Wrong) -> Fault {
    Fault { seq, wrong }
}
