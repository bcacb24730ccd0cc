//! History: the retained entries of a feed, from which a verifier that was away catches up.
//!
//! Part of the replicated state, so everything here is deterministic. Entries are kept as canonical bytes, chunk by
//! chunk, with the log's frontier before each chunk: so the log root at any retained revision, which answers "is your
//! past mine?", costs the reader at most one chunk of hashes, and the writer nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::merkle::Frontier;
use crate::{DecodeError, FeedEntry, Hash, Revision};

/// Entries that share an allocation: a clone copies one pointer for so many. 256 of them are about 25 KiB, the most
/// that a push after a clone copies.
const CHUNK: usize = 256;

/// Retained entries of a feed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    floor: Revision,
    /// Chunks of entries; all full but the last.
    chunks: VecDeque<Arc<Chunk>>,
    /// Number of entries at the front of the first chunk that are no longer retained.
    dropped: usize,
    len: usize,
    /// Frontier of the log before the next chunk.
    next: Frontier,
}

/// Chunk: consecutive entries, one after the other.
#[derive(Clone, Debug)]
struct Chunk {
    /// Frontier of the log before the first of them.
    before: Frontier,
    bytes: Vec<u8>,
    /// End of each entry in the bytes.
    ends: Vec<usize>,
}

impl Chunk {
    fn new(before: Frontier) -> Self {
        Self {
            before,
            bytes: Vec::new(),
            ends: Vec::with_capacity(CHUNK),
        }
    }

    fn is_full(&self) -> bool {
        self.ends.len() == CHUNK
    }

    fn push(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(entry);
        self.ends.push(self.bytes.len());
    }

    fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }

    /// Frontier of the log after the first `count` entries.
    fn frontier_after(&self, count: usize) -> Frontier {
        let mut log = self.before.clone();
        let entries = (0..count).filter_map(|at| self.get(at));
        entries.for_each(|entry| log.append(entry));
        log
    }
}

impl History {
    /// Empty history after `floor`; `at_floor` is the frontier of the log through it.
    #[must_use]
    pub fn new(floor: Revision, at_floor: Frontier) -> Self {
        Self {
            floor,
            chunks: VecDeque::new(),
            dropped: 0,
            len: 0,
            next: at_floor,
        }
    }

    /// Rebuilds a history from its stored parts: the floor, the frontier there, and the canonical entries above it, in
    /// order.
    ///
    /// # Errors
    /// [`HistoryError::Entry`] when one cannot be read, [`HistoryError::Hole`] when one does not follow the one before.
    pub fn from_entries<'a>(
        floor: Revision,
        at_floor: Frontier,
        entries: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, HistoryError> {
        let mut log = at_floor.clone();
        let mut history = Self::new(floor, at_floor);
        for bytes in entries {
            let revision = history.head().next();
            let entry = FeedEntry::from_bytes(bytes)
                .map_err(|source| HistoryError::Entry { revision, source })?;
            if entry.revision != revision {
                return Err(HistoryError::Hole {
                    expected: revision,
                    got: entry.revision,
                });
            }
            log.append(bytes);
            history.retain(bytes, &log);
        }
        Ok(history)
    }

    /// Appends the next entry; `log` is the frontier of the log with it.
    pub fn push(&mut self, entry: &FeedEntry, log: &Frontier) {
        // INVARIANT: the state pushes what its view has just applied, and the view refuses holes.
        debug_assert_eq!(entry.revision, self.head().next(), "a hole in the history");
        debug_assert_eq!(
            log.size(),
            entry.revision.0,
            "the log has one leaf per revision"
        );
        self.retain(&entry.to_bytes(), log);
    }

    /// Drops the oldest until at most `max` remain; returns how many.
    pub fn truncate_front(&mut self, max: usize) -> usize {
        let dropped = self.len.saturating_sub(max);
        (0..dropped).for_each(|_| self.drop_oldest());
        dropped
    }

    /// Floor: entries above this revision are retained.
    #[must_use]
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// Frontier of the log through the floor. With the entries above it, the whole log's frontier can be made again.
    #[must_use]
    pub fn floor_frontier(&self) -> Frontier {
        self.frontier_after(0)
    }

    /// Newest revision.
    #[must_use]
    pub fn head(&self) -> Revision {
        Revision(self.floor.0 + self.len as u64)
    }

    /// Number of entries retained.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing is retained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Log root at a retained revision (or at the floor). Hashes up to a chunk of entries.
    #[must_use]
    pub fn root_at(&self, revision: Revision) -> Option<Hash> {
        let above_floor = usize::try_from(revision.0.checked_sub(self.floor.0)?).ok()?;
        (above_floor <= self.len).then(|| self.frontier_after(above_floor).root())
    }

    /// Canonical bytes of the entry of a retained revision.
    #[must_use]
    pub fn entry(&self, revision: Revision) -> Option<&[u8]> {
        let above_floor = revision.0.checked_sub(self.floor.0)?.checked_sub(1)?;
        let above_floor = usize::try_from(above_floor).ok()?;
        let at = self.dropped + Some(above_floor).filter(|at| *at < self.len)?;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    /// Canonical bytes of the entries from `from` on, at most `max`; empty when `from` is above the head, `None` when
    /// it is at or below the floor.
    #[must_use]
    pub fn entries_from(&self, from: Revision, max: usize) -> Option<Vec<&[u8]>> {
        if from <= self.floor {
            return None;
        }
        let revisions = (from.0..=self.head().0).map(Revision).take(max);
        Some(
            revisions
                .filter_map(|revision| self.entry(revision))
                .collect(),
        )
    }

    /// Frontier of the log through the first `count` retained entries.
    fn frontier_after(&self, count: usize) -> Frontier {
        let at = self.dropped + count;
        match self.chunks.get(at / CHUNK) {
            Some(chunk) => chunk.frontier_after(at % CHUNK),
            // Only after the last chunk, and that one is full.
            None => self.next.clone(),
        }
    }

    fn retain(&mut self, bytes: &[u8], log: &Frontier) {
        if self.chunks.back().is_none_or(|chunk| chunk.is_full()) {
            self.chunks
                .push_back(Arc::new(Chunk::new(self.next.clone())));
        }
        let chunk = self
            .chunks
            .back_mut()
            .expect("one was pushed if there was none");
        let chunk = Arc::make_mut(chunk);
        chunk.push(bytes);
        if chunk.is_full() {
            self.next = log.clone();
        }
        self.len += 1;
    }

    fn drop_oldest(&mut self) {
        self.floor = self.floor.next();
        self.len -= 1;
        self.dropped += 1;
        if self.dropped == CHUNK {
            self.chunks.pop_front();
            self.dropped = 0;
        }
    }
}

/// Error of stored entries that do not make a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Bytes that are not an entry.
    #[error("entry {revision} of the feed cannot be read")]
    Entry {
        /// Revision that it should have had.
        revision: Revision,
        /// Error of reading it.
        source: DecodeError,
    },
    /// An entry is missing or there twice.
    #[error(
        "entry {expected} of the feed is missing, revision {got} is in its place: restore this node from another"
    )]
    Hole {
        /// Revision that was expected.
        expected: Revision,
        /// Revision that was found.
        got: Revision,
    },
}
