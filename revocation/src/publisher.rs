//! The serving half: what a hello is answered with, and which bytes a subscriber gets next.
//!
//! The driver encodes and signs a frame once per tick and pushes it here; all subscribers share the bytes. Memory is
//! O(frames kept) + O(1) per subscriber: who falls behind the kept frames is served from [`History`], and below its
//! floor is told to resume.
use crate::{Epoch, FeedEntry, FeedId, Hash, Revision, View, merkle::Frontier};
use std::collections::VecDeque;

/// The retained entries of a feed with the log root after each: part of the replicated state, so deterministic.
#[derive(Clone, Debug)]
pub struct History {/* floor, frontier at floor, VecDeque<(Vec<u8>, Hash)> */}
impl History {
    /// Starts after `floor` (nothing retained).
    pub fn new(floor: Revision, at_floor: Frontier) -> Self {
        todo!()
    }
    /// Appends the next entry; `root` is the log root after it.
    pub fn push(&mut self, entry: &FeedEntry, root: Hash) {
        todo!()
    }
    /// Drops the oldest until at most `max` remain; returns the dropped revisions.
    pub fn truncate_front(&mut self, max: usize) -> Vec<Revision> {
        todo!()
    }
    /// Entries above this revision are retained.
    pub fn floor(&self) -> Revision {
        todo!()
    }
    /// Newest revision.
    pub fn head(&self) -> Revision {
        todo!()
    }
    /// Log root at a retained revision (or at the floor).
    pub fn root_at(&self, revision: Revision) -> Option<Hash> {
        todo!()
    }
    /// Canonical bytes of the entries in `from..`, at most `max`; `None` when `from` is at or below the floor.
    pub fn entries_from(&self, from: Revision, max: usize) -> Option<Vec<&[u8]>> {
        todo!()
    }
}

/// What a verifier says first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Hello {
    pub feed_id: Option<FeedId>,
    pub epoch: Epoch,
    pub from: Revision,
    pub log_root: Hash,
    /// 256 hashes, or none.
    pub bucket_roots: Vec<Hash>,
}

/// Why a stream ends. Numbers as in feed.proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ResetReason {
    Slow,
    Shutdown,
    Ahead,
    Fork,
    Restored,
    Overloaded,
}

/// How to serve a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Plan {
    Deltas,
    Snapshot,
    Buckets(Vec<u8>),
    Refuse(ResetReason),
}

/// Decides how to serve a hello from this view and history.
pub fn plan(view: &View, history: &History, hello: &Hello) -> Plan {
    todo!()
}

/// A delta, encoded once, shared by all. `F` is cheap to clone (`Bytes`, `Arc<[u8]>`).
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Frame<F> {
    pub from: Revision,
    pub to: Revision,
    pub bytes: F,
    pub size: usize,
}

/// Where one subscriber stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Cursor {
    pub sent: Revision,
    pub heartbeat: u64,
}

/// What a subscriber gets next.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Step<F> {
    Send(F),
    /** Frames are gone: encode these revisions from history for this subscriber alone. */
    CatchUp {
        from: Revision,
    },
    Idle,
}

/// Frames kept for live subscribers.
#[derive(Debug)]
pub struct Publisher<F> {
    frames: VecDeque<Frame<F>>,
}
impl<F: Clone> Publisher<F> {
    /// Keeps at most so many frames and bytes; the head is where the next frame must begin after.
    pub fn new(head: Revision, frames_max: usize, bytes_max: usize) -> Self {
        todo!()
    }
    /// Newest revision published.
    pub fn head(&self) -> Revision {
        todo!()
    }
    /// Adds the next delta. # Errors: the frame as it was, when it does not begin at head + 1.
    pub fn push(&mut self, frame: Frame<F>) -> Result<(), Frame<F>> {
        todo!()
    }
    /// Replaces the heartbeat; valid only for subscribers that were sent everything through `revision`.
    pub fn heartbeat(&mut self, revision: Revision, bytes: F) {
        todo!()
    }
    /// A subscriber that was just served everything through `sent`.
    pub fn cursor(&self, sent: Revision) -> Cursor {
        todo!()
    }
    /// Next step; moves the cursor when it returns `Send`.
    pub fn next(&self, cursor: &mut Cursor) -> Step<F> {
        todo!()
    }
}
