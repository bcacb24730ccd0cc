//! High-water mark `MARK`: the number of the last acknowledged flush, outside of sled.
//!
//! Two slots, a page apart and written in turn, so that a torn write leaves the other one: `number u64 big-endian ·
//! checksum 16`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::directory::{DATA_FILE, Directory, PRIVATE_FILE};
use crate::StoreError;

const FILE: &str = "MARK";
const SLOT_DISTANCE: u64 = 4096;
const SLOT_BYTES: usize = 24;
/// Time between fsyncs of the mark: a power cut may make it forget so much.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Mark that is open for writing.
pub(super) struct HighWater {
    file: File,
    path: String,
    sequence: u64,
    synced_at: Instant,
    is_dirty: bool,
}

impl HighWater {
    /// Compares the mark with `stored`, the number of the last flush that sled still has; makes the mark when the
    /// directory is new.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when sled has less than was acknowledged, or the mark is gone or unreadable.
    pub(super) fn open(directory: &Directory, stored: u64) -> Result<Self, StoreError> {
        let path = directory.path().join(FILE);
        let text = path.display().to_string();
        let is_new = !path.exists();
        if is_new && stored > 0 {
            return Err(StoreError::corrupt(text, "mark", "the file is gone"));
        }
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
            sequence: stored,
            synced_at: Instant::now(),
            is_dirty: false,
        };
        if !is_new {
            mark.check(directory, stored)?;
        }
        mark.write(stored)?;
        mark.sync()?;
        directory.sync()?;
        Ok(mark)
    }

    fn check(&self, directory: &Directory, stored: u64) -> Result<(), StoreError> {
        let slots = [0, SLOT_DISTANCE].map(|offset| self.read(offset));
        let marked = slots.into_iter().flatten().max();
        let Some(marked) = marked.or((self.is_empty()? && stored == 0).then_some(0)) else {
            return Err(StoreError::corrupt(
                &self.path,
                "mark",
                "its checksums do not match",
            ));
        };
        if stored >= marked {
            return Ok(());
        }
        let what = format!(
            "sled has what was written up to flush {stored}, but flush {marked} was acknowledged: the end of its file is damaged"
        );
        Err(StoreError::corrupt(
            directory.sled_path().join(DATA_FILE).display().to_string(),
            "sequence",
            what,
        ))
    }

    /// True when a crash came between making the file and its first mark.
    fn is_empty(&self) -> Result<bool, StoreError> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| StoreError::io("read", &self.path, error))?;
        Ok(metadata.len() == 0)
    }

    fn read(&self, offset: u64) -> Option<u64> {
        let mut slot = [0; SLOT_BYTES];
        self.file.read_exact_at(&mut slot, offset).ok()?;
        opened(&slot)
    }

    /// Number of the next flush.
    pub(super) fn next(&self) -> u64 {
        self.sequence + 1
    }

    /// Notes that a flush is on disk.
    pub(super) fn write(&mut self, sequence: u64) -> Result<(), StoreError> {
        let offset = (sequence % 2) * SLOT_DISTANCE;
        let written = self.file.write_all_at(&sealed(sequence), offset);
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

/// Encodes a number with its checksum.
pub(super) fn sealed(sequence: u64) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&sequence.to_be_bytes());
    bytes[8..].copy_from_slice(&checksum(sequence));
    bytes
}

/// Decodes a number, if its checksum is right.
pub(super) fn opened(bytes: &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    let sequence = u64::from_be_bytes(*number);
    (rest == checksum(sequence)).then_some(sequence)
}

fn checksum(sequence: u64) -> [u8; 16] {
    let hash = Sha256::new_with_prefix(b"hessra mark\0")
        .chain_update(sequence.to_be_bytes())
        .finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}
