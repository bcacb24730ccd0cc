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
//! | rewritten whole and signed with another key | the key is not the one that the cluster knows the node by |
//! | replaced by a chain that began anew | its id is not the one that the cluster has witnessed |
//!
//! A chain that was rewritten since its last signed checkpoint, by somebody who has its node's key, cannot be told from a
//! true one by itself: compare it with the heads that the cluster has witnessed ([`Known::heads`]), or with what was
//! exported.

use crate::chain::{BadLine, Head, Line, open};
use crate::checkpoint::{Checkpoint, CheckpointKey, Signed};
use crate::marks::{ChainId, Marks, field};
use crate::record::{Chain, Event, Record};

/// Facts known of a chain from elsewhere. Each that is given is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Public audit keys of the cluster.
    pub keys: Vec<CheckpointKey>,
    /// Public half of the node's key. Without it, the key of the first checkpoint must be that of all.
    pub node_key: Option<[u8; 32]>,
    /// Id of the chain.
    pub chain_id: Option<ChainId>,
    /// Heads that the chain must contain, unless retention has deleted them.
    pub heads: Vec<Head>,
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
    #[error("it is of the chain of {found}, among records of the chain of {expected}")]
    Chain { expected: Chain, found: Chain },
    #[error(
        "it is of another chain than the one that is known of this node: the audit was begun anew or replaced"
    )]
    ChainId,
    #[error("its signature by audit key {key} is wrong: the chain before it was rewritten")]
    Signature { key: u32 },
    #[error(
        "it is not signed by the key of its node: the chain before it was rewritten, or is of another node"
    )]
    NodeSignature,
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
    pub chain: Chain,
    pub chain_id: Option<ChainId>,
    /// Hash of the last record, hexadecimal.
    pub hash: String,
    pub checkpoints: u64,
    /// The last record that a right signature of the node's key covers; 0 = none.
    pub attested_through: u64,
    /// Last record up to which somebody holds an export; 0 = none.
    pub exported_through: u64,
    /// Last record that retention deleted; 0 = none.
    pub pruned_through: u64,
    /// First and last of the records that were deleted and never exported.
    pub lost: Option<(u64, u64)>,
    /// Checkpoints with a right signature of the cluster's key.
    pub signed: u64,
    /// The last record that a right signature covers; 0 = none.
    pub signed_through: u64,
    /// Keys that signed and were not given.
    pub unknown_keys: Vec<u32>,
}

/// A walk along one chain.
#[derive(Clone, Debug)]
pub struct Walk {
    known: Known,
    /// Heads that are to be met.
    wanted: Vec<Head>,
    node_key: Option<[u8; 32]>,
    marks: Marks,
    head: Option<Head>,
    first: Option<(u64, String)>,
    anchored: bool,
    walked: Walked,
}

impl Walk {
    /// Starts at the first line that there is.
    #[must_use]
    pub fn new(known: Known) -> Self {
        let heads = known.heads.iter().filter(|head| head.seq > 0);
        Self {
            wanted: heads.copied().collect(),
            node_key: known.node_key,
            known,
            marks: Marks::default(),
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
            Some(head) => follows(&line.record, &head, &self.walked)?,
        }
        self.compare(&line)?;
        self.note(&line)?;
        self.head = Some(line.head);
        Ok(line)
    }

    /// The end of the chain.
    ///
    /// # Errors
    /// When its beginning or its end is missing, or it is another chain than the known one.
    pub fn finish(mut self) -> Result<Walked, Fault> {
        if let Some((seq, _)) = self.first.as_ref().filter(|_| !self.anchored) {
            return Err(fault(seq - 1, Wrong::Beginning));
        }
        if let Some(missing) = self.wanted.first() {
            return Err(fault(missing.seq, Wrong::Missing));
        }
        self.walked.hash = self.head.map(|head| head.hex()).unwrap_or_default();
        self.walked.chain_id = self.marks.chain_id;
        self.walked.exported_through = self.marks.exported;
        self.walked.pruned_through = self.marks.pruned;
        Ok(self.walked)
    }

    fn begin(&mut self, record: &Record) {
        self.walked.first = record.seq;
        self.walked.node = record.node;
        self.walked.chain = record.chain;
        self.anchored = record.seq == 1 && record.prev == Head::START.hex();
        self.first = Some((record.seq, record.prev.clone()));
        // A head from before what retention left cannot be met any more.
        self.wanted.retain(|wanted| wanted.seq >= record.seq);
    }

    fn compare(&mut self, line: &Line) -> Result<(), Fault> {
        let at = line.head.seq;
        let mut same = self.wanted.iter().filter(|wanted| wanted.seq == at);
        if same.any(|wanted| *wanted != line.head) {
            return Err(fault(at, Wrong::Known));
        }
        self.wanted.retain(|wanted| wanted.seq != at);
        Ok(())
    }

    fn note(&mut self, line: &Line) -> Result<(), Fault> {
        self.walked.records += 1;
        self.walked.last = line.record.seq;
        self.note_marks(&line.record)?;
        match Event::parse(&line.record.event) {
            Some(Event::AuditPruned) => self.pruned(&line.record),
            Some(Event::AuditCheckpoint) => self.checkpoint(&line.record)?,
            _ => {}
        }
        Ok(())
    }

    fn note_marks(&mut self, record: &Record) -> Result<(), Fault> {
        let before = self.marks.chain_id.or(self.known.chain_id);
        self.marks.note(record);
        match (before, self.marks.chain_id) {
            (Some(before), Some(now)) if before != now => Err(fault(record.seq, Wrong::ChainId)),
            _ => Ok(()),
        }
    }

    fn pruned(&mut self, record: &Record) {
        let number = |name: &str| record.change.get(name).and_then(serde_json::Value::as_u64);
        let through = number(field::THROUGH).unwrap_or(0);
        let exported = number(field::EXPORTED).unwrap_or(0);
        if exported < through {
            let from = self.walked.lost.map_or(exported + 1, |(from, _)| from);
            self.walked.lost = Some((from, through));
        }
        let hash = record.change.get(field::HASH);
        let hash = hash.and_then(serde_json::Value::as_str);
        let Some((first, prev)) = &self.first else {
            return;
        };
        self.anchored |= through + 1 == *first && hash == Some(prev);
    }

    fn checkpoint(&mut self, record: &Record) -> Result<(), Fault> {
        self.walked.checkpoints += 1;
        let Some(before) = self.head else {
            return Ok(());
        };
        let chain_id = self.marks.chain_id.unwrap_or_default();
        let checkpoint = Checkpoint::read(record, &before, chain_id);
        self.attested(checkpoint.by_node(), record.seq, &before)?;
        match checkpoint.by_cluster(&self.known.keys) {
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

    /// Compares the key that signed a checkpoint with the one before it. Once one is known, all are signed with it.
    fn attested(&mut self, key: Option<[u8; 32]>, seq: u64, before: &Head) -> Result<(), Fault> {
        match (self.node_key, key) {
            (None, None) => Ok(()),
            (Some(expected), Some(key)) if expected != key => Err(fault(seq, Wrong::NodeSignature)),
            (Some(_), None) => Err(fault(seq, Wrong::NodeSignature)),
            (_, Some(key)) => {
                self.node_key = Some(key);
                self.walked.attested_through = before.seq;
                Ok(())
            }
        }
    }
}

fn follows(record: &Record, head: &Head, walked: &Walked) -> Result<(), Fault> {
    let seq = head.seq + 1;
    let wrong = if record.seq != seq {
        Wrong::Sequence { found: record.seq }
    } else if record.prev != head.hex() {
        Wrong::Prev
    } else if record.node != walked.node {
        let (expected, found) = (walked.node, record.node);
        Wrong::Node { expected, found }
    } else if record.chain != walked.chain {
        let (expected, found) = (walked.chain, record.chain);
        Wrong::Chain { expected, found }
    } else {
        return Ok(());
    };
    Err(fault(seq, wrong))
}

fn fault(seq: u64, wrong: Wrong) -> Fault {
    Fault { seq, wrong }
}
