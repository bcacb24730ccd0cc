//! Store of the one snapshot: chunks in the engine, and the mark that makes them current.

use std::sync::{Mutex, MutexGuard};

use hessra_proto::v1::raft;
use prost::Message;

use super::format;
use crate::engine::{Engine, synced};
use crate::error::name;
use crate::image::SnapshotImage;
use crate::layout::{Space, chunk_key, mark};
use crate::{Batch, SnapshotMeta, StoreError, codec, frame};

/// Bytes of a chunk: sled keeps so many in one piece.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks deleted by one batch, so that no append waits long for the engine.
const CHUNKS_PER_BATCH: usize = 16;

/// Store of the current snapshot.
pub(crate) struct SnapshotStore<E> {
    engine: E,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    current: Option<Stored>,
    next_generation: u64,
}

/// Stored snapshot.
#[derive(Clone)]
pub(crate) struct Stored {
    generation: u64,
    size: u64,
    pub(crate) meta: SnapshotMeta,
}

impl Stored {
    fn chunks(&self) -> u32 {
        self.size.div_ceil(CHUNK_BYTES as u64) as u32
    }

    fn encode(&self) -> Vec<u8> {
        let meta = codec::encode_snapshot_meta(&self.meta, self.size).encode_to_vec();
        [&self.generation.to_be_bytes()[..], &meta].concat()
    }

    fn decode(engine: &impl Engine, body: &[u8]) -> Result<Self, StoreError> {
        let key = || name(Space::Marks, mark::SNAPSHOT);
        let (generation, meta) = body
            .split_first_chunk()
            .ok_or_else(|| StoreError::corrupt(engine.location(), key(), "it has another form"))?;
        let decoded = codec::decode::<raft::SnapshotMeta>("snapshot meta", meta);
        let (meta, size) = decoded
            .and_then(|meta| codec::decode_snapshot_meta(&meta))
            .map_err(|error| StoreError::undecodable(engine.location(), key(), &error))?;
        Ok(Self {
            generation: u64::from_be_bytes(*generation),
            size,
            meta,
        })
    }
}

impl<E: Engine> SnapshotStore<E> {
    /// Finds the current snapshot, checks every byte of it, and deletes chunks that never became current.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the damaged chunk.
    pub(crate) fn open(engine: E) -> Result<Self, StoreError> {
        let mut current = None;
        if let Some(value) = engine.get(Space::Marks, mark::SNAPSHOT)? {
            let (body, _) = frame::unwrap(&engine, Space::Marks, mark::SNAPSHOT, &value)?;
            current = Some(Stored::decode(&engine, body)?);
        }
        let next_generation = delete_others(&engine, current.as_ref())?;
        let snapshots = Self {
            engine,
            kept: Mutex::new(Kept {
                current,
                next_generation,
            }),
        };
        if let Some((stored, image)) = snapshots.load()? {
            let contents = format::open(&image, &snapshots.engine.location())?;
            if contents.meta != stored.meta {
                let key = name(Space::Marks, mark::SNAPSHOT);
                return Err(StoreError::corrupt(
                    snapshots.engine.location(),
                    key,
                    "it names another snapshot",
                ));
            }
        }
        Ok(snapshots)
    }

    /// Loads the current snapshot.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the damaged chunk.
    pub(crate) fn load(&self) -> Result<Option<(Stored, SnapshotImage)>, StoreError> {
        loop {
            let Some(stored) = self.kept().current.clone() else {
                return Ok(None);
            };
            let generation = stored.generation;
            let loaded = self.load_stored(stored);
            let is_current = |now: &Stored| now.generation == generation;
            // Another one became current meanwhile, and this one is being deleted.
            if loaded.is_err() && !self.kept().current.as_ref().is_some_and(is_current) {
                continue;
            }
            return loaded.map(Some);
        }
    }

    fn load_stored(&self, stored: Stored) -> Result<(Stored, SnapshotImage), StoreError> {
        let mut bytes = Vec::with_capacity(stored.size as usize);
        for number in 0..stored.chunks() {
            let key = chunk_key(stored.generation, number);
            let lost = || {
                StoreError::corrupt(
                    self.engine.location(),
                    name(Space::Snapshots, &key),
                    "it is gone",
                )
            };
            let value = self.engine.get(Space::Snapshots, &key)?.ok_or_else(lost)?;
            bytes.extend_from_slice(frame::unwrap(&self.engine, Space::Snapshots, &key, &value)?.0);
        }
        Ok((stored, SnapshotImage::from(bytes)))
    }

    /// Writes the chunks of an image. It is not current yet.
    pub(crate) async fn put(
        &self,
        meta: &SnapshotMeta,
        image: &SnapshotImage,
    ) -> Result<Stored, StoreError> {
        let generation = self.take_generation();
        let stored = Stored {
            generation,
            size: image.len() as u64,
            meta: meta.clone(),
        };
        for (number, chunk) in (0..).zip(image.as_bytes().chunks(CHUNK_BYTES)) {
            let key = chunk_key(generation, number);
            let (value, _) = frame::wrap(Space::Snapshots, &key, chunk);
            // One at a time: a batch costs sled more than its changes (`disk`), and a mark makes all of them current.
            let mut batch = Batch::default();
            batch.put(Space::Snapshots, key, value);
            self.engine.write(batch)?;
            tokio::task::yield_now().await;
        }
        Ok(stored)
    }

    /// Makes a stored snapshot current, durably and together with `batch`, and deletes the one before. A snapshot that
    /// is older than the current one is deleted instead.
    pub(crate) async fn make_current(
        &self,
        stored: Stored,
        mut batch: Batch,
    ) -> Result<(), StoreError> {
        let before = {
            let mut kept = self.kept();
            let is_older = kept
                .current
                .as_ref()
                .is_some_and(|now| now.meta.last_log_id > stored.meta.last_log_id);
            if is_older {
                Some(stored)
            } else {
                let body = stored.encode();
                batch.put(
                    Space::Marks,
                    mark::SNAPSHOT,
                    frame::wrap(Space::Marks, mark::SNAPSHOT, &body).0,
                );
                self.engine.write(batch)?;
                kept.current.replace(stored)
            }
        };
        synced(&self.engine).await?;
        match before {
            Some(before) => self.delete(&before).await,
            None => Ok(()),
        }
    }

    async fn delete(&self, stored: &Stored) -> Result<(), StoreError> {
        let numbers: Vec<u32> = (0..stored.chunks()).collect();
        for group in numbers.chunks(CHUNKS_PER_BATCH) {
            let mut batch = Batch::default();
            group.iter().for_each(|number| {
                batch.delete(Space::Snapshots, chunk_key(stored.generation, *number))
            });
            self.engine.write(batch)?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn take_generation(&self) -> u64 {
        let mut kept = self.kept();
        let generation = kept.next_generation;
        kept.next_generation += 1;
        generation
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept
            .lock()
            .expect("no code panics while it holds the snapshots")
    }
}

/// Deletes chunks of other generations than the current one; returns the first generation that was never used.
fn delete_others(engine: &impl Engine, current: Option<&Stored>) -> Result<u64, StoreError> {
    let mut next = current.map_or(0, |stored| stored.generation + 1);
    let mut after: Option<Vec<u8>> = None;
    loop {
        let found = engine.scan(Space::Snapshots, after.as_deref(), CHUNKS_PER_BATCH)?;
        let Some((last, _)) = found.last() else {
            return Ok(next);
        };
        after = Some(last.clone());
        let mut batch = Batch::default();
        for (key, _) in found {
            let generation = key
                .first_chunk()
                .map(|generation| u64::from_be_bytes(*generation));
            if generation != current.map(|stored| stored.generation) {
                next = next.max(generation.unwrap_or(0) + 1);
                batch.delete(Space::Snapshots, key);
            }
        }
        if !batch.is_empty() {
            engine.write(batch)?;
        }
    }
}
