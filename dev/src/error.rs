//! Error of a dev cluster that could not be made or started.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hessra_policy::PolicyError;
use miette::Diagnostic;

/// Error of a dev cluster that could not be made or started.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[allow(missing_docs)]
pub enum DevError {
    #[error("`{path}`: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
    #[error("{0}")]
    Ports(String),
    #[error(
        "`{directory}` holds a cluster of {have} nodes, not {asked}. Leave --nodes out, or name another --dir"
    )]
    OtherNumber {
        directory: PathBuf,
        have: u64,
        asked: u64,
    },
    #[error(
        "`{directory}` is in use by another `hessra-node dev`. Stop that one, or name another --dir"
    )]
    InUse { directory: PathBuf },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Policy(#[from] PolicyError),
    /// Error of the node, in its own words.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Node(Box<dyn Diagnostic + Send + Sync>),
    #[error("cannot start node {id}: {reason}")]
    Start { id: u64, reason: String },
    #[error("not ready after {}: {reasons}. The logs are {directory}/node-N/node.log", humane(*waited))]
    NotReady {
        waited: Duration,
        reasons: String,
        directory: PathBuf,
    },
    #[error("node {id} ended before it was ready ({status}). The end of {log}:\n{tail}")]
    Died {
        id: u64,
        status: String,
        log: PathBuf,
        tail: String,
    },
}

impl DevError {
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::File {
            path: path.into(),
            reason: error.to_string(),
        }
    }

    pub(crate) fn certificate(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

fn humane(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}
