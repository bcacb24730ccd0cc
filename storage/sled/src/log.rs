//! Log and vote of openraft, packed and chained.
//!
//! One append is a `pack` per some tens of KiB of entries, and then the mark `ends`, each a write of its own. One pack
//! per append instead of one record per entry makes the append cheap; the chain makes it trustworthy:
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
//! opening walks all of it. The log never stops short of `ends`: under the engine's contract (a crash keeps a prefix of
//! the writes) a mark is not there without its packs. It may go beyond it by the packs of an append whose mark was not
//! yet written; such an append was never acknowledged, and openraft may find it or not. Nothing has to be guessed, and
//! one flush makes all of it durable. It is several writes instead of one batch because a batch costs sled far
//! more than a single change (`disk`).
//!
//! An append is done when it is written; [`Durability`] says when it is durable, and what waits for that.
//!
//! The vote and the start are kept twice, in two spaces: one that went back in time would break Raft, and no chain holds it.
//!
//! Purging deletes whole packs only, a bounded number per call, and only once a durable snapshot goes up to there:
//! openraft purges *before* an installed snapshot is stored, and at the next start the state is made from the log above
//! the snapshot. The rest of the purged range is invisible.
//!
//! `save_committed` is not implemented, on purpose: how far the state was applied is stored itself (`machine`), so a
//! restart falls back by the entries applied since the last flush at most, which are applied again once a leader says
//! that they are committed. A stored commit index would save that and nothing else.

mod cache;
mod chain;
mod durability;
mod ends;
mod marks;
mod pack;
mod reader;
mod start;
mod vote;
mod walk;

use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::MutexGuard;

use hessra_state::Start;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AsyncRuntime, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageError,
    TokioRuntime,
};

use crate::engine::{Engine, synced};
use crate::plant::{Plant, is_planted};
use crate::settled::Settled;
use crate::{Entry, LogId, StoreError, Types, Vote, codec};

pub use durability::{Durability, Flush};
pub use reader::LogReader;
pub(crate) use start::read_start;
pub(crate) use vote::read_vote;

use reader::Memory;
pub use start::StartKeeper;
use vote::put_vote;

/// Packs deleted by one call of purge. It is above openraft's usual purge of 1,000 entries, so leftovers shrink.
const PACKS_PURGED_MAX: usize = 2048;
/// Packs deleted by one batch: about 2 ms of sled's time, the longest that a purge delays an append of another task.
const PACKS_PER_BATCH: usize = 256;

/// Log store of openraft, with the vote.
pub struct LogStore<E: Engine, R: AsyncRuntime = TokioRuntime> {
    reader: LogReader<E, R>,
    settled: Settled,
    durability: Durability,
}

impl<E: Engine, R: AsyncRuntime> LogStore<E, R> {
    pub(crate) fn new(reader: LogReader<E, R>, settled: Settled, durability: Durability) -> Self {
        Self {
            reader,
            settled,
            durability,
        }
    }

    /// Durability of what is appended: an append that is done is written only.
    #[must_use]
    pub fn durability(&self) -> &Durability {
        &self.durability
    }

    fn engine(&self) -> &E {
        &self.reader.engine
    }

    /// Begins this process's start on the store, and returns when it is durable: before it nothing may be promised to other
    /// members. `random`: the name of a new store, and of the start.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the store has a log and no start; [`StoreError::Io`].
    pub async fn begin(&mut self, random: [[u8; 16]; 2]) -> Result<Start, StoreError> {
        let last = read_start(self.engine())?;
        if last.is_none()
            && (self.memory().chain.last().is_some() || read_vote(self.engine())?.is_some())
        {
            return Err(StoreError::Outdated {
                file: self.engine().location(),
                what: "a log without the name of its store".to_owned(),
            });
        }
        let start = last.map_or_else(|| Start::first(random), |last| last.next(random[1]));
        self.start_keeper().keep(&start).await?;
        Ok(start)
    }

    /// Keeper of this process's start.
    #[must_use]
    pub fn start_keeper(&self) -> StartKeeper<E> {
        StartKeeper::new(self.engine().clone())
    }

    fn memory(&self) -> MutexGuard<'_, Memory<R>> {
        self.reader.memory()
    }

    /// Writes entries, and returns the log index of the first of them; `None`: none was left to write.
    fn write_entries(
        &self,
        entries: impl Iterator<Item = Entry<R>>,
    ) -> Result<Option<u64>, StoreError> {
        let purged = self.memory().chain.purged().map(|id| id.index);
        let encoded: Vec<(Vec<u8>, Entry<R>)> = entries
            // Purged entries were applied: appending one once more changes nothing.
            .filter(|entry| Some(entry.log_id.index) > purged)
            .map(|entry| (codec::encode_entry(&entry), entry))
            .collect();
        let mut memory = self.memory();
        let items = encoded
            .iter()
            .map(|(bytes, entry)| (entry.log_id, bytes.as_slice()));
        let (batches, step) = memory.chain.append(items)?;
        for batch in batches {
            self.engine().write(batch)?;
        }
        memory.chain.take(step);
        let first = encoded.first().map(|(_, entry)| entry.log_id.index);
        encoded
            .into_iter()
            .for_each(|(bytes, entry)| memory.cache.push(entry, bytes.len()));
        Ok(first)
    }

    fn cut(&self, since: u64) -> Result<(), StoreError> {
        let mut memory = self.memory();
        let (batch, step) = memory.chain.truncate(self.engine(), since)?;
        self.engine().write(batch)?;
        memory.chain.take(step);
        memory.cache.truncate(since);
        Ok(())
    }

    /// Hides the purged range; deletes it when a durable snapshot holds it, else leaves that to a later call.
    async fn forget(&self, upto: LogId) -> Result<(), StoreError> {
        {
            let mut memory = self.memory();
            memory.chain.hide(upto);
            memory.cache.purge(upto.index);
        }
        self.delete_hidden().await
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

    /// Deletes some hidden packs, but none that no durable snapshot holds; true when there may be more.
    fn delete_some_hidden(&self) -> Result<bool, StoreError> {
        let mut memory = self.memory();
        if memory.chain.purged() > self.settled.upto() {
            return Ok(false);
        }
        let Some((batch, purged)) = memory.chain.purge(PACKS_PER_BATCH) else {
            return Ok(false);
        };
        self.engine().write(batch)?;
        Ok(memory.chain.drop_packs(purged))
    }

    /// Waits for the snapshot that replaces a hidden range. openraft hides the range before it installs the snapshot,
    /// and an append beyond the hole must not be acknowledged before the snapshot is durable: after a crash it would be
    /// a log with a hole.
    async fn finish_purge(&self) -> Result<(), StoreError> {
        let (pending, hole) = {
            let memory = self.memory();
            (memory.chain.unstored_purge(), memory.chain.has_hole())
        };
        let Some(upto) = pending else { return Ok(()) };
        if hole {
            self.settled.through(upto).await?;
        }
        self.delete_hidden().await
    }
}

fn write_failed(error: StoreError) -> StorageError<u64> {
    error.raft(ErrorSubject::Logs, ErrorVerb::Write)
}

/// A vote as a start takes it up: no leader goes on in its term. What it sent in it may be more than its disk has, and an entry of
/// its own would get the place, and the id, of one that a follower holds.
fn without_leadership(vote: Vote) -> Vote {
    match vote.leader_id().voted_for() {
        Some(voted_for) => Vote::new(vote.leader_id().term, voted_for),
        None => vote,
    }
}

fn vote_failed(error: StoreError) -> StorageError<u64> {
    error.raft(ErrorSubject::Vote, ErrorVerb::Write)
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
        if !is_planted(Plant::VoteNotSaved) {
            self.engine().write(put_vote(vote)).map_err(vote_failed)?;
        }
        synced(self.engine()).await.map_err(vote_failed)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError<u64>> {
        let vote = read_vote(self.engine())
            .map_err(|error| error.raft(ErrorSubject::Vote, ErrorVerb::Read))?;
        Ok(match is_planted(Plant::RestoredLeaderTrusted) {
            true => vote,
            false => vote.map(without_leadership),
        })
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
        self.durability.room().await.map_err(write_failed)?;
        if let Some(first) = self.write_entries(entries).map_err(write_failed)? {
            let (number, durability) = (self.durability.begin(first), self.durability.clone());
            self.engine()
                .sync(Box::new(move |outcome| durability.ended(number, outcome)));
        }
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError<u64>> {
        self.cut(since.index).map_err(write_failed)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError<u64>> {
        self.forget(upto).await.map_err(write_failed)
    }
}
