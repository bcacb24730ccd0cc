//! sled 0.34 on a real disk, used so that an acknowledgement survives the power and a flipped bit is found.
//!
//! ```text
//! storage.path/            0700, fsynced with its parent when it is made
//!   LOCK                   held while a process has the directory; its process id
//!   IDENTITY               which cluster and node it belongs to, and the directory's own id
//!   MARK                   number of the last acknowledged flush, with that id
//!   DERIVED                hashes of the files that sled derived from its data at the last opening
//!   sled/db                the data; the number and the id are in it too
//!   sled/{conf,snap.*}     derived from it
//!   set-aside/             the last 8 derived files that were not as sled had left them
//! ```
//!
//! **A flush** is one for all that wait (group commit), on one thread: the flush's number into sled, sled's `flush()`, then
//! `fdatasync` of `db`. System calls, as `tests/real/system_calls.rs` sees them: `pwrite64` and `sync_file_range` by sled,
//! `fdatasync` by us. `sync_file_range` neither waits for the disk's cache nor writes the file's size: with it
//! alone acknowledged data was gone after 28 of 28 power cuts on ext4, with the `fdatasync` after 0 of 68. After it the
//! number goes to `MARK` with a plain `pwrite64`.
//!
//! **Why `MARK`.** sled takes a damaged message for the end of its file and starts from there, without a word. All data
//! behind it is gone *consistently*: no chain inside of sled can tell. `MARK` lies outside, so a start with a lower
//! number than it names is refused. It is only written, not fsynced, with every flush, because a second fsync would
//! double the price; it is fsynced once a second. A power cut can thus make it older, never newer, than the data: it
//! may miss bit rot in the last second before a power cut, and never accuses a good file.
//!
//! **Derived files cost no data** (`derived`, `opening`). sled starts from the table of pages in the last `snap.*` by name,
//! and overwrites what the table does not know; it ends at one that is empty, cut or half written. So it is shown only
//! what it left here itself. Anything else is set aside, `db` alone is tried on a copy, and what comes out is taken when
//! the flush number, the id and every page say that nothing is missing. The copy needs as much room as `db`, for as
//! long as that takes. When no attempt gives everything, the data file is what is damaged, and it is as it was.
//!
//! **Parts that were not made together** (`parts`) are refused: `IDENTITY`, `MARK` and sled carry the directory's id, and
//! `IDENTITY` says since when all of them must be there. Without that a node whose `sled/` was lost would start as a new
//! one, without the votes that it gave.
//!
//! **Pieces.** sled writes a page that is larger than a quarter of a segment into a file under `blobs/` and never
//! fsyncs that. Values are therefore cut into pieces so small that no page can become that large (`pieces`); should a
//! file appear there all the same, a flush fsyncs it too.
//!
//! **A disk that fails, is full or does not finish a flush** ends the engine (`waiting`): every later call answers the
//! first error and the node stops. Before that point a node asks [`SledEngine::writable`] and refuses new commands
//! while less than `free_min` is left, so that acknowledged data, votes and reads go on.
//!
//! sled panics on some damage. Panics are caught at this seam and become [`StoreError::Corrupt`].

mod database;
mod derived;
mod directory;
mod first_error;
mod flusher;
mod high_water;
mod identity;
mod opening;
mod parts;
mod pieces;
mod seal;
mod waiting;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Batch, Done, Engine, Pair};
use crate::{Space, StoreError};

pub use identity::Identity;

use database::Database;
use directory::Directory;
use first_error::FirstError;
use flusher::Flusher;
use high_water::HighWater;
use opening::Opened;
use parts::Parts;
use seal::{DirectoryId, Seal};

/// Options of opening a directory.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bytes of pages that sled keeps in memory. Default 64 MiB.
    pub cache_bytes: u64,
    /// Bytes that must be free for [`SledEngine::writable`]. Default 256 MiB: the log of some minutes at full load and
    /// one snapshot.
    pub free_min: u64,
    /// A flush that takes longer ends the engine. Default 10 s.
    pub flush_max: Duration,
    /// Owner of the directory. Stored at the first start, compared at every later one. None = not checked, for tools.
    pub identity: Option<Identity>,
    /// Random bytes: the id of the directory, if it is to be made. Its parts carry the id, so that those of two
    /// directories are told apart. Default zero, for tools and tests that do not mix any.
    pub new_id: [u8; 16],
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            free_min: 256 * 1024 * 1024,
            flush_max: Duration::from_secs(10),
            identity: None,
            new_id: [0; 16],
        }
    }
}

/// Error of a disk with too little room to take on more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "only {free} bytes are free where {path} is, {needed} are needed. Make room, or set storage.free_min lower"
)]
pub struct LowSpace {
    /// The data directory.
    pub path: PathBuf,
    /// Bytes that this process may still use there.
    pub free: u64,
    /// Bytes that must be free.
    pub needed: u64,
}

/// Engine over sled in one directory. Clones are handles on the same; the last one closes it.
#[derive(Clone)]
pub struct SledEngine(Arc<Inner>);

struct Inner {
    // In the order in which they must end: the flusher, the database, the directory that others may then open.
    flusher: Option<Flusher>,
    database: Option<Database>,
    failure: FirstError,
    free_min: u64,
    directory: Arc<Directory>,
}

impl SledEngine {
    /// Opens or makes a data directory and takes it for this process.
    ///
    /// # Errors
    /// [`StoreError::InUse`] by another process; [`StoreError::Foreign`] when it is another node's;
    /// [`StoreError::Incomplete`] and [`StoreError::Mixed`] when its parts were not made together;
    /// [`StoreError::Corrupt`] when sled cannot read its data file, or has less than was acknowledged;
    /// [`StoreError::Outdated`]; [`StoreError::Io`].
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        let directory = Arc::new(Directory::take(path)?);
        let mut parts = Parts::look(&directory, options.identity.as_ref())?;
        let new_id = DirectoryId(options.new_id);
        parts.begin(&directory, options.identity, new_id)?;
        directory.make_sled()?;
        let Opened {
            database,
            failure,
            stored,
        } = opening::open(&directory, &parts, options.cache_bytes)?;
        let seal = stored.unwrap_or(Seal {
            sequence: 0,
            id: parts.id().unwrap_or(new_id),
        });
        if stored.is_none() {
            failure.guard(|| database.flush(seal))?;
        }
        // Data of a killed process may still be in the page cache only; from now on it counts as stored.
        directory.make_durable()?;
        derived::record(&directory, seal.id)?;
        let high_water = HighWater::open(&directory, seal)?;
        parts.finish(&directory)?;
        let flusher = Flusher::start(
            Arc::clone(&directory),
            database.clone(),
            failure.clone(),
            high_water,
            options.flush_max,
        )?;
        Ok(Self(Arc::new(Inner {
            flusher: Some(flusher),
            database: Some(database),
            failure,
            free_min: options.free_min,
            directory,
        })))
    }

    /// Bytes that this process may still use on the disk.
    ///
    /// # Errors
    /// When the filesystem does not say.
    pub fn free_space(&self) -> Result<u64, StoreError> {
        self.0.directory.free_space()
    }

    /// Checks that there is room to take on new commands.
    ///
    /// # Errors
    /// [`LowSpace`] when not. It does not end the engine: it is asked again for every command, and votes, reads and
    /// acknowledged data do not need it.
    pub fn writable(&self) -> Result<(), LowSpace> {
        let (path, needed) = (self.0.directory.path().to_owned(), self.0.free_min);
        match self.free_space() {
            Ok(free) if free >= needed => Ok(()),
            Ok(free) => Err(LowSpace { path, free, needed }),
            Err(_) => Err(LowSpace {
                path,
                free: 0,
                needed,
            }),
        }
    }

    /// Error that ended the engine, if it has failed.
    #[must_use]
    pub fn failure(&self) -> Option<StoreError> {
        self.0.failure.first.get().cloned()
    }

    fn guard<T>(&self, act: impl FnOnce(&Database) -> sled::Result<T>) -> Result<T, StoreError> {
        self.0.failure.guard(|| act(self.0.database()))
    }
}

impl Engine for SledEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.guard(|database| pieces::get(database.tree(space), key))?;
        read.map_err(|what| self.0.failure.torn(space, key, what))
    }

    fn scan(
        &self,
        space: Space,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let read = self.guard(|database| pieces::scan(database.tree(space), after, limit))?;
        read.map_err(|(key, what)| self.0.failure.torn(space, &key, what))
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.guard(|database| database.write(batch))
    }

    fn sync(&self, done: Done) {
        match &self.0.flusher {
            Some(flusher) => flusher.queue(done),
            None => done(Err(StoreError::stopped("the store is closed"))),
        }
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.0.directory.size()
    }

    fn location(&self) -> String {
        self.0.failure.file.to_string()
    }
}

impl Inner {
    fn database(&self) -> &Database {
        self.database.as_ref().expect("only dropping takes it out")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.flusher.take();
        let database = self.database.take();
        // sled flushes when it is dropped and panics when the disk fails then: no acknowledged data is lost by that,
        // and a panic in a drop would end the process.
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::warn!(path = %self.directory.path().display(), "sled could not be closed cleanly");
        }
    }
}
