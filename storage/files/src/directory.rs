//! Private directories whose names survive a power loss.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use crate::{FileError, failed, parent};

/// Mode of a private directory: for the owner alone.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// Makes a directory of mode 0700 and those above it that are missing. The name of each new one is durable in its
/// parent. A directory that is there stays as it is; see [`close_to_others`].
///
/// # Errors
/// `make`, with the path that was asked for: the system refused one of them, or something else has the name.
/// `sync`: a parent could not be synced.
pub fn make_private_directory(path: &Path) -> Result<(), FileError> {
    // The empty path means here.
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|part| !part.as_os_str().is_empty() && !part.exists())
        .collect();
    for directory in missing.into_iter().rev().chain([path]) {
        make_one(directory).map_err(failed("make", path))?;
        sync(parent(directory))?;
    }
    Ok(())
}

fn make_one(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(PRIVATE_DIRECTORY).create(path) {
        // Another process was faster.
        Err(_) if path.is_dir() => Ok(()),
        made => made,
    }
}

/// Closes a directory to everybody but its owner: mode 0700.
///
/// # Errors
/// `make private`: the system refused, for example because somebody else owns it.
pub fn close_to_others(directory: &Path) -> Result<(), FileError> {
    let permissions = Permissions::from_mode(PRIVATE_DIRECTORY);
    fs::set_permissions(directory, permissions).map_err(failed("make private", directory))
}

/// Fsyncs a file, or a directory: the names of the files that were made, renamed or deleted in it.
///
/// # Errors
/// `sync`: it cannot be opened or synced.
pub fn sync(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(failed("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn every_directory_that_was_missing_is_private() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        make_private_directory(&deep).unwrap();
        make_private_directory(&deep).unwrap();
        make_private_directory(Path::new("")).unwrap();
        for part in ["a", "a/b", "a/b/c"] {
            assert_eq!(mode(&root.path().join(part)), 0o700, "{part}");
        }
    }

    #[test]
    fn a_directory_that_is_there_keeps_its_mode_until_it_is_closed() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("open");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        make_private_directory(&directory).unwrap();
        assert_eq!(mode(&directory), 0o755);
        close_to_others(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
    }

    #[test]
    fn a_file_in_the_way_is_an_error_that_names_the_path_asked_for() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        for (path, kind) in [
            ("file", io::ErrorKind::AlreadyExists),
            ("file/below/it", io::ErrorKind::NotADirectory),
        ] {
            let path = root.path().join(path);
            let error = make_private_directory(&path).unwrap_err();
            assert_eq!((error.action, &error.path), ("make", &path));
            assert_eq!(error.source.kind(), kind, "{}", path.display());
        }
    }

    #[test]
    fn what_is_not_there_cannot_be_synced_or_closed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("gone");
        assert_eq!(sync(&path).unwrap_err().action, "sync");
        assert_eq!(close_to_others(&path).unwrap_err().action, "make private");
    }
}
