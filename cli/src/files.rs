//! Files that the command line owns: whole or not at all, and private to the user.
//!
//! Folders are made with mode 0700 and files with 0600, independent of the umask. A crash while a file is replaced
//! leaves the old one or the new one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hessra_files::{FileError, Mode, Writers};

use crate::failure::{CommandError, Outcome};

/// Longest file that is read: tokens have at most 16 KiB, certificate bundles may be long.
const BYTES_MAX: u64 = 1024 * 1024;

/// Reads a text file of bounded size.
pub(crate) fn read_text(path: &Path) -> Outcome<String> {
    let bytes = read(path)?;
    String::from_utf8(bytes).map_err(|_| {
        CommandError::usage(format!("{} is not text", path.display()))
            .hint("Check that it is the right file.")
    })
}

/// Reads a file of bounded size.
pub(crate) fn read(path: &Path) -> Outcome<Vec<u8>> {
    let file = File::open(path).map_err(|error| CommandError::file("read", path, &error))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CommandError::file("read", path, &error))?;
    let too_long = u64::try_from(bytes.len()).unwrap_or(u64::MAX) > BYTES_MAX;
    if too_long {
        let message = format!("{} is longer than {BYTES_MAX} bytes", path.display());
        Err(CommandError::usage(message).hint("Check that it is the right file."))
    } else {
        Ok(bytes)
    }
}

/// Reads a text file that need not exist.
pub(crate) fn read_text_if_there(path: &Path) -> Outcome<Option<String>> {
    if path.exists() {
        read_text(path).map(Some)
    } else {
        Ok(None)
    }
}

/// Folders in a folder, sorted; none when it is not there.
pub(crate) fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// Writes a private file and the folders above it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Outcome {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    make_private_folder(folder)?;
    // Two commands may write the same file, such as the configuration.
    hessra_files::replace(path, bytes, Mode::Private, Writers::Several)
        .map_err(|FileError { source, .. }| CommandError::file("write", path, &source))
}

/// Makes a private folder and those above it that are missing.
pub(crate) fn make_private_folder(folder: &Path) -> Outcome {
    hessra_files::make_private_directory(folder)
        .map_err(|FileError { source, .. }| CommandError::file("make the folder", folder, &source))
}
