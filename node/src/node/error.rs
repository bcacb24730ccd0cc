//! Errors of a node that does not start, or has ended.

use std::net::SocketAddr;

use hessra_consensus::{StartError, StopReason};
use hessra_sled::StoreError;

use super::bootstrap::BootstrapError;
use crate::audit::{FolderError, NodeKeyError};
use crate::config::{ConfigError, SecretFileError};
use crate::join::JoinSecretError;
use crate::seal::SealError;
use crate::telemetry::TelemetryError;
use crate::tls::TlsError;

/// Error of a node that does not run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[allow(missing_docs)]
pub enum NodeError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    #[error(transparent)]
    Key(#[from] SealError),
    #[error(transparent)]
    JoinSecret(#[from] JoinSecretError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Audit(#[from] FolderError),
    #[error(transparent)]
    AuditKey(#[from] NodeKeyError),
    #[error(transparent)]
    Consensus(#[from] StartError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(
        "cannot listen on {address} ({setting}): {reason}. Stop what uses it, or set {setting}"
    )]
    Listen {
        setting: &'static str,
        address: SocketAddr,
        reason: String,
    },
    #[error(
        "`{path}` is the certificate of {found}, not of node {id} of cluster `{cluster}`. Set peer_tls.certificate to one \
         with the SAN URI `urn:hessra:node:{cluster}:{id}`"
    )]
    OtherCertificate {
        path: std::path::PathBuf,
        found: String,
        cluster: String,
        id: u64,
    },
    #[error("`{path}`, named by `peer_tls.certificate`, is heard by no member: {fault}")]
    OtherAuthority {
        path: std::path::PathBuf,
        fault: crate::tls::inspect::Fault,
    },
    #[error("signals cannot be received: {0}")]
    Signals(String),
    #[error("this node has stopped: {0}")]
    Stopped(Ended),
}

/// Error of a running node that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Consensus has stopped: a disk error is not an answer.
    #[error(transparent)]
    Consensus(#[from] StopReason),
    /// A part has ended: the node would be up and deaf.
    #[error("a part of the node ended by itself")]
    Part,
    /// A part has panicked.
    #[error("a part of the node broke: {0}. Report it, with the log")]
    Panic(String),
}
