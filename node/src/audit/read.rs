//! Finds records again: a search from the newest back, a cursor forward for tail and export.
//!
//! Only what is durable is shown, so nobody acts on a record that a crash takes back. Everything here blocks on the disk
//! and belongs on a thread for that.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use hessra_audit::Filter;
use tokio::sync::watch;

use hessra_consensus::audit::Written;

use super::folder::{Segment, segments};

/// Bytes that one read of a cursor takes from the disk.
const CHUNK_BYTES: u64 = 1024 * 1024;
/// Bytes that one search looks at; the page then says where to go on.
const SCAN_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The segments of one node.
#[derive(Clone, Debug)]
pub struct Reader {
    folder: PathBuf,
    written: watch::Receiver<Written>,
}

/// A line as it is in the file, and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Found {
    pub seq: u64,
    pub line: String,
}

/// Part of an answer, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Records that were found.
    pub found: Vec<Found>,
    /// Records before this one were not looked at; 0 = all were.
    pub before: u64,
}

impl Reader {
    pub(super) fn new(folder: PathBuf, written: watch::Receiver<Written>) -> Self {
        Self { folder, written }
    }

    /// The durable head, as it moves.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<Written> {
        self.written.clone()
    }

    /// Folder of the segments.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// The newest `limit` records that a filter means, before record `before` (0 = from the newest).
    ///
    /// # Errors
    /// The disk.
    pub fn search(&self, filter: &Filter, before: u64, limit: usize) -> io::Result<Page> {
        let head = self.head();
        let mut end = if before == 0 {
            head + 1
        } else {
            before.min(head + 1)
        };
        let (mut page, mut scanned) = (Page::default(), 0);
        for segment in segments(&self.folder)?.iter().rev() {
            if segment.first >= end {
                continue;
            }
            if scanned >= SCAN_BYTES_MAX {
                page.before = end;
                return Ok(page);
            }
            let text = text_of(segment)?;
            scanned += text.len() as u64;
            for line in text.lines().rev() {
                let Some((seq, record)) = parsed(line).filter(|(seq, _)| *seq < end) else {
                    continue;
                };
                if page.found.len() == limit {
                    page.before = seq + 1;
                    return Ok(page);
                }
                if filter.matches(&record) {
                    let line = line.to_owned();
                    page.found.push(Found { seq, line });
                }
            }
            end = segment.first;
        }
        Ok(page)
    }

    /// The durable line of record `seq`; `None` = there is none.
    ///
    /// # Errors
    /// The disk.
    pub fn line(&self, seq: u64) -> io::Result<Option<String>> {
        if seq == 0 || seq > self.head() {
            return Ok(None);
        }
        let found = self.cursor(seq).read()?.into_iter().next();
        Ok(found
            .filter(|found| found.seq == seq)
            .map(|found| found.line))
    }

    /// Reads forward from record `from` (0 = the oldest that there is).
    #[must_use]
    pub fn cursor(&self, from: u64) -> Cursor {
        Cursor {
            reader: self.clone(),
            next: from,
            place: None,
        }
    }

    fn head(&self) -> u64 {
        self.written.borrow().head.seq
    }
}

/// A place in the chain that moves forward.
#[derive(Debug)]
pub struct Cursor {
    reader: Reader,
    /// The next record wanted.
    next: u64,
    /// Segment and offset of the next line.
    place: Option<(Segment, u64)>,
}

impl Cursor {
    /// Durable lines from here on, about a megabyte at most; none at the end.
    ///
    /// # Errors
    /// The disk.
    pub fn read(&mut self) -> io::Result<Vec<Found>> {
        let head = self.reader.head();
        loop {
            let Some((segment, offset)) = self.place()? else {
                return Ok(Vec::new());
            };
            let chunk = match chunk(&segment, offset) {
                // Retention deleted it under way: the next one is the oldest now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.place = None;
                    continue;
                }
                chunk => chunk?,
            };
            let mut found = Vec::new();
            let mut taken = 0;
            for line in chunk
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
            {
                match parsed(line) {
                    Some((seq, _)) if seq > head => break,
                    Some((seq, _)) if seq >= self.next => {
                        let line = line.trim_end().to_owned();
                        found.push(Found { seq, line });
                        self.next = seq + 1;
                    }
                    _ => {}
                }
                taken += line.len() as u64;
            }
            self.place = Some((segment.clone(), offset + taken));
            if !found.is_empty() {
                return Ok(found);
            }
            if taken == 0 && !self.turn(&segment)? {
                return Ok(found);
            }
        }
    }

    /// Place of the next line, found at the first call.
    fn place(&mut self) -> io::Result<Option<(Segment, u64)>> {
        if self.place.is_none() {
            let found = segments(&self.reader.folder)?;
            let before = found
                .iter()
                .rev()
                .find(|segment| segment.first <= self.next);
            let segment = before.or(found.first());
            self.place = segment.map(|segment| (segment.clone(), 0));
        }
        Ok(self.place.clone())
    }

    /// Goes to the segment after one that was read to its end; false when there is none.
    fn turn(&mut self, read: &Segment) -> io::Result<bool> {
        let found = segments(&self.reader.folder)?;
        let after = found.into_iter().find(|segment| segment.first > read.first);
        let Some(after) = after.filter(|after| after.first <= self.reader.head()) else {
            return Ok(false);
        };
        self.place = Some((after, 0));
        Ok(true)
    }
}

fn parsed(line: &str) -> Option<(u64, serde_json::Value)> {
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    Some((record.get("seq")?.as_u64()?, record))
}

fn text_of(segment: &Segment) -> io::Result<String> {
    match std::fs::read(&segment.path) {
        // Retention deleted it under way.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => Ok(String::from_utf8_lossy(&read?).into_owned()),
    }
}

fn chunk(segment: &Segment, offset: u64) -> io::Result<String> {
    let mut file = File::open(&segment.path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(CHUNK_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
