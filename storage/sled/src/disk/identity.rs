//! File `IDENTITY`: which node's the directory is, the directory's own id, and whether it was ever finished.
//!
//! ```text
//! hessra data directory, format 2
//! cluster blue
//! node 3
//! directory 9f86d081884c7d659a2feaa0c55ad015
//! state making | made
//! checksum …
//! ```
//! It is `making` from the first step of making a directory until `MARK` and sled carry the id too, and nothing is
//! acknowledged before it is `made`. So a crash in between is told from a directory that lost its parts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hessra_files::{Mode, Writers};
use sha2::{Digest as _, Sha256};

use super::directory::{Directory, failed, refused};
use super::seal::DirectoryId;
use crate::StoreError;

/// The file's name.
pub(super) const FILE: &str = "IDENTITY";
const FORMAT: &str = "hessra data directory, format 2";
const FORMAT_BEFORE: &str = "hessra data directory, format 1";

/// Owner of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the cluster, one line.
    pub cluster: String,
    /// Id of the node.
    pub node: u64,
}

/// Content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) owner: Identity,
    pub(super) id: DirectoryId,
    pub(super) is_made: bool,
}

impl Claim {
    /// Reads the file, if it is there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Outdated`], [`StoreError::Io`].
    pub(super) fn read(directory: &Directory) -> Result<Option<Self>, StoreError> {
        let path = path(directory);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path, error)),
        };
        match checked(&text).map(Self::from_lines) {
            Some(Some(claim)) => Ok(Some(claim)),
            Some(None) if text.starts_with(FORMAT_BEFORE) => Err(StoreError::Outdated {
                file: path.display().to_string(),
                what: "identity".to_owned(),
            }),
            Some(None) => Err(StoreError::Upgrade {
                file: path.display().to_string(),
                what: "identity".to_owned(),
            }),
            None => Err(damaged(&path)),
        }
    }

    /// Writes the file, durably.
    pub(super) fn write(&self, directory: &Directory) -> Result<(), StoreError> {
        // The lock makes this process the only writer.
        hessra_files::replace(
            &path(directory),
            self.to_text().as_bytes(),
            Mode::Private,
            Writers::One,
        )
        .map_err(refused)
    }

    fn to_text(&self) -> String {
        with_checksum(&format!(
            "{FORMAT}\ncluster {}\nnode {}\ndirectory {}\nstate {}\n",
            self.owner.cluster,
            self.owner.node,
            self.id,
            if self.is_made { "made" } else { "making" },
        ))
    }

    fn from_lines(body: &str) -> Option<Self> {
        let mut lines = body.lines();
        (lines.next()? == FORMAT).then_some(())?;
        let cluster = lines.next()?.strip_prefix("cluster ")?.to_owned();
        let node = lines.next()?.strip_prefix("node ")?.parse().ok()?;
        let id = DirectoryId::from_text(lines.next()?.strip_prefix("directory ")?)?;
        let is_made = match lines.next()? {
            "state made" => true,
            "state making" => false,
            _ => return None,
        };
        Some(Self {
            owner: Identity { cluster, node },
            id,
            is_made,
        })
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {} of cluster `{}`", self.node, self.cluster)
    }
}

fn path(directory: &Directory) -> PathBuf {
    directory.path().join(FILE)
}

fn damaged(path: &Path) -> StoreError {
    StoreError::corrupt(
        path.display().to_string(),
        "identity",
        "its checksum does not match",
    )
}

/// Appends the line with the checksum of all lines before it.
pub(super) fn with_checksum(body: &str) -> String {
    format!("{body}checksum {}\n", checksum(body))
}

/// Lines before the checksum, if it is right.
pub(super) fn checked(text: &str) -> Option<&str> {
    let whole = text.strip_suffix('\n')?;
    let (_, stored) = whole.rsplit_once("\nchecksum ")?;
    let body = &text[..whole.len() - stored.len() - "checksum ".len()];
    (checksum(body) == stored).then_some(body)
}

fn checksum(text: &str) -> String {
    Sha256::digest(text)[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
