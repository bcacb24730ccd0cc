//! Errors of the store, by what the operator can do about them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::{ErrorSubject, ErrorVerb, StorageError, StorageIOError};

use crate::Space;
use crate::codec::CodecError;

/// Error of opening the store, or of its going on. Cloneable, because one failed flush answers many waiters.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Directory that another process has.
    #[error(
        "data directory {path} is in use by process {process}. Stop that node, or set storage.path"
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Process id as that process wrote it; `unknown` when it has not yet.
        process: String,
    },
    /// Directory of another node or cluster.
    #[error(
        "data directory {path} belongs to {found}, this is {expected}. Set storage.path to this node's own directory"
    )]
    Foreign {
        /// The data directory.
        path: PathBuf,
        /// Cluster and node that wrote it.
        found: String,
        /// Cluster and node of the configuration.
        expected: String,
    },
    /// Directory some part of which is gone.
    #[error(
        "data directory {path} is not whole. Missing: {missing}. There: {there}. This node must not vote: put back what is \
         missing from where it went, as it was, or remove the node from the cluster and add this machine under a new id \
         with an empty data directory"
    )]
    Incomplete {
        /// The data directory.
        path: PathBuf,
        /// Files in it that are gone.
        missing: String,
        /// Files in it that are there.
        there: String,
    },
    /// Directory of parts of several.
    #[error(
        "the parts of data directory {path} do not belong together: {what}. This node must not vote: put back the parts \
         that were made together, or remove the node from the cluster and add this machine under a new id with an empty \
         data directory"
    )]
    Mixed {
        /// The data directory.
        path: PathBuf,
        /// Parts that contradict each other, and how.
        what: String,
    },
    /// Record that was not written so, or is gone although it was written.
    #[error(
        "damaged data in {file}, {key}: {what}. This node must not vote: remove it from the cluster and add it again under a new id with an empty data directory"
    )]
    Corrupt {
        /// File or directory.
        file: String,
        /// Name of the record.
        key: String,
        /// Kind of the damage.
        what: String,
    },
    /// Record that only a newer binary knows.
    #[error("{what} in {file} was written by a newer version: upgrade hessra-node on this machine")]
    Upgrade {
        /// File or directory.
        file: String,
        /// Name of what is not known here.
        what: String,
    },
    /// Record in a form that this version does not read any more.
    #[error(
        "{what} in {file} was written by a version before the first release, which this one does not read: keep that \
         version, or begin again with empty data directories"
    )]
    Outdated {
        /// File or directory.
        file: String,
        /// Name of what is not read here.
        what: String,
    },
    /// Log that, applied again, makes another history than before.
    #[error(
        "applying the log of {file} again up to entry {index} made another history than before. If this version of \
         hessra-node is new here, go back to the one before it and report this: the data is whole, delete nothing. If \
         not, this node is damaged: remove it from the cluster and add it again under a new id with an empty data directory"
    )]
    Diverged {
        /// File or directory.
        file: String,
        /// Index of the last entry that was applied again.
        index: u64,
    },
    /// System call that failed.
    #[error(
        "cannot {action} {path}. Make sure that the disk works, has room, and belongs to the user of this process"
    )]
    Io {
        /// Action that was tried.
        action: &'static str,
        /// File or directory.
        path: String,
        /// Error of the system.
        #[source]
        source: Arc<io::Error>,
    },
    /// Flush that does not end.
    #[error(
        "the disk has not finished a flush of {file} for {seconds} s. What was acknowledged is on it, what waits may be. \
         Look at the disk and at the kernel's log, then start this node again; a disk that needs longer at times needs a \
         higher storage.flush_max"
    )]
    Stuck {
        /// sled's data file.
        file: String,
        /// Time for which it was waited.
        seconds: f64,
    },
    /// Store that an earlier error made useless.
    #[error("the store has stopped: {0}. Restart the node once the cause is gone")]
    Stopped(String),
}

impl StoreError {
    /// Error of a failed system call.
    pub(crate) fn io(action: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    /// Error of every call after the first failure.
    pub(crate) fn stopped(why: impl Into<String>) -> Self {
        Self::Stopped(why.into())
    }

    /// Error of a damaged record.
    pub(crate) fn corrupt(
        file: impl Into<String>,
        key: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        Self::Corrupt {
            file: file.into(),
            key: key.into(),
            what: what.into(),
        }
    }

    /// Error of bytes whose checksum is right and that are still not understood: a newer binary wrote them, or ours is
    /// broken.
    pub(crate) fn undecodable(file: String, key: String, error: &CodecError) -> Self {
        match error {
            CodecError::Unknown(_) => Self::Upgrade { file, what: key },
            CodecError::Invalid(what) => Self::Corrupt {
                file,
                key,
                what: what.clone(),
            },
        }
    }

    /// True when the disk has no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    /// Converts the error for openraft, which stops on any.
    pub(crate) fn raft(self, subject: ErrorSubject<u64>, verb: ErrorVerb) -> StorageError<u64> {
        StorageIOError::new(subject, verb, &io::Error::from(self)).into()
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = if error.is_full() {
            io::ErrorKind::StorageFull
        } else {
            io::ErrorKind::Other
        };
        Self::new(kind, chain(&error))
    }
}

/// Joins the error with its sources on one line: openraft keeps only a text.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Name of a record, for people.
pub(crate) fn name(space: Space, key: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = format!("{space} record ");
    if key.iter().all(u8::is_ascii_lowercase) {
        return text + &String::from_utf8_lossy(key);
    }
    for byte in key {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
