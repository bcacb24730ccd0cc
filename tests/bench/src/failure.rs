//! Errors of a run: why a figure cannot be had.

use std::path::{Path, PathBuf};

/// Error of a run. Each says what to do, where something can be done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum BenchError {
    #[error("`{path}`: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("cannot start {what}: {reason}")]
    Start { what: String, reason: String },
    #[error("{what} ended ({status}). The end of its log:\n{log}")]
    Ended {
        what: String,
        status: String,
        log: String,
    },
    #[error("{what} is not ready after {seconds} s. Its log: {log}")]
    NotReady {
        what: String,
        seconds: u64,
        log: PathBuf,
    },
    #[error(
        "`{path}` is missing. Build it first: cargo build --release -p hessra-node -p hessra-bench"
    )]
    Binary { path: PathBuf },
    #[error("hessra-node cannot prepare a cluster: {0}")]
    Prepare(String),
    #[error("a certificate cannot be made: {0}")]
    Certificate(String),
    #[error("{side} cannot be reached: {reason}")]
    Connect { side: &'static str, reason: String },
    #[error("{side} does not serve: {reason}")]
    Service { side: &'static str, reason: String },
    #[error("a token cannot be made: {0}")]
    Token(String),
    #[error(
        "worse by more than a tenth than what is kept:\n  {0}\nRun it again: a busy machine says so too. Then find out why"
    )]
    Worse(String),
    #[error("{0}")]
    Tool(String),
}

impl BenchError {
    /// Error of a file that cannot be read or written.
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}
