//! Files of sled's that are derived from its data file: `conf` and `snap.*`.
//!
//! `snap.*` is sled's table of pages as of its last opening. sled believes the last one by name, whatever it is, and
//! *overwrites every segment of `db` that the table does not name*. One of another directory or of another time, each
//! with a right checksum, thus destroys data that it knows nothing of; an empty one, a cut one and a leftover
//! `snap.*.generating` end the opening. So sled is shown only the very files that it left here itself: `DERIVED` names
//! them with their hashes, and with the inode of the `db` that they were made of. All others are set aside.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hessra_files::{Mode, Writers};
use sha2::{Digest as _, Sha256};

use super::directory::{Directory, failed, make, refused};
use super::identity::{checked, with_checksum};
use super::seal::DirectoryId;
use crate::StoreError;

/// sled's file of its settings. They are constants here, and sled writes it anew when it is not there.
pub(super) const SETTINGS: &str = "conf";
const FILE: &str = "DERIVED";
const FORMAT: &str = "hessra derived files, format 1";
const TABLE: &str = "snap.";
/// Digits of the position in the log that a table's name ends with.
const TABLE_DIGITS: usize = 16;
const ASIDE: &str = "set-aside";
/// Files that are kept aside; the oldest go. They are for a look only.
const ASIDE_MAX: usize = 8;
/// Tables that are tried when the data file alone does not give everything.
const TRIED_MAX: usize = 2;

/// Derived files that are in sled's directory.
pub(super) struct Derived {
    files: BTreeMap<OsString, Origin>,
    /// What sled left at the last opening is all there, and nothing that it would believe instead.
    is_proven: bool,
}

/// Writer of a derived file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// sled, in this directory, at the last opening.
    Own,
    /// Anybody.
    Unknown,
}

/// File that was set aside.
pub(super) struct Aside {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
}

struct Recorded {
    inode: u64,
    files: BTreeMap<OsString, String>,
}

impl Derived {
    /// Looks at the files, and compares them with what sled left here.
    pub(super) fn look(directory: &Directory, id: Option<DirectoryId>) -> Result<Self, StoreError> {
        let recorded = id.and_then(|id| Recorded::read(directory, id));
        let names = names(directory)?;
        let origin = |name: OsString| {
            let hash = recorded
                .as_ref()
                .and_then(|recorded| recorded.files.get(&name));
            // One that cannot be read is not needed: that it is not as it was is all there is to know.
            let is_own = hash
                .is_some_and(|hash| file_hash(directory, &name).is_ok_and(|found| found == *hash));
            let origin = if is_own { Origin::Own } else { Origin::Unknown };
            (name, origin)
        };
        let files: BTreeMap<OsString, Origin> = names.into_iter().map(origin).collect();
        let is_proven = recorded.is_some_and(|recorded| {
            inode(directory).is_ok_and(|inode| inode == recorded.inode) && recorded.proves(&files)
        });
        Ok(Self { files, is_proven })
    }

    /// True when sled may be shown its own files, and would believe no others.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Files that sled left here itself.
    pub(super) fn own(&self) -> Vec<OsString> {
        let own = self
            .files
            .iter()
            .filter(|(_, origin)| **origin == Origin::Own);
        own.map(|(name, _)| name.clone()).collect()
    }

    /// What to keep, in the order in which it is to be tried: no table first, because then the data file alone decides;
    /// after that the newest tables.
    pub(super) fn candidates(&self) -> Vec<Vec<OsString>> {
        let settings = self.own().into_iter().find(|name| name == SETTINGS);
        let tables = self.files.keys().rev().filter(|name| is_table(name));
        let tables = tables.take(TRIED_MAX).map(Some);
        let kept = |table: Option<&OsString>| settings.iter().chain(table).cloned().collect();
        [None].into_iter().chain(tables).map(kept).collect()
    }

    /// Sets aside all files but those to be kept, durably.
    pub(super) fn set_aside(
        &self,
        directory: &Directory,
        kept: &[OsString],
    ) -> Result<Vec<Aside>, StoreError> {
        let stray = self.files.keys().filter(|name| !kept.contains(name));
        let moved = stray
            .map(|name| set_aside(directory, name))
            .collect::<Result<Vec<Aside>, StoreError>>()?;
        if !moved.is_empty() {
            for changed in [directory.path().join(ASIDE), directory.sled_path()] {
                hessra_files::sync(&changed).map_err(refused)?;
            }
        }
        Ok(moved)
    }
}

impl Recorded {
    /// Reads the record. One that is not whole, or of another directory, proves nothing.
    fn read(directory: &Directory, id: DirectoryId) -> Option<Self> {
        let text = fs::read_to_string(directory.path().join(FILE)).ok()?;
        let mut lines = checked(&text)?.lines();
        (lines.next()? == FORMAT).then_some(())?;
        let stored = lines.next()?.strip_prefix("directory ")?;
        (DirectoryId::from_text(stored)? == id).then_some(())?;
        let inode = lines.next()?.strip_prefix("inode ")?.parse().ok()?;
        let file = |line: &str| {
            let (hash, name) = line.split_once(' ')?;
            Some((OsString::from(name), hash.to_owned()))
        };
        let files = lines.map(file).collect::<Option<_>>()?;
        Some(Self { inode, files })
    }

    fn proves(&self, files: &BTreeMap<OsString, Origin>) -> bool {
        let own = |name: &OsString| files.get(name) == Some(&Origin::Own);
        let tables: Vec<&OsString> = self.files.keys().filter(|name| is_table(name)).collect();
        let newer = |name: &&OsString| is_table(name) && Some(name) > tables.iter().max();
        // A newer one that nobody recorded may be of an opening that a crash ended, after which an older one is a risk.
        tables.iter().all(|name| own(name)) && !files.keys().any(|name| newer(&name))
    }
}

/// Records what sled has left in its directory, which must be durable.
pub(super) fn record(directory: &Directory, id: DirectoryId) -> Result<(), StoreError> {
    let failed_on = |name: &str, error| failed("read", &directory.sled_path().join(name), error);
    let inode = inode(directory).map_err(|error| failed("read", &directory.data_path(), error))?;
    let mut text = format!("{FORMAT}\ndirectory {id}\ninode {inode}\n");
    for name in names(directory)? {
        // sled's own names are plain; another one stays unknown.
        if let Some(name) = name
            .to_str()
            .filter(|name| *name == SETTINGS || is_table(OsStr::new(name)))
        {
            let hash =
                file_hash(directory, OsStr::new(name)).map_err(|error| failed_on(name, error))?;
            text.push_str(&format!("{hash} {name}\n"));
        }
    }
    hessra_files::replace(
        &directory.path().join(FILE),
        with_checksum(&text).as_bytes(),
        Mode::Private,
        Writers::One,
    )
    .map_err(refused)
}

/// True when there is a record, whatever it says.
pub(super) fn is_recorded(directory: &Directory) -> bool {
    directory.path().join(FILE).exists()
}

/// Names of the derived files. sled reads every file as a table whose name begins like one.
fn names(directory: &Directory) -> Result<Vec<OsString>, StoreError> {
    let sled = directory.sled_path();
    let entries = fs::read_dir(&sled).map_err(|error| failed("read", &sled, error))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(|error| failed("read", &sled, error))?
            .file_name();
        if name == SETTINGS || name.to_string_lossy().starts_with(TABLE) {
            names.push(name);
        }
    }
    Ok(names)
}

/// True for the name of a finished table.
fn is_table(name: &OsStr) -> bool {
    let position = name.to_str().and_then(|name| name.strip_prefix(TABLE));
    position.is_some_and(|position| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        position.len() == TABLE_DIGITS && position.bytes().all(is_digit)
    })
}

fn inode(directory: &Directory) -> std::io::Result<u64> {
    fs::metadata(directory.data_path()).map(|metadata| metadata.ino())
}

fn file_hash(directory: &Directory, name: &OsStr) -> std::io::Result<String> {
    let bytes = fs::read(directory.sled_path().join(name))?;
    let hash = Sha256::digest(bytes);
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn set_aside(directory: &Directory, name: &OsStr) -> Result<Aside, StoreError> {
    let folder = directory.path().join(ASIDE);
    make(&folder)?;
    let mut kept = numbered(&folder)?;
    let number = kept.last_key_value().map_or(1, |(number, _)| number + 1);
    while kept.len() >= ASIDE_MAX {
        let Some((_, oldest)) = kept.pop_first() else {
            break;
        };
        let removed = if oldest.is_dir() {
            fs::remove_dir_all(&oldest)
        } else {
            fs::remove_file(&oldest)
        };
        removed.map_err(|error| failed("remove", &oldest, error))?;
    }
    let mut target = name.to_owned();
    target.push(format!(".{number}"));
    let (from, to) = (directory.sled_path().join(name), folder.join(target));
    fs::rename(&from, &to).map_err(|error| failed("set aside", &from, error))?;
    Ok(Aside { from, to })
}

/// Files that are aside, by the numbers with which their names end.
fn numbered(folder: &Path) -> Result<BTreeMap<u64, PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(|error| failed("read", folder, error))?;
    let mut numbered = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| failed("read", folder, error))?.path();
        let number = path
            .extension()
            .and_then(|number| number.to_str()?.parse().ok());
        if let Some(number) = number {
            numbered.insert(number, path);
        }
    }
    Ok(numbered)
}
