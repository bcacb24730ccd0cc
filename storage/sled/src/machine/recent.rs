//! Changes that were applied lately, with the time that each took: for traces. Nothing that is decided rests on them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hessra_revocation::Revision;
use hessra_state::{Author, Command, PendingAction, RequestId, Stamped};
use tokio::time::Instant;

/// Entries that are kept.
const ENTRIES_MAX: usize = 256;

/// Change that an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedChange {
    /// Its request, whose id is that of the trace.
    pub request: RequestId,
    /// True when it denies something: such a change is always traced.
    pub denies: bool,
}

impl TracedChange {
    /// The change that a command is; `None` for what a node does by itself.
    #[must_use]
    pub fn of(stamped: &Stamped) -> Option<Self> {
        let denies = matches!(
            stamped.command,
            Command::Revoke(_) | Command::Ask(PendingAction::Revoke(_)) | Command::Approve(_)
        );
        matches!(stamped.author, Author::Operator(_)).then_some(Self {
            request: stamped.request,
            denies,
        })
    }
}

/// Entry that was applied, with the changes of operators in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentEntry {
    /// Log index.
    pub index: u64,
    /// Changes, each with the feed revision that the state had after it.
    pub changes: Vec<(TracedChange, Revision)>,
    /// Beginning and end of applying it.
    pub applied: (Instant, Instant),
}

/// The newest entries with changes of operators.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<Arc<RecentEntry>>>);

impl Recent {
    /// Takes note of an entry, if an operator changed something in it.
    pub(super) fn note(&self, entry: RecentEntry) {
        if entry.changes.is_empty() {
            return;
        }
        let mut entries = self.entries();
        entries.push_back(Arc::new(entry));
        if entries.len() > ENTRIES_MAX {
            entries.pop_front();
        }
    }

    /// Entries after a log index, in their order.
    pub(super) fn since(&self, index: u64) -> Vec<Arc<RecentEntry>> {
        let entries = self.entries();
        let newer = entries.iter().rev().take_while(|entry| entry.index > index);
        let mut newer: Vec<_> = newer.cloned().collect();
        newer.reverse();
        newer
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Arc<RecentEntry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, changes: usize) -> RecentEntry {
        let now = Instant::now();
        let change = TracedChange {
            request: RequestId([index as u8; 16]),
            denies: true,
        };
        RecentEntry {
            index,
            changes: vec![(change, Revision(index)); changes],
            applied: (now, now),
        }
    }

    #[test]
    fn the_newest_entries_with_changes_are_kept() {
        let recent = Recent::default();
        for index in 1..=ENTRIES_MAX as u64 + 10 {
            recent.note(entry(index, 1));
        }
        recent.note(entry(1_000, 0));
        let of = |index| -> Vec<u64> {
            let entries = recent.since(index);
            entries.iter().map(|entry| entry.index).collect()
        };
        assert_eq!(of(0).len(), ENTRIES_MAX);
        assert_eq!(of(0)[0], 11);
        assert_eq!(of(264), [265, 266]);
        assert!(of(266).is_empty());
    }
}
