//! A file's bytes change in one step: the new ones are written aside and synced, renamed over the old ones, and the
//! directory is synced. A crash at any instant leaves the old file or the new one.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::{FileError, failed, parent, sync};

/// Permission bits of a file that is written, as far as the umask lets them be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 0600: for the owner alone.
    Private,
    /// 0644: everybody may read it, such as a certificate.
    Readable,
}

impl Mode {
    fn bits(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Readable => 0o644,
        }
    }
}

/// Number of processes that may replace one file at the same time. Decides the name of the file aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One, which holds a lock. The file aside is `NAME.new`: what a crash left of it goes with the next replacement.
    One,
    /// Several: each has a file aside of its own, with its process id in the name, and the last rename wins.
    Several,
}

/// Replaces a file, or makes it, durably and in one step. A process that has the old file open keeps reading the old
/// bytes.
///
/// # Errors
/// `write`, with the file aside or the file itself: the old file stands, and nothing is left beside it. `sync`, with the
/// directory: the new file is there, but a power loss may bring the old one back.
pub fn replace(path: &Path, bytes: &[u8], mode: Mode, writers: Writers) -> Result<(), FileError> {
    let aside = aside(path, writers);
    // A leftover of a crash may have another mode, and is not written into: another process may have it open.
    let _ = fs::remove_file(&aside);
    write_new(&aside, bytes, mode)?;
    fs::rename(&aside, path).map_err(|error| {
        let _ = fs::remove_file(&aside);
        failed("write", path)(error)
    })?;
    sync(parent(path))
}

/// Makes a file that must not be there yet, durably. A crash may leave a part of it.
///
/// # Errors
/// `write`, of kind [`std::io::ErrorKind::AlreadyExists`]: it is there, and stays as it is. `write`, of another kind:
/// nothing is left of it. `sync`, with the directory: a power loss may take it away.
pub fn create(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), FileError> {
    write_new(path, bytes, mode)?;
    sync(parent(path))
}

fn aside(path: &Path, writers: Writers) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    if writers == Writers::Several {
        name.push(format!(".{}", std::process::id()));
    }
    name.push(".new");
    path.with_file_name(name)
}

fn write_new(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), FileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode.bits())
        .open(path)
        .map_err(failed("write", path))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        failed("write", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| name(entry.unwrap()))
            .collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_replaced_file_has_the_new_bytes_the_mode_and_nothing_beside_it() {
        for writers in [Writers::One, Writers::Several] {
            for (wanted, bits) in [(Mode::Private, 0o600), (Mode::Readable, 0o644)] {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("file.toml");
                fs::write(&path, "an old and longer text").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
                replace(&path, b"new", wanted, writers).unwrap();
                assert_eq!(fs::read(&path).unwrap(), b"new");
                // The umask may take away, and the old file's mode does not come back.
                assert_eq!(mode(&path) & !bits, 0, "{wanted:?}");
                assert_eq!(mode(&path) & 0o600, 0o600, "{wanted:?}");
                assert_eq!(names(folder.path()), ["file.toml"]);
            }
        }
    }

    #[test]
    fn a_reader_of_the_old_file_keeps_the_old_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old", Mode::Private, Writers::One).unwrap();
        let mut reader = fs::File::open(&path).unwrap();
        replace(&path, b"new", Mode::Private, Writers::One).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(
            (text.as_str(), fs::read(&path).unwrap().as_slice()),
            ("old", &b"new"[..])
        );
    }

    #[test]
    fn what_a_crash_left_aside_is_neither_kept_nor_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let aside = aside(&path, Writers::One);
        fs::write(&aside, "half of a longer secret").unwrap();
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o666)).unwrap();
        replace(&path, b"whole", Mode::Private, Writers::One).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(names(folder.path()), ["secret"]);
    }

    #[test]
    fn a_link_aside_does_not_lead_the_bytes_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("file"), folder.path().join("elsewhere"));
        std::os::unix::fs::symlink(&elsewhere, aside(&path, Writers::One)).unwrap();
        replace(&path, b"secret", Mode::Private, Writers::One).unwrap();
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_thing_and_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        for writers in [Writers::One, Writers::Several] {
            let error = replace(&path, b"new", Mode::Private, writers).unwrap_err();
            assert_eq!((error.action, &error.path), ("write", &path));
            assert_eq!(names(folder.path()), ["taken"]);
        }
    }

    #[test]
    fn a_file_in_a_directory_that_is_not_there_names_what_could_not_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/file");
        let error = replace(&path, b"", Mode::Private, Writers::One).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::NotFound);
        assert!(error.to_string().starts_with("cannot write `"), "{error}");
    }

    #[test]
    fn several_writers_leave_one_whole_file() {
        assert_ne!(
            aside(Path::new("f"), Writers::Several),
            aside(Path::new("f"), Writers::One)
        );
        assert_eq!(
            aside(Path::new("a/f.toml"), Writers::One),
            Path::new("a/f.toml.new")
        );
    }

    #[test]
    fn a_file_that_is_there_is_not_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, b"first", Mode::Private).unwrap();
        let error = create(&path, b"second", Mode::Private).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(mode(&path), 0o600);
    }
}
