//! Marks of a chain: its id, and how far it was exported and deleted. Bookkeeping records carry them, so that a node
//! knows them again from its newest segment alone, and a reader from any part of the chain.

use data_encoding::HEXLOWER;
use serde_json::Value;

use crate::record::{Event, Record};

/// Names of the fields in `change`.
pub mod field {
    /// Id of the chain: 16 random bytes, hexadecimal. A chain that begins anew has another one.
    pub const CHAIN_ID: &str = "chain_id";
    /// Last record up to which somebody holds an export.
    pub const EXPORTED: &str = "exported";
    /// Last record that retention deleted.
    pub const PRUNED: &str = "pruned";
    /// Last record of a deletion, or of an export.
    pub const THROUGH: &str = "through";
    /// Hash of that record.
    pub const HASH: &str = "hash";
}

/// Records that carry marks.
const CARRIERS: &[Event] = &[
    Event::AuditStarted,
    Event::AuditCheckpoint,
    Event::AuditPruned,
    Event::AuditExported,
];

/// Id of a chain: random, chosen when it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainId(pub [u8; 16]);

impl ChainId {
    /// The id as records write it.
    #[must_use]
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Reads what [`Self::hex`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

/// Marks of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Id of the chain; `None` before its first record.
    pub chain_id: Option<ChainId>,
    /// Last record up to which somebody holds an export without a gap; 0 = none.
    pub exported: u64,
    /// Last record that retention deleted; 0 = none.
    pub pruned: u64,
}

impl Marks {
    /// Takes note of a record of the chain.
    pub fn note(&mut self, record: &Record) {
        let carries = Event::parse(&record.event).is_some_and(|event| CARRIERS.contains(&event));
        if !carries {
            return;
        }
        let number = |name: &str| record.change.get(name).and_then(Value::as_u64);
        let id = record.change.get(field::CHAIN_ID).and_then(Value::as_str);
        self.chain_id = id.and_then(ChainId::parse).or(self.chain_id);
        self.exported = self.exported.max(number(field::EXPORTED).unwrap_or(0));
        self.pruned = self.pruned.max(number(field::PRUNED).unwrap_or(0));
    }

    /// Writes the marks into a record that [`Self::note`] reads again.
    #[must_use]
    pub fn write(&self, record: Record) -> Record {
        let record = match self.chain_id {
            Some(id) => record.with(field::CHAIN_ID, id.hex()),
            None => record,
        };
        record
            .with(field::EXPORTED, self.exported)
            .with(field::PRUNED, self.pruned)
    }

    /// Takes note of an export of records `from` to `through`. An export that leaves a gap moves nothing.
    pub fn export(&mut self, from: u64, through: u64) {
        if from <= self.exported + 1 {
            self.exported = self.exported.max(through);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;

    #[test]
    fn an_export_that_leaves_a_gap_is_none_of_what_lies_before_it() {
        let mut marks = Marks::default();
        marks.export(0, 10);
        marks.export(12, 20);
        assert_eq!(marks.exported, 10);
        marks.export(11, 15);
        assert_eq!(marks.exported, 15);
    }

    #[test]
    fn marks_are_known_again_from_a_record() {
        let marks = Marks {
            chain_id: Some(ChainId([7; 16])),
            exported: 12,
            pruned: 9,
        };
        let mut read = Marks::default();
        read.note(&marks.write(Record::new(Event::AuditCheckpoint, Outcome::Success, 0)));
        assert_eq!(read, marks);
    }
}
