//! Files that a verifier keeps, so that a restart forgets no denial and no server can lead it back in time.
//!
//! | file | what | when it is damaged |
//! |---|---|---|
//! | `lock` | one process at a time | – |
//! | `mark` | the high-water mark: feed, epoch, revision, log root | the verifier refuses to start and names the file |
//! | `view` | the last view, as the signed snapshot a node would send | named, ignored, fetched again; the mark still holds |
//!
//! The view is stored in wire format with its signed checkpoint and is taken back through the follower itself, so a
//! file is believed exactly as far as a stream is. Both files end in a SHA-256 and are replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hessra_files::{FileError, Mode as FileMode, Writers};
use hessra_proto::convert::ConvertError;
use hessra_proto::v1::feed;
use hessra_revocation::follower::{Mode, Welcome};
use hessra_revocation::{Epoch, Event, FeedId, Follower, Hash, Revision, SignedCheckpoint, View};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::error::LocalCause;
use crate::{ClientError, Ed25519, Reason, clock};

const MARK_TITLE: &str = "hessra high-water mark 1";
const VIEW_TITLE: &[u8] = b"hessra view 1\n";
/// Largest view that is read: 10^7 rules have about half of it.
const VIEW_BYTES_MAX: u64 = 1 << 30;

/// High-water mark: the newest position that this verifier ever held. It believes nothing older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Id of the feed.
    pub feed_id: FeedId,
    /// Epoch: the history of the feed.
    pub epoch: Epoch,
    /// Revision that was reached.
    pub revision: Revision,
    /// Root of the log up to that revision.
    pub log_root: Hash,
}

/// Relation of a view to the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Reached: at the mark or beyond.
    Reached,
    /// Below the mark: its denials hold, nothing is permitted by it.
    Below,
    /// Foreign: of another feed, or of another history at the same revision.
    Foreign,
}

impl Mark {
    /// Mark at the position of a view.
    #[must_use]
    pub fn of(view: &View) -> Self {
        Self {
            feed_id: view.feed_id,
            epoch: view.epoch,
            revision: view.revision,
            log_root: view.log_root(),
        }
    }

    /// Compares positions; equal ones must have equal roots.
    #[must_use]
    pub fn reach_of(&self, view: &View) -> Reach {
        let (there, here) = ((view.epoch, view.revision), (self.epoch, self.revision));
        match () {
            () if view.feed_id != self.feed_id => Reach::Foreign,
            () if there < here => Reach::Below,
            () if there == here && view.log_root() != self.log_root => Reach::Foreign,
            () => Reach::Reached,
        }
    }

    fn to_text(self) -> String {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let body = format!(
            "{MARK_TITLE}\nfeed {}\nepoch {}\nrevision {}\nlog_root {}\n",
            hex(&self.feed_id.0),
            self.epoch,
            self.revision,
            hex(&self.log_root)
        );
        format!("{body}sha256 {}\n", hex(&Sha256::digest(&body)))
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name).map(str::trim);
        if value(MARK_TITLE) != Some("") {
            return None;
        }
        let mark = Self {
            feed_id: FeedId(unhex(value("feed ")?)?),
            epoch: Epoch(value("epoch ")?.parse().ok()?),
            revision: Revision(value("revision ")?.parse().ok()?),
            log_root: unhex(value("log_root ")?)?,
        };
        // One text for one mark: this also compares the checksum.
        (mark.to_text() == text).then_some(mark)
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    data_encoding::HEXLOWER
        .decode(text.as_bytes())
        .ok()?
        .try_into()
        .ok()
}

/// A view and the signed statement about it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// View of the feed.
    pub view: View,
    /// Checkpoint that was signed at exactly this view.
    pub checkpoint: SignedCheckpoint,
}

/// State that was found on disk.
#[derive(Debug, Default)]
pub struct Found {
    /// Mark; nothing older is believed.
    pub mark: Option<Mark>,
    /// View to start from.
    pub view: Option<View>,
    /// Message about a file that was ignored and why, for the log.
    pub ignored: Option<String>,
}

/// Error of a stored view that is not used.
#[derive(Debug, thiserror::Error)]
enum ViewError {
    #[error(transparent)]
    Unreadable(#[from] std::io::Error),
    #[error("it has {bytes} bytes")]
    TooLarge { bytes: u64 },
    #[error("it is not a view of this version")]
    OtherVersion,
    #[error("it is cut off")]
    CutOff,
    #[error("its checksum differs")]
    Checksum,
    #[error(transparent)]
    Encoding(#[from] prost::DecodeError),
    #[error(transparent)]
    Message(#[from] ConvertError),
    #[error("its signature or its roots are wrong")]
    NotBelieved,
}

/// A directory that belongs to this process as long as this value lives.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

impl StateDirectory {
    /// Makes the directory (mode 0700) when it is absent, and locks it.
    ///
    /// # Errors
    /// `conflict` when another process has it, or the reason of the file system.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ClientError> {
        let path = path.into();
        let failed =
            |error: std::io::Error| ClientError::file("open the state directory", &path, &error);
        hessra_files::make_private_directory(&path)
            .map_err(|FileError { source, .. }| failed(source))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
            Err(TryLockError::WouldBlock) => Err(in_use(&path)),
        }
    }

    /// State that an earlier process left.
    ///
    /// # Errors
    /// When the high-water mark is damaged: going on without it would make the verifier believe an older feed.
    pub fn load(&self, pinned: &BTreeMap<u32, [u8; 32]>) -> Result<Found, ClientError> {
        let mark = self.load_mark()?;
        let (view, ignored) = match self.load_view(pinned) {
            Ok(view) => (view, None),
            Err(why) => (
                None,
                Some(format!("ignored `{}`: {why}", self.file("view").display())),
            ),
        };
        // A view is written before its mark: without a mark it is its own.
        let mark = mark.or_else(|| view.as_ref().map(Mark::of));
        Ok(Found {
            mark,
            view,
            ignored,
        })
    }

    fn load_mark(&self) -> Result<Option<Mark>, ClientError> {
        let path = self.file("mark");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(damaged(&path));
            }
            Err(error) => return Err(ClientError::file("read", &path, &error)),
        };
        Mark::from_text(&text)
            .map(Some)
            .ok_or_else(|| damaged(&path))
    }

    fn load_view(&self, pinned: &BTreeMap<u32, [u8; 32]>) -> Result<Option<View>, ViewError> {
        read_view(&self.file("view"), pinned)
    }

    /// Writes the view, then the mark.
    ///
    /// # Errors
    /// As the file system reports; the former files stand.
    pub fn save(&self, snapshot: &Snapshot) -> std::io::Result<()> {
        self.replace("view", &encode(snapshot))?;
        self.replace("mark", Mark::of(&snapshot.view).to_text().as_bytes())
    }

    /// Replaces a file. The lock makes this process the only writer.
    fn replace(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        hessra_files::replace(&self.file(name), bytes, FileMode::Private, Writers::One)
            .map_err(|FileError { source, .. }| source)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// View that a verifier left in its state directory, for its denials: they hold whatever their age. Takes no lock, and may
/// be asked while that verifier runs. `None`: there is none, or it is not believed.
#[must_use]
pub fn stored_view(directory: &Path) -> Option<View> {
    read_view(&directory.join("view"), &BTreeMap::new())
        .ok()
        .flatten()
}

fn read_view(path: &Path, pinned: &BTreeMap<u32, [u8; 32]>) -> Result<Option<View>, ViewError> {
    let bytes = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        found => found?.len(),
    };
    if bytes > VIEW_BYTES_MAX {
        return Err(ViewError::TooLarge { bytes });
    }
    let bytes = std::fs::read(path)?;
    decode(&bytes, pinned).map(Some)
}

fn in_use(path: &Path) -> ClientError {
    let message = format!(
        "state directory `{}` is in use by another process",
        path.display()
    );
    ClientError {
        local: Some(LocalCause::StateDirectoryInUse),
        ..ClientError::new(Reason::Conflict, message)
            .hint("Give every verifier a directory of its own.")
    }
}

fn damaged(path: &Path) -> ClientError {
    ClientError::new(Reason::Conflict, format!("high-water mark `{}` is damaged", path.display()))
        .hint("Without it an older feed would be believed. Restore it, or delete the directory to start anew.")
}

/// Encodes a view: title, SHA-256 of the rest, then what a node would send: welcome (without a signature), buckets, end.
fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut body = Vec::new();
    feed::Welcome::from(welcome(&snapshot.view))
        .encode_length_delimited(&mut body)
        .expect("a vector grows");
    for event in events(snapshot) {
        let message = hessra_proto::to_downstream(event).expect("only messages that nodes send");
        message
            .encode_length_delimited(&mut body)
            .expect("a vector grows");
    }
    [VIEW_TITLE, &Sha256::digest(&body), &body].concat()
}

fn events(snapshot: &Snapshot) -> impl Iterator<Item = Event> + '_ {
    let view = &snapshot.view;
    let chunk = |number: u8| Event::SnapshotChunk {
        buckets: vec![number],
        rules: view.set.bucket(number),
        keys: if number == 0 {
            view.keys_bytes()
        } else {
            Vec::new()
        },
    };
    let end = Event::SnapshotEnd {
        checkpoint: snapshot.checkpoint.clone(),
        frontier: view.log.peaks().to_vec(),
        policy_digest: view.policy_digest,
    };
    (0..=u8::MAX).map(chunk).chain([end])
}

/// Beginning of the stored feed.
fn welcome(view: &View) -> Welcome {
    Welcome {
        feed_id: view.feed_id,
        salt: *view.set.salt(),
        epoch: view.epoch,
        head: view.revision,
        floor: view.revision,
        mode: Mode::Snapshot,
        tick_ms: 0,
        node: 0,
        feed_keys: view.feed_keys(),
        counted: false,
    }
}

fn decode(bytes: &[u8], pinned: &BTreeMap<u32, [u8; 32]>) -> Result<View, ViewError> {
    let rest = bytes
        .strip_prefix(VIEW_TITLE)
        .ok_or(ViewError::OtherVersion)?;
    let (sum, mut body) = rest.split_at_checked(32).ok_or(ViewError::CutOff)?;
    if Sha256::digest(body).as_slice() != sum {
        return Err(ViewError::Checksum);
    }
    let mut follower = Follower::new(Ed25519::default(), pinned.clone());
    let welcome = feed::Welcome::decode_length_delimited(&mut body)?;
    follower.handle(Event::Stored(welcome.try_into()?), clock::monotonic());
    while !body.is_empty() {
        let message = feed::Downstream::decode_length_delimited(&mut body)?;
        follower.handle(Event::try_from(message)?, clock::monotonic());
    }
    // Signature, roots and order were the follower's business, as on a stream.
    follower.view().cloned().ok_or(ViewError::NotBelieved)
}
