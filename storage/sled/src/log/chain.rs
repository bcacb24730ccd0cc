//! Chain of packs: its ends, the changes that are written to it, and the check that the disk has all of it.
//!
//! Every change is computed first, as batches for the engine and a [`Step`] for the memory; the step is taken only after
//! they were written.

use std::collections::BTreeMap;

use hessra_proto::v1::log as wire;

use super::ends::{End, Ends};
use super::pack::{self, PACK_BYTES_MAX, Pack};
use super::walk::{Link, unpack, walk};
use crate::engine::Engine;
use crate::error::name;
use crate::frame::{self, RecordHash};
use crate::layout::{Space, mark, pack_key};
use crate::{Batch, LogId, StoreError, codec};

/// Index of the stored log, for answers without reading it.
#[derive(Default)]
pub(super) struct Chain {
    /// Entry up to which everything is invisible. Ahead of the stored purge while a snapshot is being installed.
    hidden: Option<LogId>,
    /// Mark on disk.
    ends: Ends,
    packs: BTreeMap<u64, Link>,
}

/// Change of the memory that a written append or truncation makes.
pub(super) struct Step {
    tail: End,
    added: Vec<(u64, Link)>,
    /// First pack that is gone, with all after it.
    removed_from: Option<u64>,
}

/// Change of the memory that a written purge makes.
pub(super) struct Purged {
    end: End,
    packs: Vec<u64>,
}

impl Chain {
    /// Walks the packs on disk from end to end.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the first record that is not what the chain says.
    pub(super) fn open(engine: &impl Engine) -> Result<Self, StoreError> {
        let ends = Ends::read(engine)?;
        let packs = walk(engine, &ends.purged)?;
        let mut chain = Self {
            hidden: ends.purged.id,
            ends,
            packs,
        };
        chain.find_end(engine)?;
        Ok(chain)
    }

    /// Finds the end: the chain reaches the tail that the mark names, or goes on beyond it when a crash came between a
    /// pack and its mark.
    fn find_end(&mut self, engine: &impl Engine) -> Result<(), StoreError> {
        let last = self.packs.last_key_value().map(|(_, link)| *link);
        // The hash decides: below a purged range that a snapshot replaced, indices may differ.
        let hash = last.map_or(self.ends.purged.hash, |link| link.hash);
        if hash == self.ends.tail.hash {
            return Ok(());
        }
        let passes = |hash| self.packs.values().any(|link| link.prev == hash);
        if let Some(link) = last.filter(|_| passes(self.ends.tail.hash)) {
            self.ends.tail = End {
                id: Some(self.id_of(engine, link.last)?),
                hash,
            };
            return Ok(());
        }
        let (end, reached) = (
            last.map(|link| link.last),
            self.ends.tail.id.map(|id| id.index),
        );
        let what = format!(
            "the log ends at {}, it had reached {}",
            text(end),
            text(reached)
        );
        Err(StoreError::corrupt(
            engine.location(),
            name(Space::Marks, mark::ENDS),
            what,
        ))
    }

    /// Entry up to which the log is purged.
    pub(super) fn purged(&self) -> Option<LogId> {
        self.hidden
    }

    /// Last entry, or the purged one when there is none.
    pub(super) fn last(&self) -> Option<LogId> {
        self.tail().or(self.hidden)
    }

    /// Last entry that is visible. Indices decide: below a snapshot that replaced the log there may be entries of a
    /// later term than its own, which were never committed.
    fn tail(&self) -> Option<LogId> {
        let hidden = self.hidden.map(|id| id.index);
        self.ends.tail.id.filter(|id| Some(id.index) > hidden)
    }

    /// Visible part of `first..end`.
    pub(super) fn clamp(&self, first: u64, end: u64) -> (u64, u64) {
        let visible = self.hidden.map_or(0, |id| id.index + 1);
        let begin = self.packs.keys().next().copied().unwrap_or(u64::MAX);
        let stop = self.tail().map_or(0, |id| id.index + 1);
        (first.max(visible).max(begin), end.min(stop))
    }

    /// Reads the pack that holds an entry, and checks it.
    pub(super) fn read(&self, engine: &impl Engine, index: u64) -> Result<Pack, StoreError> {
        let lost = || {
            StoreError::corrupt(
                engine.location(),
                format!("log entry {index}"),
                "its pack is gone",
            )
        };
        let (first, link) = self.packs.range(..=index).next_back().ok_or_else(lost)?;
        let key = pack_key(*first);
        let value = engine.get(Space::Log, &key)?.ok_or_else(lost)?;
        let (pack, hash) = unpack(engine, &key, &value)?;
        if hash != link.hash || pack.last() < index {
            return Err(StoreError::corrupt(
                engine.location(),
                name(Space::Log, &key),
                "it is not the pack last written",
            ));
        }
        Ok(pack)
    }

    /// Appends entries after the last one: a batch for each pack, and at the end the mark.
    ///
    /// # Errors
    /// When they do not follow it.
    pub(super) fn append<'a>(
        &self,
        entries: impl Iterator<Item = (LogId, &'a [u8])>,
    ) -> Result<(Vec<Batch>, Step), StoreError> {
        let mut builder = Builder {
            batches: Vec::new(),
            ends: self.ends,
            added: Vec::new(),
            open: Vec::new(),
            bytes: 0,
        };
        let mut last = self.last();
        for (id, bytes) in entries {
            if last.is_some_and(|last| last.index + 1 != id.index) {
                let end = text(last.map(|id| id.index));
                return Err(StoreError::stopped(format!(
                    "entry {} was appended to a log that ends at {end}",
                    id.index
                )));
            }
            last = Some(id);
            builder.push(id, bytes);
        }
        Ok(builder.finish())
    }

    /// Cuts the log, so that it has everything before `since` and nothing else.
    ///
    /// # Errors
    /// When the pack that is cut cannot be read.
    pub(super) fn truncate(
        &self,
        engine: &impl Engine,
        since: u64,
    ) -> Result<(Batch, Step), StoreError> {
        let since = since.min(self.last().map_or(0, |last| last.index + 1));
        let mut batch = Batch::default();
        let cut = self
            .packs
            .range(..since)
            .next_back()
            .filter(|(_, link)| link.last >= since);
        let removed_from = cut.map_or(since, |(first, _)| *first);
        let gone = self.packs.range(removed_from..);
        let hash = gone
            .clone()
            .next()
            .map_or(self.ends.tail.hash, |(_, link)| link.prev);
        gone.for_each(|(first, _)| batch.delete(Space::Log, pack_key(*first)));
        let mut step = Step {
            tail: End {
                id: self.hidden,
                hash,
            },
            added: Vec::new(),
            removed_from: Some(removed_from),
        };
        if let Some((first, link)) = cut {
            let pack = self.read(engine, *first)?;
            let kept = put_pack(&mut batch, link.prev, *first, &pack.entries_before(since));
            step.tail.hash = kept.hash;
            step.added.push((*first, kept));
        }
        step.tail.id = self.id_before(engine, since)?;
        Ends {
            purged: self.ends.purged,
            tail: step.tail,
        }
        .put(&mut batch);
        Ok((batch, step))
    }

    /// Id of the entry before `index`.
    fn id_before(&self, engine: &impl Engine, index: u64) -> Result<Option<LogId>, StoreError> {
        let (first, _) = self.clamp(0, u64::MAX);
        let Some(wanted) = index.checked_sub(1).filter(|wanted| *wanted >= first) else {
            return Ok(self.hidden);
        };
        self.id_of(engine, wanted).map(Some)
    }

    /// Id of a stored entry.
    fn id_of(&self, engine: &impl Engine, wanted: u64) -> Result<LogId, StoreError> {
        let pack = self.read(engine, wanted)?;
        let named = || format!("log entry {wanted}");
        let entry = pack.entries_from(wanted).next();
        let (_, bytes) =
            entry.ok_or_else(|| StoreError::corrupt(engine.location(), named(), "it is gone"))?;
        let entry: wire::Entry = codec::decode("entry", bytes)
            .map_err(|error| StoreError::undecodable(engine.location(), named(), &error))?;
        Ok(codec::decode_log_id(&wire::LogId {
            term: entry.term,
            index: entry.index,
        }))
    }

    /// Makes everything up to `upto` invisible.
    pub(super) fn hide(&mut self, upto: LogId) {
        self.hidden = self.hidden.max(Some(upto));
    }

    /// Entry up to which the log is hidden and not yet purged on disk.
    pub(super) fn unstored_purge(&self) -> Option<LogId> {
        self.hidden
            .filter(|hidden| Some(*hidden) > self.ends.purged.id)
    }

    /// True when the hidden range reaches beyond the stored log.
    pub(super) fn has_hole(&self) -> bool {
        self.reaches_beyond(self.hidden)
    }

    /// Hides the log below a snapshot up to `upto`, when all of the stored log lies below it.
    pub(super) fn hide_below(&mut self, upto: Option<LogId>) {
        if self.reaches_beyond(upto) {
            self.hidden = self.hidden.max(upto);
        }
    }

    fn reaches_beyond(&self, upto: Option<LogId>) -> bool {
        upto.map(|id| id.index) > self.ends.tail.id.map(|id| id.index)
    }

    /// Deletes at most `limit` hidden packs; `None` when nothing is left to do.
    pub(super) fn purge(&self, limit: usize) -> Option<(Batch, Purged)> {
        let hidden = self.hidden?;
        let gone = self
            .packs
            .iter()
            .take_while(|(_, link)| link.last <= hidden.index)
            .take(limit);
        let packs: Vec<u64> = gone.clone().map(|(first, _)| *first).collect();
        if packs.is_empty() && self.unstored_purge().is_none() {
            return None;
        }
        let hash = gone
            .last()
            .map_or(self.ends.purged.hash, |(_, link)| link.hash);
        let end = End {
            id: Some(hidden),
            hash,
        };
        let mut batch = Batch::default();
        packs
            .iter()
            .for_each(|first| batch.delete(Space::Log, pack_key(*first)));
        Ends {
            purged: end,
            tail: self.ends.tail,
        }
        .put(&mut batch);
        Some((batch, Purged { end, packs }))
    }

    /// Takes the step of a written append or truncation.
    pub(super) fn take(&mut self, step: Step) {
        if let Some(from) = step.removed_from {
            self.packs.split_off(&from);
        }
        self.packs.extend(step.added);
        self.ends.tail = step.tail;
    }

    /// Takes the step of a written purge; true when there may be more to purge.
    pub(super) fn drop_packs(&mut self, purged: Purged) -> bool {
        self.ends.purged = purged.end;
        purged
            .packs
            .iter()
            .for_each(|first| _ = self.packs.remove(first));
        !purged.packs.is_empty()
    }
}

/// Builder that groups entries into packs.
struct Builder<'a> {
    batches: Vec<Batch>,
    ends: Ends,
    added: Vec<(u64, Link)>,
    open: Vec<(LogId, &'a [u8])>,
    bytes: usize,
}

impl<'a> Builder<'a> {
    fn push(&mut self, id: LogId, bytes: &'a [u8]) {
        if self.bytes + bytes.len() > PACK_BYTES_MAX {
            self.close();
        }
        self.open.push((id, bytes));
        self.bytes += bytes.len();
    }

    fn close(&mut self) {
        let (Some((first, _)), Some((last, _))) = (self.open.first(), self.open.last()) else {
            return;
        };
        let (first, last) = (first.index, *last);
        let entries: Vec<&[u8]> = self.open.drain(..).map(|(_, bytes)| bytes).collect();
        let mut batch = Batch::default();
        let link = put_pack(&mut batch, self.ends.tail.hash, first, &entries);
        self.batches.push(batch);
        self.ends.tail = End {
            id: Some(last),
            hash: link.hash,
        };
        self.added.push((first, link));
        self.bytes = 0;
    }

    fn finish(mut self) -> (Vec<Batch>, Step) {
        self.close();
        let mut batch = Batch::default();
        self.ends.put(&mut batch);
        self.batches.push(batch);
        (
            self.batches,
            Step {
                tail: self.ends.tail,
                added: self.added,
                removed_from: None,
            },
        )
    }
}

fn put_pack(batch: &mut Batch, prev: RecordHash, first: u64, entries: &[&[u8]]) -> Link {
    let key = pack_key(first);
    let (value, hash) = frame::wrap(Space::Log, &key, &pack::encode(&prev, first, entries));
    batch.put(Space::Log, key, value);
    Link {
        last: first + entries.len() as u64 - 1,
        prev,
        hash,
    }
}

fn text(index: Option<u64>) -> String {
    index.map_or_else(|| "nothing".to_owned(), |index| format!("entry {index}"))
}
