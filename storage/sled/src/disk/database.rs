//! Database: sled's handles, and batches and flushes in sled's terms.

use std::path::Path;

use sled::transaction::{ConflictableTransactionError, TransactionError};
use sled::{Transactional, Tree};

use super::first_error::FirstError;
use super::pieces;
use super::seal::{Seal, Unsealed};
use crate::engine::Batch;
use crate::{Space, StoreError};

/// sled's unit of allocation. With 2 MiB a page may have 512 KiB before it becomes a blob, see `pieces`.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;
/// Handles of sled.
#[derive(Clone)]
pub(super) struct Database {
    db: sled::Db,
    spaces: [Tree; Space::ALL.len()],
    /// Tree that holds the seal of the last flush.
    engine: Tree,
}

impl Database {
    pub(super) fn open(path: &Path, cache_bytes: u64) -> sled::Result<Self> {
        let config = sled::Config::new()
            .path(path)
            .flush_every_ms(None)
            .cache_capacity(cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .mode(sled::Mode::HighThroughput);
        let db = config.open()?;
        let [marks, log, snapshots, copies] = Space::ALL.map(|space| db.open_tree(space.name()));
        let spaces = [marks?, log?, snapshots?, copies?];
        let engine = db.open_tree("engine")?;
        Ok(Self { db, spaces, engine })
    }

    pub(super) fn tree(&self, space: Space) -> &Tree {
        &self.spaces[space as usize]
    }

    /// Writes a batch. One change is atomic by itself. Several in one tree are sled's batch; over several trees they
    /// are a transaction, which recovers as one too. Both of these make sled close its write buffer twice, and every
    /// buffer wakes all of its seven threads: appends of single changes make a quarter of the writes (`bench revoke`).
    pub(super) fn write(&self, batch: Batch) -> sled::Result<()> {
        let mut by_space: [Vec<pieces::Change>; Space::ALL.len()] = Default::default();
        for (space, key, value) in batch.into_changes() {
            let changes = &mut by_space[space as usize];
            pieces::put(self.tree(space), &key, value.as_deref(), changes)?;
        }
        let changed: Vec<(&Tree, &[pieces::Change])> = self
            .spaces
            .iter()
            .zip(by_space.iter().map(Vec::as_slice))
            .filter(|(_, changes)| !changes.is_empty())
            .collect();
        match changed.as_slice() {
            [] => Ok(()),
            [(tree, [(key, Some(value))])] => tree.insert(key, value.as_slice()).map(drop),
            [(tree, [(key, None)])] => tree.remove(key).map(drop),
            [(tree, changes)] => tree.apply_batch(sled_batch(changes)),
            several => together(several),
        }
    }

    /// Seal of the last flush, as it is stored.
    pub(super) fn stored(&self) -> sled::Result<Option<sled::IVec>> {
        self.engine.get(SEQUENCE)
    }

    /// Writes everything to the file. Does not survive a power cut by itself.
    pub(super) fn flush(&self, seal: Seal) -> sled::Result<()> {
        self.engine.insert(SEQUENCE, &seal.encode()[..])?;
        self.db.flush().map(drop)
    }

    /// Reads every page, which sled checks as it reads.
    pub(super) fn read_all(&self) -> sled::Result<()> {
        let trees = self.spaces.iter().chain([&self.engine]);
        trees
            .flat_map(|tree| tree.iter())
            .try_for_each(|item| item.map(drop))
    }
}

fn sled_batch(changes: &[pieces::Change]) -> sled::Batch {
    let mut batch = sled::Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.insert(key.as_slice(), value.as_slice()),
            None => batch.remove(key.as_slice()),
        }
    }
    batch
}

fn together(changed: &[(&Tree, &[pieces::Change])]) -> sled::Result<()> {
    let trees: Vec<Tree> = changed.iter().map(|(tree, _)| (*tree).clone()).collect();
    let batches: Vec<sled::Batch> = changed
        .iter()
        .map(|(_, changes)| sled_batch(changes))
        .collect();
    let outcome = trees.as_slice().transaction(|views| {
        for (view, batch) in views.iter().zip(&batches) {
            view.apply_batch(batch)?;
        }
        Ok::<(), ConflictableTransactionError<()>>(())
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TransactionError::Storage(error)) => Err(error),
        Err(TransactionError::Abort(())) => unreachable!("the closure above never aborts"),
    }
}

const SEQUENCE: &[u8] = b"sequence";

/// Decodes a stored seal.
///
/// # Errors
/// [`StoreError::Corrupt`], [`StoreError::Outdated`].
pub(super) fn decode_stored(
    stored: Option<sled::IVec>,
    failure: &FirstError,
) -> Result<Option<Seal>, StoreError> {
    let Some(bytes) = stored else { return Ok(None) };
    match Seal::decode(&bytes) {
        Ok(seal) => Ok(Some(seal)),
        Err(Unsealed::Outdated) => Err(StoreError::Outdated {
            file: failure.file.to_string(),
            what: "sequence".to_owned(),
        }),
        Err(Unsealed::Damaged) => Err(StoreError::corrupt(
            &*failure.file,
            "sequence",
            "its checksum does not match",
        )),
    }
}
