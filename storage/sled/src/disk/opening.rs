//! Opening of sled, so that a file that is only derived never costs data.
//!
//! ```text
//! DERIVED proves sled's files ─────────────────────────▶ open in place
//! otherwise: copy `db` to rehearsal/, open the copy      ▲
//!   without any table, then with the newest ones ────────┘ with what gave the most; the rest is set aside
//!   and no copy gave everything ───▶ error that names `db`, which is as it was
//! ```
//! **Why a copy.** sled repairs as it opens: it cuts off what it takes for a torn end, and overwrites segments that it
//! takes for free. What it does with a table that is wrong, or without the one that it needs, cannot be undone by a
//! second attempt. On a copy any number of attempts is harmless.
//!
//! **What proves that nothing is missing.** The flush number against `MARK`, the directory's id, and that every page can
//! be read. A table that was used is byte for byte sled's own, or was not needed: what is then in the pages follows from
//! `db` alone, and the walk of the whole store (`Store::open`) checks that as ever. So the attempts need not know of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::database::{Database, decode_stored};
use super::derived::{Aside, Derived};
use super::directory::{DATA_FILE, Directory, failed, make, refused};
use super::first_error::FirstError;
use super::parts::Parts;
use super::seal::Seal;
use crate::StoreError;

const REHEARSAL: &str = "rehearsal";
const BLOBS: &str = "blobs";

/// sled, open and checked against the other parts.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) failure: FirstError,
    /// Last flush that it has; none when it is new.
    pub(super) stored: Option<Seal>,
}

/// Opens sled in the directory.
///
/// # Errors
/// [`StoreError::Corrupt`] naming the data file, when it does not have everything whatever derived files are there;
/// those of [`Parts::check`]; [`StoreError::Io`].
pub(super) fn open(
    directory: &Directory,
    parts: &Parts,
    cache_bytes: u64,
) -> Result<Opened, StoreError> {
    clear_rehearsal(directory)?;
    let derived = Derived::look(directory, parts.id())?;
    let kept = if derived.is_proven() {
        derived.own()
    } else if parts.has_data() {
        rehearsed(directory, parts, &derived, cache_bytes)?
    } else {
        Vec::new()
    };
    let moved = derived.set_aside(directory, &kept)?;
    let opened = open_at(directory, &directory.sled_path(), parts, cache_bytes);
    moved.iter().for_each(|aside| tell(aside, opened.is_ok()));
    opened
}

fn tell(aside: &Aside, is_whole: bool) {
    let (file, now) = (aside.from.display(), aside.to.display());
    if is_whole {
        tracing::warn!(
            %file, set_aside = %now,
            "a derived file of sled is not what this node left beside this data file, and was set aside. What it says was \
             made again from the data file `db`: nothing is lost by that"
        );
    } else {
        tracing::warn!(%file, set_aside = %now, "a derived file of sled is not what this node left beside this data file, and was set aside");
    }
}

/// Finds out, on copies, with which derived files sled has everything.
fn rehearsed(
    directory: &Directory,
    parts: &Parts,
    derived: &Derived,
    cache_bytes: u64,
) -> Result<Vec<OsString>, StoreError> {
    tracing::info!(
        directory = %directory.path().display(),
        "sled's derived files are not those that this node left: its data file is tried on a copy first"
    );
    let (mut best, mut first): (Option<(u64, Vec<OsString>)>, _) = (None, None);
    for (number, kept) in (0..).zip(derived.candidates()) {
        let copy = directory.path().join(REHEARSAL).join(number.to_string());
        copy_data(directory, &copy)?;
        if !copy_derived(directory, &copy, &kept)? {
            continue;
        }
        let reached = reached_at(directory, &copy, parts, cache_bytes);
        clear_rehearsal(directory)?;
        match reached {
            // `MARK` may be a second old after a power cut: what gives more is right.
            Ok(reached) if best.as_ref().is_none_or(|(most, _)| reached > *most) => {
                best = Some((reached, kept));
            }
            Ok(_) => {}
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Io { .. }))
                if !error.is_full() =>
            {
                first.get_or_insert(error);
            }
            // Parts that do not belong together, and formats, are the same whatever tables are there.
            Err(other) => return Err(other),
        }
    }
    match (best, first) {
        (Some((_, kept)), _) => Ok(kept),
        (None, Some(error)) => Err(error),
        // Its own settings could be read a moment ago: the disk is what fails.
        (None, None) => Err(StoreError::stopped(format!(
            "the derived files in {} cannot be read",
            directory.sled_path().display()
        ))),
    }
}

/// Number of the last flush that sled has in a copy, every page of which can be read; 0 for a new one.
fn reached_at(
    directory: &Directory,
    copy: &Path,
    parts: &Parts,
    cache_bytes: u64,
) -> Result<u64, StoreError> {
    let opened = open_at(directory, copy, parts, cache_bytes)?;
    opened.failure.guard(|| opened.database.read_all())?;
    Ok(opened.stored.map_or(0, |seal| seal.sequence))
}

/// Opens sled at `path`, which is the directory's own or a copy. Errors name the directory's own data file.
fn open_at(
    directory: &Directory,
    path: &Path,
    parts: &Parts,
    cache_bytes: u64,
) -> Result<Opened, StoreError> {
    let failure = FirstError::of(directory.data_path().display().to_string());
    let database = failure.guard(|| Database::open(path, cache_bytes))?;
    let stored = failure.guard(|| database.stored())?;
    let stored = decode_stored(stored, &failure)?;
    parts.check(directory, stored)?;
    Ok(Opened {
        database,
        failure,
        stored,
    })
}

fn copy_data(directory: &Directory, to: &Path) -> Result<(), StoreError> {
    make(to)?;
    make(&to.join(BLOBS))?;
    let mut files = blobs(&directory.sled_path())?;
    files.push(DATA_FILE.into());
    files.iter().try_for_each(|file| copy(directory, to, file))
}

/// Copies derived files; false when one of them cannot be read. It is then not needed either.
fn copy_derived(directory: &Directory, to: &Path, names: &[OsString]) -> Result<bool, StoreError> {
    for name in names {
        match copy(directory, to, Path::new(name)) {
            Ok(()) => {}
            Err(error) if error.is_full() => return Err(error),
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

fn copy(directory: &Directory, to: &Path, file: &Path) -> Result<(), StoreError> {
    let from = directory.sled_path().join(file);
    let copied = fs::copy(&from, to.join(file));
    copied
        .map(drop)
        .map_err(|error| failed("copy", &from, error))
}

fn blobs(sled: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let folder = sled.join(BLOBS);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&folder).map_err(|error| failed("read", &folder, error))?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.map_err(|error| failed("read", &folder, error))?;
        Ok(Path::new(BLOBS).join(entry.file_name()))
    };
    entries.map(name).collect()
}

/// Removes copies, also those of a process that was killed.
fn clear_rehearsal(directory: &Directory) -> Result<(), StoreError> {
    let folder = directory.path().join(REHEARSAL);
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(&folder).map_err(|error| failed("remove", &folder, error))?;
    hessra_files::sync(directory.path()).map_err(refused)
}
