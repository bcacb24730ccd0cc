//! The retained entries of a feed: what a verifier that was away is caught up from.
//!
//! Part of the replicated state, so everything here is deterministic. Entries are kept as canonical bytes with the log
//! root after each: the root answers "is your past mine?" for every revision that is retained.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::merkle::Frontier;
use crate::{DecodeError, FeedEntry, Hash, Revision};

/// Entries that share an allocation: a clone copies one pointer for so many. 256 of them are about 25 KiB, which is
/// what a push after a clone copies at most.
const CHUNK: usize = 256;

/// The retained entries of a feed with the log root after each. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    floor: Revision,
    /// Of the log through `floor`.
    at_floor: Frontier,
    root_at_floor: Hash,
    /// All full but the last.
    chunks: VecDeque<Arc<Vec<Retained>>>,
    /// Entries at the front of the first chunk that are no longer retained.
    dropped: usize,
    len: usize,
}

#[derive(Clone, Debug)]
struct Retained {
    bytes: Box<[u8]>,
    root: Hash,
}

impl History {
    /// Starts after `floor` (nothing retained); `at_floor` is the frontier of the log through it.
    #[must_use]
    pub fn new(floor: Revision, at_floor: Frontier) -> Self {
        let root_at_floor = at_floor.root();
        Self {
            floor,
            at_floor,
            root_at_floor,
            chunks: VecDeque::new(),
            dropped: 0,
            len: 0,
        }
    }

    /// A history from its stored parts: the floor, the frontier there, and the canonical entries above it, in order.
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
            history.retain(bytes.into(), log.root());
        }
        Ok(history)
    }

    /// Appends the next entry; `root` is the log root after it.
    pub fn push(&mut self, entry: &FeedEntry, root: Hash) {
        // INVARIANT: the state pushes what its view has just applied, and the view refuses holes.
        debug_assert_eq!(entry.revision, self.head().next(), "a hole in the history");
        self.retain(entry.to_bytes().into(), root);
    }

    /// Drops the oldest until at most `max` remain; returns the dropped revisions, oldest first.
    pub fn truncate_front(&mut self, max: usize) -> Vec<Revision> {
        let mut dropped = Vec::with_capacity(self.len.saturating_sub(max));
        while self.len > max {
            self.drop_oldest();
            dropped.push(self.floor);
        }
        dropped
    }

    /// Entries above this revision are retained.
    #[must_use]
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// Frontier of the log through the floor: with the entries above it, the whole log's frontier can be made again.
    #[must_use]
    pub fn floor_frontier(&self) -> &Frontier {
        &self.at_floor
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

    /// Nothing is retained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Log root at a retained revision (or at the floor).
    #[must_use]
    pub fn root_at(&self, revision: Revision) -> Option<Hash> {
        if revision == self.floor {
            return Some(self.root_at_floor);
        }
        self.retained(revision).map(|retained| retained.root)
    }

    /// Canonical bytes of the entry that is a retained revision.
    #[must_use]
    pub fn entry(&self, revision: Revision) -> Option<&[u8]> {
        self.retained(revision).map(|retained| &*retained.bytes)
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

    fn retained(&self, revision: Revision) -> Option<&Retained> {
        let above_floor = revision.0.checked_sub(self.floor.0)?.checked_sub(1)?;
        let at = self.dropped
            + usize::try_from(above_floor)
                .ok()
                .filter(|at| *at < self.len)?;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    fn retain(&mut self, bytes: Box<[u8]>, root: Hash) {
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push_back(Arc::new(Vec::with_capacity(CHUNK)));
        }
        let chunk = self
            .chunks
            .back_mut()
            .expect("one was pushed if there was none");
        Arc::make_mut(chunk).push(Retained { bytes, root });
        self.len += 1;
    }

    fn drop_oldest(&mut self) {
        let oldest = &self.chunks[0][self.dropped];
        self.at_floor.append(&oldest.bytes);
        self.root_at_floor = oldest.root;
        self.floor = self.floor.next();
        self.len -= 1;
        self.dropped += 1;
        if self.dropped == CHUNK {
            self.chunks.pop_front();
            self.dropped = 0;
        }
    }
}

/// Why stored entries are not a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Bytes that are not an entry.
    #[error("entry {revision} of the feed cannot be read")]
    Entry {
        /// Which it should have been.
        revision: Revision,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// An entry is missing or there twice.
    #[error(
        "entry {expected} of the feed is missing, revision {got} is in its place: restore this node from another"
    )]
    Hole {
        /// What should be there.
        expected: Revision,
        /// What is there.
        got: Revision,
    },
}
