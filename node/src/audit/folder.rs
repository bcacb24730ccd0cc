//! Segments on disk: made, recovered after a crash, turned over, deleted.
//!
//! ```text
//! audit/changes/00000000000000000001.jsonl   named after its first record
//! audit/changes/00000000000000048213.jsonl   the newest: the only one that is written
//! audit/changes/head                         last checkpoint: a chain that does not reach it was cut
//! audit/refusals/…                           the other chain, alike
//! ```
//! Only the user of the node may read them. A crash can leave the last lines cut or as zeros, never acknowledged ones:
//! such a tail is taken away at the next start and a record says so. Any other damage in the newest segment stops the
//! start: continuing would hide it. Of older segments the start reads the ends only, to see that none is missing, and
//! those that the cluster has not witnessed yet; `hessra audit verify` reads all of them.
//!
//! The newest file must be the one that is open here: a record in a file that was moved away, or deleted, is in no audit.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hessra_audit::chain::LINE_BYTES_MAX;
use hessra_audit::{Fault, Head, Known, Line, Marks, Walk};
use hessra_consensus::audit::Recovered as LogRecovered;
use hessra_files::{FileError, Mode, Writers};

const PRIVATE_FILE: u32 = 0o600;
/// Name of the file that holds the last checkpoint.
pub const HEAD: &str = "head";
const EXTENSION: &str = "jsonl";
/// Error of an audit that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FolderError {
    #[error("cannot {action} `{path}`: {source}. Look at its disk and its owner")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "the audit in `{path}` is damaged: {fault}. Keep a copy and look for who changed it. To go on without its records: \
         `hessra audit accept-loss` at a member, then move the folder `audit` away"
    )]
    Damaged { path: PathBuf, fault: Fault },
    #[error(
        "the audit in `{path}` ends at record {found}, but had reached {expected}: its end was taken away. Keep a copy and \
         look for who changed it. To go on without its records: `hessra audit accept-loss` at a member, then move the \
         folder `audit` away"
    )]
    Cut {
        path: PathBuf,
        found: u64,
        expected: u64,
    },
    #[error(
        "the audit in `{path}` has no record {missing}: a file was taken away or put in. Keep a copy and look for who changed \
         it. To go on without its records: `hessra audit accept-loss` at a member, then move the folder `audit` away"
    )]
    Hole { path: PathBuf, missing: u64 },
}

/// One file of records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Number of its first record.
    pub first: u64,
    /// Path of its file.
    pub path: PathBuf,
}

/// The folder, and its newest segment open for writing.
pub(super) struct Folder {
    path: PathBuf,
    newest: Option<Newest>,
    length: u64,
    /// First records of the segments that must be there.
    segments: BTreeSet<u64>,
}

/// The segment that is written, and which file it is.
struct Newest {
    file: File,
    path: PathBuf,
    identity: (u64, u64),
}

impl Newest {
    fn new(file: File, path: PathBuf) -> io::Result<Self> {
        let identity = identity(&file.metadata()?);
        Ok(Self {
            file,
            path,
            identity,
        })
    }
}

/// Device and inode: which file it is, whatever its name.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The chain as its newest segment has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    pub(super) head: Option<Head>,
    /// Progress of the replicated log in the chain.
    pub(super) log: LogRecovered,
    pub(super) marks: Marks,
    /// Bytes of cut lines that were taken away.
    pub(super) dropped: u64,
}

/// Segments of a folder, oldest first. Anything else in it is left alone.
///
/// # Errors
/// The folder cannot be read.
pub fn segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = fs::read_dir(folder)?
        .filter_map(|entry| segment(&entry.ok()?.path()))
        .collect();
    segments.sort();
    Ok(segments)
}

fn segment(path: &Path) -> Option<Segment> {
    let name = path.file_stem()?.to_str()?;
    let is_one = path.extension()? == EXTENSION && name.len() == 20;
    let first = name.parse().ok().filter(|_| is_one)?;
    Some(Segment {
        first,
        path: path.to_owned(),
    })
}

/// The head that the folder says the chain had reached; `None` when it says nothing.
#[must_use]
pub fn known_head(folder: &Path) -> Option<Head> {
    let text = fs::read_to_string(folder.join(HEAD)).ok()?;
    let (seq, hash) = text.trim_end().split_once(' ')?;
    let hash = data_encoding::HEXLOWER.decode(hash.as_bytes()).ok()?;
    Some(Head {
        seq: seq.parse().ok()?,
        hash: hash.try_into().ok()?,
    })
}

impl Folder {
    /// Makes the folder if it is not there, and reads its newest segment.
    pub(super) fn open(path: &Path) -> Result<(Self, Recovered), FolderError> {
        hessra_files::make_private_directory(path)
            .and_then(|()| hessra_files::close_to_others(path))
            .map_err(|FileError { source, .. }| failed("make", path, source))?;
        let mut folder = Self {
            path: path.to_owned(),
            newest: None,
            length: 0,
            segments: BTreeSet::new(),
        };
        let mut recovered = Recovered::default();
        let found = segments(path).map_err(|source| failed("read", path, source))?;
        for segment in found.iter().rev() {
            recovered = folder.recover(segment, recovered.dropped)?;
            if recovered.head.is_some() {
                break;
            }
            // A crash came between making the segment and its first record: the one before it is the newest.
            fs::remove_file(&segment.path)
                .map_err(|source| failed("remove", &segment.path, source))?;
            folder.newest = None;
        }
        folder.check_reaches(&recovered)?;
        let found = segments(path).map_err(|source| failed("read", path, source))?;
        folder.check_whole(&found, &recovered)?;
        folder.segments = found.iter().map(|segment| segment.first).collect();
        Ok((folder, recovered))
    }

    fn check_reaches(&self, recovered: &Recovered) -> Result<(), FolderError> {
        let found = recovered.head.map_or(0, |head| head.seq);
        match known_head(&self.path) {
            Some(known) if known.seq > found => Err(FolderError::Cut {
                path: self.path.clone(),
                found,
                expected: known.seq,
            }),
            _ => Ok(()),
        }
    }

    /// Checks that the segments follow each other, from the first that retention has left.
    fn check_whole(&self, found: &[Segment], recovered: &Recovered) -> Result<(), FolderError> {
        let hole = |missing| FolderError::Hole {
            path: self.path.clone(),
            missing,
        };
        let Some(oldest) = found.first() else {
            return Ok(());
        };
        // A crash between the record of a deletion and the deletion leaves more than it says.
        if oldest.first > recovered.marks.pruned + 1 {
            return Err(hole(oldest.first - 1));
        }
        for pair in found.windows(2) {
            let [before, after] = pair else { continue };
            let ends = |source| failed("read", &before.path, source);
            let end = last_head(&before.path).map_err(ends)?;
            let follows = end.is_some_and(|end| end.seq + 1 == after.first);
            if !follows {
                return Err(hole(after.first - 1));
            }
        }
        Ok(())
    }

    fn recover(&mut self, segment: &Segment, dropped: u64) -> Result<Recovered, FolderError> {
        let path = &segment.path;
        let io = |action| move |source| failed(action, path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(io("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        let mut recovered = Recovered::default();
        let good = walk(&bytes, &mut recovered).map_err(|fault| FolderError::Damaged {
            path: path.clone(),
            fault,
        })?;
        recovered.dropped = dropped + (bytes.len() - good) as u64;
        if good < bytes.len() {
            file.set_len(good as u64).map_err(io("shorten"))?;
            file.sync_all().map_err(io("sync"))?;
        }
        self.length = good as u64;
        self.newest = Some(Newest::new(file, path.clone()).map_err(io("look at"))?);
        Ok(recovered)
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// True before the first segment.
    pub(super) fn is_new(&self) -> bool {
        self.newest.is_none()
    }

    /// Checks that the segment that is written is the file at its path, and as long as what was written.
    pub(super) fn check_place(&self) -> Result<(), String> {
        let Some(newest) = &self.newest else {
            return Ok(());
        };
        let path = newest.path.display();
        match fs::symlink_metadata(&newest.path) {
            Ok(there) if identity(&there) == newest.identity => match there.len() {
                length if length == self.length => Ok(()),
                length => Err(format!(
                    "`{path}` has {length} bytes instead of {}: it was changed",
                    self.length
                )),
            },
            Ok(_) => Err(format!("another file is at `{path}`: it was replaced")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("`{path}` is gone: it was deleted or moved"))
            }
            Err(error) => Err(format!("`{path}` cannot be looked at: {error}")),
        }
    }

    /// Checks that no segment was taken away but by retention.
    pub(super) fn check_segments(&self) -> Result<(), String> {
        let path = self.path.display();
        let found = segments(&self.path).map_err(|error| format!("`{path}`: {error}"))?;
        let found: BTreeSet<u64> = found.iter().map(|segment| segment.first).collect();
        match self.segments.difference(&found).next() {
            None => Ok(()),
            Some(first) => Err(format!("the file of record {first} in `{path}` is gone")),
        }
    }

    /// Walks from the segment with this head to the end: the chain must contain it.
    pub(super) fn check_contains(&self, head: &Head) -> Result<(), String> {
        let unreadable = |error: io::Error| format!("`{}`: {error}", self.path.display());
        let found = segments(&self.path).map_err(unreadable)?;
        let known = Known {
            heads: vec![*head],
            ..Known::default()
        };
        let mut walk = Walk::new(known);
        let mut contains = false;
        let begin = found.iter().rposition(|segment| segment.first <= head.seq);
        for segment in &found[begin.unwrap_or(found.len())..] {
            let bytes = fs::read(&segment.path).map_err(unreadable)?;
            let text = String::from_utf8_lossy(&bytes);
            for line in text.lines() {
                let line = walk.line(line).map_err(|fault| fault.to_string())?;
                contains |= line.head == *head;
            }
        }
        match contains {
            true => Ok(()),
            false => Err(format!("record {} is not in it", head.seq)),
        }
    }

    /// Deletes a segment that retention no longer keeps.
    pub(super) fn remove(&mut self, segment: &Segment) -> io::Result<()> {
        fs::remove_file(&segment.path)?;
        self.segments.remove(&segment.first);
        Ok(())
    }

    /// Bytes that this process may still use.
    pub(super) fn free_space(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Begins a segment; what is written from now on goes there.
    pub(super) fn begin(&mut self, first: u64) -> io::Result<()> {
        let path = self.path.join(format!("{first:020}.{EXTENSION}"));
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(PRIVATE_FILE)
            .open(&path)?;
        file.sync_all()?;
        File::open(&self.path)?.sync_all()?;
        self.newest = Some(Newest::new(file, path)?);
        self.length = 0;
        self.segments.insert(first);
        Ok(())
    }

    /// Writes without syncing. After an error nothing of it is there.
    ///
    /// # Errors
    /// Nothing was written; [`Broken`](AppendError::Broken): it could not be undone either.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let newest = self.newest.as_ref();
        let file = &newest.expect("a segment was begun before").file;
        match file.write_all_at(bytes, self.length) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => match file.set_len(self.length) {
                Ok(()) => Err(AppendError::Undone(error)),
                Err(second) => Err(AppendError::Broken(second)),
            },
        }
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        let newest = self.newest.as_ref();
        newest.map_or(Ok(()), |newest| newest.file.sync_data())
    }

    /// Remembers how far the chain was at a checkpoint.
    pub(super) fn remember(&self, head: &Head) -> io::Result<()> {
        let line = format!("{} {}\n", head.seq, head.hex());
        let path = self.path.join(HEAD);
        hessra_files::replace(&path, line.as_bytes(), Mode::Private, Writers::One)
            .map_err(|FileError { source, .. }| source)
    }
}

/// Error of an append: nothing was written.
pub(super) enum AppendError {
    /// The file is as it was before.
    Undone(io::Error),
    /// The state of the file is not known: what was written could not be undone.
    Broken(io::Error),
}

/// Bytes of whole, right lines. What follows them is a cut tail.
fn walk(bytes: &[u8], recovered: &mut Recovered) -> Result<usize, Fault> {
    let mut walk = Walk::new(Known::default());
    let mut good = 0;
    while good < bytes.len() {
        let rest = &bytes[good..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        let text = String::from_utf8_lossy(line);
        match walk.line(&text) {
            Ok(line) if end.is_some() => recovered.note(&line),
            // The line feed is missing: the line is whole by chance, its sync had not returned.
            Ok(_) => return Ok(good),
            Err(fault) if is_cut(rest, end) => {
                tracing::warn!(%fault, bytes = rest.len(), "audit: a cut line is taken away");
                return Ok(good);
            }
            Err(fault) => return Err(fault),
        }
        good += line.len() + 1;
    }
    Ok(good)
}

/// True when a crash could have left this: the last line without its end, or blocks of the file that never reached the
/// disk.
fn is_cut(rest: &[u8], end: Option<usize>) -> bool {
    let line = &rest[..end.unwrap_or(rest.len())];
    end.is_none() || line.contains(&0)
}

impl Recovered {
    fn note(&mut self, line: &Line) {
        self.head = Some(line.head);
        self.log.note(&line.record);
        self.marks.note(&line.record);
    }
}

/// `prev` of the first record of a segment.
pub(super) fn first_prev(path: &Path) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(File::open(path)?).read_line(&mut line)?;
    let line = hessra_audit::open(line.trim_end()).map_err(io::Error::other)?;
    Ok(line.record.prev)
}

/// Head of the chain with the last record of a segment; `None` when its last line is no record.
fn last_head(path: &Path) -> io::Result<Option<Head>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(
        length.saturating_sub(LINE_BYTES_MAX as u64 + 1),
    ))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.trim_end_matches('\n').rsplit('\n').next();
    let line = line.and_then(|line| hessra_audit::open(line).ok());
    Ok(line.map(|line| line.head))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> FolderError {
    FolderError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
