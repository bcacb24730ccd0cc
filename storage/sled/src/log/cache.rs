//! Cache of the newest entries, decoded: an appended entry is read three times, to apply it and to send it to two
//! followers.

use std::collections::VecDeque;

use openraft::AsyncRuntime;

use crate::Entry;

/// Entries kept: enough for followers a second behind at full load.
const ENTRIES_MAX: usize = 4096;
/// Encoded bytes of the entries kept, about; decoded they take two to three times as much.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Contiguous entries up to the end of the log.
pub(super) struct Cache<R: AsyncRuntime> {
    entries: VecDeque<(Entry<R>, usize)>,
    bytes: usize,
}

impl<R: AsyncRuntime> Default for Cache<R> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<R: AsyncRuntime> Cache<R> {
    /// Entry with its encoded size.
    pub(super) fn entry(&self, index: u64) -> Option<(&Entry<R>, usize)> {
        let offset = index.checked_sub(self.first()?)?;
        let (entry, size) = self.entries.get(usize::try_from(offset).ok()?)?;
        Some((entry, *size))
    }

    /// Adds the entry after the last one.
    pub(super) fn push(&mut self, entry: Entry<R>, size: usize) {
        let is_next = self
            .entries
            .back()
            .is_none_or(|(last, _)| last.log_id.index + 1 == entry.log_id.index);
        if !is_next {
            *self = Self::default();
        }
        self.bytes += size;
        self.entries.push_back((entry, size));
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            self.drop_first();
        }
    }

    /// Removes entries from `since` on.
    pub(super) fn truncate(&mut self, since: u64) {
        while self
            .entries
            .back()
            .is_some_and(|(last, _)| last.log_id.index >= since)
        {
            let removed = self.entries.pop_back();
            self.bytes -= removed.map_or(0, |(_, size)| size);
        }
    }

    /// Removes entries up to `upto`.
    pub(super) fn purge(&mut self, upto: u64) {
        while self.first().is_some_and(|first| first <= upto) {
            self.drop_first();
        }
    }

    fn first(&self) -> Option<u64> {
        self.entries.front().map(|(entry, _)| entry.log_id.index)
    }

    fn drop_first(&mut self) {
        let removed = self.entries.pop_front();
        self.bytes -= removed.map_or(0, |(_, size)| size);
    }
}
