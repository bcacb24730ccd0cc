//! High-water mark `MARK`: the number of the last acknowledged flush, outside of sled.
//!
//! Two slots, each a [`Seal`], a page apart and written in turn, so that a torn write leaves the other one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use super::directory::{Directory, PRIVATE_FILE};
use super::seal::{self, DirectoryId, Seal, Unsealed};
use crate::StoreError;

/// The file's name.
pub(super) const FILE: &str = "MARK";
const SLOT_DISTANCE: u64 = 4096;
/// Time between fsyncs of the mark: a power cut may make it forget so much.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Mark that is open for writing.
pub(super) struct HighWater {
    file: File,
    path: String,
    id: DirectoryId,
    sequence: u64,
    synced_at: Instant,
    is_dirty: bool,
}

impl HighWater {
    /// Opens the mark, or makes it, and writes the last flush that sled has.
    pub(super) fn open(directory: &Directory, stored: Seal) -> Result<Self, StoreError> {
        let path = directory.path().join(FILE);
        let text = path.display().to_string();
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(PRIVATE_FILE)
            .open(&path);
        let file = opened.map_err(|error| StoreError::io("open", &text, error))?;
        let mut mark = Self {
            file,
            path: text,
            id: stored.id,
            sequence: stored.sequence,
            synced_at: Instant::now(),
            is_dirty: false,
        };
        mark.write(stored.sequence)?;
        mark.sync()?;
        directory.sync()?;
        Ok(mark)
    }

    /// Seal of the next flush.
    pub(super) fn next(&self) -> Seal {
        Seal {
            sequence: self.sequence + 1,
            id: self.id,
        }
    }

    /// Notes that a flush is on disk.
    pub(super) fn write(&mut self, sequence: u64) -> Result<(), StoreError> {
        let offset = (sequence % 2) * SLOT_DISTANCE;
        let id = self.id;
        let written = self
            .file
            .write_all_at(&Seal { sequence, id }.encode(), offset);
        written.map_err(|error| StoreError::io("write", &self.path, error))?;
        self.sequence = sequence;
        self.is_dirty = true;
        Ok(())
    }

    /// Fsyncs the mark when its time has come.
    pub(super) fn sync_if_due(&mut self) -> Result<(), StoreError> {
        if self.is_dirty && self.synced_at.elapsed() >= SYNC_INTERVAL {
            self.sync()
        } else {
            Ok(())
        }
    }

    /// Time for which an idle flusher may sleep; `None` = without end.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.is_dirty
            .then(|| SYNC_INTERVAL.saturating_sub(self.synced_at.elapsed()))
    }

    /// Fsyncs the mark now.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|error| StoreError::io("sync", &self.path, error))?;
        self.synced_at = Instant::now();
        self.is_dirty = false;
        Ok(())
    }
}

/// Reads the last flush that was acknowledged, if there is a mark. An empty file is one that a crash left before the
/// first mark: none, where `may_be_empty`.
///
/// # Errors
/// [`StoreError::Corrupt`], [`StoreError::Outdated`], [`StoreError::Io`].
pub(super) fn read(directory: &Directory, may_be_empty: bool) -> Result<Option<Seal>, StoreError> {
    let path = directory.path().join(FILE);
    let text = path.display().to_string();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", text, error)),
    };
    let bytes = file.metadata().map(|metadata| metadata.len());
    let bytes = bytes.map_err(|error| StoreError::io("read", &text, error))?;
    if bytes == 0 && may_be_empty {
        return Ok(None);
    }
    let slots = [0, SLOT_DISTANCE].map(|offset| read_slot(&file, offset));
    let newest = slots.iter().flatten().max_by_key(|seal| seal.sequence);
    match newest {
        Some(seal) => Ok(Some(*seal)),
        None if slots.contains(&Err(Unsealed::Outdated)) => Err(StoreError::Outdated {
            file: text,
            what: "mark".to_owned(),
        }),
        None => Err(StoreError::corrupt(
            text,
            "mark",
            "its checksums do not match",
        )),
    }
}

fn read_slot(file: &File, offset: u64) -> Result<Seal, Unsealed> {
    let mut slot = [0; seal::BYTES];
    // A slot that the file is too short for stays zero, which is no seal.
    let mut have = 0;
    while have < slot.len() {
        match file.read_at(&mut slot[have..], offset + have as u64) {
            Ok(0) | Err(_) => break,
            Ok(more) => have += more,
        }
    }
    Seal::decode(&slot)
}
