//! Progress of the replicated log in a chain of audit records, read from the records themselves.
//!
//! So after a crash the reading of the log goes on at the entry that was not wholly recorded, whatever the state machine
//! had written, and an entry is recorded once.

use std::collections::{BTreeMap, BTreeSet};

use hessra_audit::checkpoint::field;
use hessra_audit::{Event, Record};

/// Ids of records of the log begin so; their place in the log follows.
pub const LOG_ID: &str = "log-";
/// Name of the change that lists the members.
const MEMBERS: &str = "members";
/// Records that say how far the log is in the chain.
const PROGRESS: &[Event] = &[
    Event::AuditStarted,
    Event::AuditCheckpoint,
    Event::SnapshotRestored,
];

/// Progress of the log in the chain, and the members at that point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// First entry that is not in the chain.
    pub next: u64,
    /// Id, and whether it votes.
    pub members: BTreeMap<u64, bool>,
}

/// Progress of the log in a chain that a process has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The first entry that is not wholly in it, and the members then.
    pub progress: Progress,
    /// Ids of the records that are in it of that entry.
    pub partial: BTreeSet<String>,
    /// Requests whose records are in it, hexadecimal, and the log entry that they came with.
    pub requests: BTreeMap<String, u64>,
}

impl Progress {
    /// Writes it into a record that [`Recovered::note`] reads again.
    #[must_use]
    pub fn write(&self, record: Record) -> Record {
        record
            .with(field::NEXT_INDEX, self.next)
            .with(MEMBERS, members_text(&self.members))
    }
}

impl Recovered {
    /// Takes note of the next record of the chain.
    pub fn note(&mut self, record: &Record) {
        let change = |name: &str| record.change.get(name);
        self.reach(resumes_at(record).unwrap_or(0));
        if let Some(members) = change(MEMBERS).and_then(|value| value.as_str()) {
            self.progress.members = parse_members(members);
        }
        let index = record.raft.map_or(0, |position| position.index);
        if !record.id.starts_with(LOG_ID) {
            return;
        }
        if index == self.progress.next {
            self.partial.insert(record.id.clone());
        }
        if !record.request.id.is_empty() {
            self.requests.insert(record.request.id.clone(), index);
        }
    }

    /// Notes that everything before `index` is complete.
    fn reach(&mut self, index: u64) {
        if index > self.progress.next {
            self.progress.next = index;
            self.partial.clear();
        }
    }
}

/// Log entry at which a process goes on reading the log that finds this record as the newest one of its chain; `None` = the record
/// says nothing of the log.
#[must_use]
pub fn resumes_at(record: &Record) -> Option<u64> {
    if record.id.starts_with(LOG_ID) {
        // Another record of the same entry may be missing.
        return record.raft.map(|position| position.index);
    }
    let event = Event::parse(&record.event)?;
    let next = record.change.get(field::NEXT_INDEX)?.as_u64();
    next.filter(|_| PROGRESS.contains(&event))
}

/// `1 2 3 (4)`: a learner stands in parentheses.
#[must_use]
pub fn members_text(members: &BTreeMap<u64, bool>) -> String {
    let names = members.iter().map(|(id, votes)| {
        if *votes {
            id.to_string()
        } else {
            format!("({id})")
        }
    });
    names.collect::<Vec<_>>().join(" ")
}

fn parse_members(text: &str) -> BTreeMap<u64, bool> {
    let words = text.split_whitespace();
    words
        .filter_map(|word| match word.strip_prefix('(') {
            Some(id) => Some((id.strip_suffix(')')?.parse().ok()?, false)),
            None => Some((word.parse().ok()?, true)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use hessra_audit::{Outcome, Position};

    use super::*;

    fn of_entry(index: u64, number: usize) -> Record {
        let mut record = Record::new(Event::RevocationCreated, Outcome::Success, 0);
        record.id = format!("{LOG_ID}{index}-0-{number}");
        record.raft = Some(Position { term: 1, index });
        record
    }

    #[test]
    fn reading_goes_on_at_the_entry_whose_records_may_not_all_be_there() {
        let mut recovered = Recovered::default();
        recovered.note(&of_entry(7, 0));
        recovered.note(&of_entry(9, 0));
        recovered.note(&of_entry(9, 1));
        assert_eq!(recovered.progress.next, 9);
        let partial: Vec<&str> = recovered.partial.iter().map(String::as_str).collect();
        assert_eq!(partial, ["log-9-0-0", "log-9-0-1"]);
    }

    #[test]
    fn a_checkpoint_says_how_far_the_log_is_also_where_entries_have_no_records() {
        let progress = Progress {
            next: 12,
            members: BTreeMap::from([(1, true), (4, false)]),
        };
        let mut recovered = Recovered::default();
        recovered.note(&of_entry(9, 0));
        let checkpoint = Record::new(Event::AuditCheckpoint, Outcome::Success, 0);
        recovered.note(&progress.write(checkpoint));
        assert_eq!(recovered.progress, progress);
        assert!(recovered.partial.is_empty());
    }
}
