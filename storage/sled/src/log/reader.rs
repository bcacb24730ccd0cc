//! Reader of the log, for every task of openraft, while the store writes.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::{
    AsyncRuntime, ErrorSubject, ErrorVerb, OptionalSend, RaftLogReader, StorageError, TokioRuntime,
};

use super::cache::Cache;
use super::chain::Chain;
use crate::engine::Engine;
use crate::{Entry, LogId, StoreError, Types, codec};

/// Bytes of entries that one limited read returns, about: keeps a message to a follower below gRPC's usual 4 MiB.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Reads the log while the store writes. Clones share one view.
pub struct LogReader<E: Engine, R: AsyncRuntime = TokioRuntime> {
    pub(super) engine: E,
    pub(super) memory: Arc<Mutex<Memory<R>>>,
}

/// Index and cache, for answers without reading the disk.
pub(super) struct Memory<R: AsyncRuntime> {
    pub(super) chain: Chain,
    pub(super) cache: Cache<R>,
}

impl<E: Engine, R: AsyncRuntime> LogReader<E, R> {
    /// Walks the stored chain.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the record at which the chain breaks.
    pub(crate) fn open(engine: E) -> Result<Self, StoreError> {
        let chain = Chain::open(&engine)?;
        let memory = Memory {
            chain,
            cache: Cache::default(),
        };
        Ok(Self {
            engine,
            memory: Arc::new(Mutex::new(memory)),
        })
    }

    /// Entry up to which the log is purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.memory().chain.purged()
    }

    /// Hides the log below a snapshot up to `upto`, when all of it lies below.
    pub(crate) fn hide_below(&self, upto: Option<LogId>) {
        self.memory().chain.hide_below(upto);
    }

    /// First entries of `first..end` that are kept, about a mebibyte of them. They begin later than `first` when what
    /// came before is purged; none when no entry of the range is kept.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a kept entry cannot be read.
    pub fn kept(&self, first: u64, end: u64) -> Result<Vec<Entry<R>>, StoreError> {
        self.read(first..end, READ_BYTES_MAX)
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory<R>> {
        self.memory
            .lock()
            .expect("no code panics while it holds the log's memory")
    }

    /// Visible entries of a range, until their bytes exceed `bytes_max`; at least one when there is one.
    fn read(
        &self,
        range: impl RangeBounds<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry<R>>, StoreError> {
        let memory = self.memory();
        let (mut next, end) = memory.chain.clamp(first_of(&range), end_of(&range));
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while next < end && (entries.is_empty() || bytes < bytes_max) {
            if let Some((entry, size)) = memory.cache.entry(next) {
                entries.push(entry.clone());
                bytes += size;
                next += 1;
                continue;
            }
            let pack = memory.chain.read(&self.engine, next)?;
            for (index, encoded) in pack
                .entries_from(next)
                .take_while(|(index, _)| *index < end)
            {
                entries.push(self.decode(index, encoded)?);
                bytes += encoded.len();
                next = index + 1;
                if bytes >= bytes_max {
                    break;
                }
            }
        }
        Ok(entries)
    }

    fn decode(&self, index: u64, bytes: &[u8]) -> Result<Entry<R>, StoreError> {
        let named = || format!("log entry {index}");
        let entry = codec::decode_entry(bytes)
            .map_err(|error| StoreError::undecodable(self.engine.location(), named(), &error))?;
        if entry.log_id.index != index {
            let what = format!("it says that it is entry {}", entry.log_id.index);
            return Err(StoreError::corrupt(self.engine.location(), named(), what));
        }
        Ok(entry)
    }
}
impl<E: Engine, R: AsyncRuntime> Clone for LogReader<E, R> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            memory: Arc::clone(&self.memory),
        }
    }
}

impl<E: Engine, R: AsyncRuntime> RaftLogReader<Types<R>> for LogReader<E, R> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<R>>, StorageError<u64>> {
        self.read(range, usize::MAX).map_err(read_failed)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry<R>>, StorageError<u64>> {
        let kept = self.kept(start, end).map_err(read_failed)?;
        // openraft sends them after the entry before `start`, whatever they begin with. A leader that was deposed and
        // has just taken a snapshot would send a log with a hole; openraft takes nothing for a heartbeat.
        let begins = kept
            .first()
            .is_some_and(|entry| entry.log_id.index == start);
        Ok(if begins { kept } else { Vec::new() })
    }
}
fn first_of(range: &impl RangeBounds<u64>) -> u64 {
    match range.start_bound() {
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    }
}

fn end_of(range: &impl RangeBounds<u64>) -> u64 {
    match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    }
}

fn read_failed(error: StoreError) -> StorageError<u64> {
    error.raft(ErrorSubject::Logs, ErrorVerb::Read)
}
