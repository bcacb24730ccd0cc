//! openraft's log and vote, packed and chained.
//!
//! One append is one batch: a [`pack`] per some tens of KiB of entries, and the mark `ends`. One pack per append instead
//! of one record per entry makes the append cheap; the chain makes it trustworthy:
//!
//! ```text
//! purged ─ anchor ┐
//!                 ▼
//!        ┌─ pack 101..140 ─┐      ┌─ pack 141..141 ─┐      ┌─ pack 142..205 ─┐
//!        │ prev = anchor   │◀─────│ prev = hash     │◀─────│ prev = hash     │◀── tail = (205, hash)
//!        └─────────────────┘      └─────────────────┘      └─────────────────┘
//! ```
//!
//! Every pack names the hash of the pack before it; `ends` names the hash of the last one and the one on which the chain
//! goes on after what was purged. So a pack that is missing, old, or foreign breaks the chain, wherever it is, and
//! opening walks all of it. `ends` is in the batch of every append: under the engine's contract (a crash keeps a prefix
//! of whole batches) the log can neither reach beyond it nor stop short of it, and an append that was never
//! acknowledged is there with its `ends` or gone with it. Nothing has to be guessed, and it costs no second flush.
//!
//! The vote is kept twice, in two spaces: a vote that went back in time would break Raft, and no chain holds it.
//!
//! Purging deletes whole packs only, a bounded number per call, and only once the applied state up to there is
//! durable: openraft purges *before* an installed snapshot is stored. What is left of the purged range is invisible.
//!
//! `save_committed` is not implemented, on purpose: the applied state is stored itself, so a restart falls back a few
//! entries at most, which are applied again once a leader says that they are committed. A stored commit index would
//! save that and nothing else.

mod cache;
mod chain;
mod ends;
mod pack;

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AsyncRuntime, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageError,
    TokioRuntime,
};

use crate::engine::{Engine, synced};
use crate::error::name;
use crate::layout::{Space, mark};
use crate::machine::Keeper;
use crate::{Batch, Entry, LogId, StoreError, Types, Vote, codec, frame};

use cache::Cache;
use chain::Chain;

/// Packs deleted by one call of purge. It is above openraft's usual purge of 1,000 entries, so leftovers shrink.
const PACKS_PURGED_MAX: usize = 2048;
/// Packs deleted by one batch: about 2 ms of sled's time, the longest that a purge delays an append of another task.
const PACKS_PER_BATCH: usize = 256;
/// Bytes of entries that one limited read returns, about: keeps a message to a follower below gRPC's usual 4 MiB.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// openraft's log and vote.
pub struct LogStore<E: Engine, R: AsyncRuntime = TokioRuntime> {
    reader: LogReader<E, R>,
    keeper: Arc<Keeper<E>>,
}

/// Reads the log while the store writes. Clones share one view.
pub struct LogReader<E: Engine, R: AsyncRuntime = TokioRuntime> {
    engine: E,
    memory: Arc<Mutex<Memory<R>>>,
}

/// What is known without reading the disk.
struct Memory<R: AsyncRuntime> {
    chain: Chain,
    cache: Cache<R>,
}

impl<E: Engine, R: AsyncRuntime> LogStore<E, R> {
    /// Walks the stored chain.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the record at which the chain breaks.
    pub(crate) fn open(engine: E, keeper: Arc<Keeper<E>>) -> Result<Self, StoreError> {
        let chain = Chain::open(&engine)?;
        let memory = Arc::new(Mutex::new(Memory {
            chain,
            cache: Cache::default(),
        }));
        Ok(Self {
            reader: LogReader { engine, memory },
            keeper,
        })
    }

    /// The state must have what the log no longer has.
    pub(crate) fn check_against(&self, applied: Option<LogId>) -> Result<(), StoreError> {
        let purged = self.memory().chain.purged();
        if purged <= applied {
            return Ok(());
        }
        let index = |id: Option<LogId>| {
            id.map_or_else(|| "nothing".to_owned(), |id| format!("entry {}", id.index))
        };
        let what = format!(
            "it is applied up to {}, but the log was purged up to {}",
            index(applied),
            index(purged)
        );
        Err(StoreError::corrupt(self.engine().location(), "state", what))
    }

    fn engine(&self) -> &E {
        &self.reader.engine
    }

    fn memory(&self) -> MutexGuard<'_, Memory<R>> {
        self.reader.memory()
    }

    fn write_entries(&self, entries: impl Iterator<Item = Entry<R>>) -> Result<(), StoreError> {
        let purged = self.memory().chain.purged().map(|id| id.index);
        let encoded: Vec<(Vec<u8>, Entry<R>)> = entries
            // What was purged was applied: appending it once more changes nothing.
            .filter(|entry| Some(entry.log_id.index) > purged)
            .map(|entry| (codec::encode_entry(&entry), entry))
            .collect();
        let mut memory = self.memory();
        let items = encoded
            .iter()
            .map(|(bytes, entry)| (entry.log_id, bytes.as_slice()));
        let (batch, step) = memory.chain.append(items)?;
        self.engine().write(batch)?;
        memory.chain.take(step);
        encoded
            .into_iter()
            .for_each(|(bytes, entry)| memory.cache.push(entry, bytes.len()));
        Ok(())
    }

    fn cut(&self, since: u64) -> Result<(), StoreError> {
        let mut memory = self.memory();
        let (batch, step) = memory.chain.truncate(self.engine(), since)?;
        self.engine().write(batch)?;
        memory.chain.take(step);
        memory.cache.truncate(since);
        Ok(())
    }

    /// Hides the purged range; deletes it when the state beyond it is durable, else leaves that to a later call.
    async fn forget(&self, upto: LogId) -> Result<(), StoreError> {
        {
            let mut memory = self.memory();
            memory.chain.hide(upto);
            memory.cache.purge(upto.index);
        }
        if self.keeper.applied() >= Some(upto) {
            self.keeper.settle().await?;
            self.delete_hidden().await?;
        }
        Ok(())
    }

    async fn delete_hidden(&self) -> Result<(), StoreError> {
        for _ in 0..PACKS_PURGED_MAX / PACKS_PER_BATCH {
            if !self.delete_some_hidden()? {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// True when there may be more.
    fn delete_some_hidden(&self) -> Result<bool, StoreError> {
        let mut memory = self.memory();
        let Some((batch, purged)) = memory.chain.purge(PACKS_PER_BATCH) else {
            return Ok(false);
        };
        self.engine().write(batch)?;
        Ok(memory.chain.drop_packs(purged))
    }

    /// openraft hides a range before the snapshot that replaces it is installed. What is appended beyond a hole must
    /// not be acknowledged before the snapshot is durable: after a crash it would be a log with a hole.
    async fn finish_purge(&self) -> Result<(), StoreError> {
        let (pending, hole) = {
            let memory = self.memory();
            (memory.chain.unstored_purge(), memory.chain.has_hole())
        };
        let Some(upto) = pending else { return Ok(()) };
        if hole {
            self.keeper.settled_through(upto).await?;
        }
        if self.keeper.settled() >= Some(upto) {
            self.delete_hidden().await
        } else {
            Ok(())
        }
    }
}

impl<E: Engine, R: AsyncRuntime> LogReader<E, R> {
    fn memory(&self) -> MutexGuard<'_, Memory<R>> {
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

fn write_failed(error: StoreError) -> StorageError<u64> {
    error.raft(ErrorSubject::Logs, ErrorVerb::Write)
}

fn vote_failed(error: StoreError) -> StorageError<u64> {
    error.raft(ErrorSubject::Vote, ErrorVerb::Write)
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
        self.read(start..end, READ_BYTES_MAX).map_err(read_failed)
    }
}

impl<E: Engine, R: AsyncRuntime> RaftLogReader<Types<R>> for LogStore<E, R> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<R>>, StorageError<u64>> {
        self.reader.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry<R>>, StorageError<u64>> {
        self.reader.limited_get_log_entries(start, end).await
    }
}

impl<E: Engine, R: AsyncRuntime> RaftLogStorage<Types<R>> for LogStore<E, R> {
    type LogReader = LogReader<E, R>;

    async fn get_log_state(&mut self) -> Result<LogState<Types<R>>, StorageError<u64>> {
        let memory = self.memory();
        Ok(LogState {
            last_purged_log_id: memory.chain.purged(),
            last_log_id: memory.chain.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError<u64>> {
        self.engine().write(put_vote(vote)).map_err(vote_failed)?;
        synced(self.engine()).await.map_err(vote_failed)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError<u64>> {
        read_vote(self.engine()).map_err(|error| error.raft(ErrorSubject::Vote, ErrorVerb::Read))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types<R>>,
    ) -> Result<(), StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<R>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter();
        self.finish_purge().await.map_err(write_failed)?;
        self.write_entries(entries).map_err(write_failed)?;
        self.engine().sync(Box::new(move |outcome| {
            callback.log_io_completed(outcome.map_err(Into::into))
        }));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError<u64>> {
        self.cut(since.index).map_err(write_failed)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError<u64>> {
        self.forget(upto).await.map_err(write_failed)
    }
}

fn put_vote(vote: &Vote) -> Batch {
    let mut batch = Batch::default();
    let body = prost::Message::encode_to_vec(&codec::encode_vote(vote));
    for space in [Space::Marks, Space::Copies] {
        batch.put(space, mark::VOTE, frame::wrap(space, mark::VOTE, &body).0);
    }
    batch
}

/// The stored vote; also read at opening, so that a damaged one is found before anything is asked of the node.
pub(crate) fn read_vote(engine: &impl Engine) -> Result<Option<Vote>, StoreError> {
    let vote = read_vote_in(engine, Space::Marks)?;
    if vote == read_vote_in(engine, Space::Copies)? {
        return Ok(vote);
    }
    let key = name(Space::Marks, mark::VOTE);
    Err(StoreError::corrupt(
        engine.location(),
        key,
        "it is not the same as its copy: one of them is old or gone",
    ))
}

fn read_vote_in(engine: &impl Engine, space: Space) -> Result<Option<Vote>, StoreError> {
    let Some(value) = engine.get(space, mark::VOTE)? else {
        return Ok(None);
    };
    let (body, _) = frame::unwrap(engine, space, mark::VOTE, &value)?;
    let vote = codec::decode("vote", body).map_err(|error| {
        StoreError::undecodable(engine.location(), name(space, mark::VOTE), &error)
    })?;
    Ok(Some(codec::decode_vote(&vote)))
}
