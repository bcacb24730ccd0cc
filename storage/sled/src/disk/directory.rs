//! Data directory: made durably, private, and taken by one process.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hessra_files::FileError;

use crate::StoreError;

/// sled's own name of its data file.
pub(super) const DATA_FILE: &str = "db";
/// Mode of files: only the node's user may read, because the directory holds sealed keys and names of people.
pub(super) const PRIVATE_FILE: u32 = 0o600;
const LOCK: &str = "LOCK";
const SLED: &str = "sled";

/// Directory that this process holds.
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is not there, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        make(path)?;
        let lock = lock(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn sled_path(&self) -> PathBuf {
        self.path.join(SLED)
    }

    /// sled's data file.
    pub(super) fn data_path(&self) -> PathBuf {
        self.sled_path().join(DATA_FILE)
    }

    /// Makes sled's directory, if it is not there.
    pub(super) fn make_sled(&self) -> Result<(), StoreError> {
        make(&self.sled_path())
    }

    /// Fsyncs the directory itself: names of files that were made in it.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        hessra_files::sync(&self.path).map_err(refused)
    }

    /// Makes all present files durable and private.
    pub(super) fn make_durable(&self) -> Result<(), StoreError> {
        let sled = self.sled_path();
        for entry in fs::read_dir(&sled).map_err(|error| failed("read", &sled, error))? {
            let path = entry.map_err(|error| failed("read", &sled, error))?.path();
            if path.is_dir() {
                hessra_files::close_to_others(&path).map_err(refused)?;
            } else {
                let set = fs::set_permissions(&path, Permissions::from_mode(PRIVATE_FILE));
                set.map_err(|error| failed("make private", &path, error))?;
            }
            hessra_files::sync(&path).map_err(refused)?;
        }
        hessra_files::sync(&sled).map_err(refused)?;
        self.sync()
    }

    /// Number of bytes that all files take.
    pub(super) fn size(&self) -> Result<u64, StoreError> {
        size_below(&self.path).map_err(|error| failed("measure", &self.path, error))
    }

    /// Number of bytes that this process may still use.
    pub(super) fn free_space(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|error| failed("measure", &self.path, error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Makes a directory, its name in its parent durable, and closes it to others.
pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    hessra_files::make_private_directory(path)
        .and_then(|()| hessra_files::close_to_others(path))
        .map_err(refused)
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK);
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(PRIVATE_FILE)
        .open(&path);
    let mut file = opened.map_err(|error| failed("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(directory, file)),
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path, error)),
    }
    let pid = std::process::id().to_string();
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(pid.as_bytes()));
    written.map_err(|error| failed("write", &path, error))?;
    Ok(file)
}

fn in_use(directory: &Path, mut file: File) -> StoreError {
    let mut process = String::new();
    // Any part that can be read helps the message; the refusal stands without it.
    let _ = file.read_to_string(&mut process);
    if process.is_empty() {
        process = "unknown".to_owned();
    }
    StoreError::InUse {
        path: directory.to_owned(),
        process,
    }
}

fn size_below(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        // 512: st_blocks is in these units whatever the filesystem's blocks are (stat(2)).
        bytes += if metadata.is_dir() {
            size_below(&entry.path())?
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(bytes)
}

pub(super) fn failed(action: &'static str, path: &Path, error: io::Error) -> StoreError {
    StoreError::io(action, path.display().to_string(), error)
}

pub(super) fn refused(error: FileError) -> StoreError {
    failed(error.action, &error.path, error.source)
}
