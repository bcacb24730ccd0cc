//! Files that the command line owns: whole or not at all, and nobody else's to read.
//!
//! Folders are made with mode 0700 and files with 0600, whatever the umask says. A file is replaced by writing
//! beside it and renaming, so that a crash leaves the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::failure::{Failure, Outcome};

/// Longest file that is read: tokens have at most 16 KiB, certificate bundles may be long.
const BYTES_MAX: u64 = 1024 * 1024;

/// Reads a text file of bounded size.
pub fn read_text(path: &Path) -> Outcome<String> {
    let bytes = read(path)?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", path.display())))
}

/// Reads a file of bounded size.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file("read", path, &error))?;
    let too_long = u64::try_from(bytes.len()).unwrap_or(u64::MAX) > BYTES_MAX;
    if too_long {
        Err(Failure::usage(format!(
            "{} is longer than {BYTES_MAX} bytes",
            path.display()
        )))
    } else {
        Ok(bytes)
    }
}

/// Reads a text file that need not exist.
pub fn read_text_if_there(path: &Path) -> Outcome<Option<String>> {
    if path.exists() {
        read_text(path).map(Some)
    } else {
        Ok(None)
    }
}

/// Writes a private file and the folders above it.
pub fn write_private(path: &Path, bytes: &[u8]) -> Outcome {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    make_private_folder(folder)?;
    replace(path, folder, bytes).map_err(|error| Failure::file("write", path, &error))
}

/// Makes a private folder and those above it that are missing.
pub fn make_private_folder(folder: &Path) -> Outcome {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Failure::file("make the folder", folder, &error))
}

/// May others than the owner read, write or enter it?
pub fn open_to_others(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

fn replace(path: &Path, folder: &Path, bytes: &[u8]) -> io::Result<()> {
    // The process id keeps two commands apart; a leftover of a crashed one with the same id is in nobody's use.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
