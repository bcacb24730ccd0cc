//! Publisher, the serving half of the protocol: the answer to a hello, and the next bytes for a subscriber.
//!
//! The driver encodes and signs a frame once per tick and pushes it here; all subscribers share the bytes. Memory is
//! O(frames kept) + O(1) per subscriber: a subscriber that falls behind the kept frames is served from [`History`], and
//! below its floor is told to resume.
//!
//! ```text
//! frames kept     [41-43][44][45-52]   heartbeat at 52
//! cursor at 52    the heartbeat, once
//! cursor at 43    [44], then [45-52], then the heartbeat
//! cursor at 41    behind a frame's edge: catch up from 42 out of the history, alone
//! ```
//!
//! It does not encode, sign or send, and knows no subscriber: a subscriber is a [`Cursor`] that its task holds.

use std::collections::VecDeque;

use crate::{Epoch, FeedId, Hash, Revision, View};

mod history;

pub use history::{History, HistoryError};

/// Most entries that are served as deltas to a verifier that resumes; beyond, it gets buckets or a snapshot.
///
/// Origin: an entry has at most 55 bytes and 2 of framing, so so many fit the 4 MiB that a gRPC message may have.
pub const DELTA_ENTRIES_MAX: usize = 65_536;

/// Most feed keys that a hello or a welcome names: the newest are those that anybody still signs with.
pub const FEED_KEYS_MAX: usize = 64;

/// Decides how to serve a hello from this view and history.
///
/// A verifier that knows more than this node is sent away, and one whose log differs is told of the fork; neither is
/// silently reset, because one of the two has lost or invented a revocation.
#[must_use]
pub fn plan(view: &View, history: &History, hello: &Hello) -> Plan {
    if hello.feed_id != Some(view.feed_id) || hello.epoch < view.epoch {
        return Plan::Snapshot;
    }
    if hello.epoch > view.epoch || hello.from > view.revision {
        return Plan::Refuse(ResetReason::Ahead);
    }
    match history.root_at(hello.from) {
        Some(root) if root != hello.log_root => Plan::Refuse(ResetReason::Fork),
        Some(_) if view.revision.0 - hello.from.0 <= DELTA_ENTRIES_MAX as u64 => Plan::Deltas,
        _ => differing_buckets(view, &hello.bucket_roots),
    }
}

fn differing_buckets(view: &View, theirs: &[Hash]) -> Plan {
    let ours = view.set.bucket_roots();
    if theirs.len() != ours.len() {
        return Plan::Snapshot;
    }
    let numbers = 0..=u8::MAX;
    let differ = numbers
        .zip(ours.iter().zip(theirs))
        .filter(|(_, (ours, theirs))| ours != theirs);
    Plan::Buckets(differ.map(|(number, _)| number).collect())
}

/// Nonce of one stream, chosen by the verifier: the node's signed welcome repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32]);

/// Hello: the first message of a verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Nonce of the stream.
    pub nonce: Nonce,
    /// Feed that the verifier knows; `None` = none yet.
    pub feed_id: Option<FeedId>,
    /// Epoch of its view.
    pub epoch: Epoch,
    /// Revision of its view: the last one it holds, not the next one it wants.
    pub from: Revision,
    /// Log root of its view.
    pub log_root: Hash,
    /// Bucket roots of its view: 256 hashes, or none.
    pub bucket_roots: Vec<Hash>,
    /// Feed keys that it believes, the newest [`FEED_KEYS_MAX`] of them, ascending. Empty: it believes the welcome's.
    pub feed_keys: Vec<u32>,
}

impl Hello {
    /// True when the verifier would believe a checkpoint signed with this key.
    #[must_use]
    pub fn believes(&self, key_id: u32) -> bool {
        self.feed_keys.is_empty() || self.feed_keys.contains(&key_id)
    }
}

/// Way to serve a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Entries after `Hello::from`.
    Deltas,
    /// Whole snapshot.
    Snapshot,
    /// Buckets that differ, and the key set. May be empty: then only the keys or the log differ.
    Buckets(Vec<u8>),
    /// Reset, and the end of the stream.
    Refuse(ResetReason),
}

/// Reason why a stream ends. Numbers as in feed.proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The subscriber fell behind what is kept for it: resume here.
    Slow,
    /// The node stops: resume elsewhere.
    Shutdown,
    /// The verifier knows more than this node: resume elsewhere.
    Ahead,
    /// Equal revision, another root.
    Fork,
    /// Another epoch began: start anew.
    Restored,
    /// The node has too many subscribers: resume elsewhere.
    Overloaded,
    /// The connection has lived its time: resume here, on a new one.
    Renew,
}

impl ResetReason {
    /// The reason's name in metrics and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Shutdown => "shutdown",
            Self::Ahead => "ahead",
            Self::Fork => "fork",
            Self::Restored => "restored",
            Self::Overloaded => "overloaded",
            Self::Renew => "renew",
        }
    }
}

/// Delta, encoded once and shared by all. `F` is cheap to clone (`Bytes`, `Arc<[u8]>`).
#[derive(Clone, Debug)]
pub struct Frame<F> {
    /// First revision in it.
    pub from: Revision,
    /// Last revision in it.
    pub to: Revision,
    /// Bytes as they go over the wire.
    pub bytes: F,
    /// Length of `bytes`, for the limit.
    pub size: usize,
}

/// Position of one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Revision up to which everything was sent on the stream. The driver moves it after a catch-up.
    pub sent: Revision,
    /// Number of the last heartbeat sent; 0 = none.
    pub heartbeat: u64,
}

/// Next step for a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<F> {
    /// Send these bytes.
    Send(F),
    /// Catch up: frames are gone, so encode these revisions from history for this subscriber alone, then move its
    /// cursor.
    CatchUp {
        /// First revision it lacks.
        from: Revision,
    },
    /// Wait until the publisher changes.
    Idle,
}

/// Frames kept for live subscribers.
#[derive(Debug)]
pub struct Publisher<F> {
    /// Frames without a hole: each begins where the one before ends. The last ends at `head`.
    frames: VecDeque<Frame<F>>,
    size: usize,
    head: Revision,
    frames_max: usize,
    bytes_max: usize,
    heartbeat: Option<(Revision, F)>,
    /// Number of the heartbeat, so that each subscriber gets each at most once.
    heartbeats: u64,
}

impl<F: Clone> Publisher<F> {
    /// Empty publisher that keeps at most so many frames and bytes, but always the newest frame; the next frame must
    /// begin after `head`.
    #[must_use]
    pub fn new(head: Revision, frames_max: usize, bytes_max: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            size: 0,
            head,
            frames_max,
            bytes_max,
            heartbeat: None,
            heartbeats: 0,
        }
    }

    /// Newest revision that was published.
    #[must_use]
    pub fn head(&self) -> Revision {
        self.head
    }

    /// Adds the next delta.
    ///
    /// # Errors
    /// The frame itself, when it does not begin at head + 1 or ends before it begins: publishing it would be a hole.
    /// Make the publisher anew at the state's revision.
    pub fn push(&mut self, frame: Frame<F>) -> Result<(), Frame<F>> {
        if frame.from != self.head.next() || frame.to < frame.from {
            return Err(frame);
        }
        self.head = frame.to;
        self.size += frame.size;
        self.frames.push_back(frame);
        self.drop_oldest();
        Ok(())
    }

    /// Replaces the heartbeat; valid only for subscribers that were sent everything through `revision`, and no more.
    pub fn heartbeat(&mut self, revision: Revision, bytes: F) {
        self.heartbeats += 1;
        self.heartbeat = Some((revision, bytes));
    }

    /// Cursor of a subscriber that was just served everything through `sent`.
    #[must_use]
    pub fn cursor(&self, sent: Revision) -> Cursor {
        Cursor { sent, heartbeat: 0 }
    }

    /// Returns the next step, and moves the cursor when that is `Send`.
    ///
    /// A delta always precedes the heartbeat that covers it. A subscriber that was served beyond the head, from a
    /// state newer than the frames, waits until the frames have passed it.
    pub fn next(&self, cursor: &mut Cursor) -> Step<F> {
        if cursor.sent < self.head {
            return self.next_frame(cursor);
        }
        match &self.heartbeat {
            Some((revision, bytes))
                if *revision == cursor.sent && self.heartbeats > cursor.heartbeat =>
            {
                cursor.heartbeat = self.heartbeats;
                Step::Send(bytes.clone())
            }
            _ => Step::Idle,
        }
    }

    fn next_frame(&self, cursor: &mut Cursor) -> Step<F> {
        let from = cursor.sent.next();
        match self.frames.binary_search_by_key(&from, |frame| frame.from) {
            Ok(at) => {
                cursor.sent = self.frames[at].to;
                Step::Send(self.frames[at].bytes.clone())
            }
            Err(_) => Step::CatchUp { from },
        }
    }

    fn drop_oldest(&mut self) {
        while self.frames.len() > 1
            && (self.frames.len() > self.frames_max || self.size > self.bytes_max)
        {
            let dropped = self.frames.pop_front().map_or(0, |frame| frame.size);
            self.size -= dropped;
        }
    }
}
