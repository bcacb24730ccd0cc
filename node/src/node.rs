//! Starts one node, keeps it running, stops it in order.
//!
//! ```text
//! start: files checked ─ store opened ─ consensus ─ authority ─ feed ─ peer port ─ operations ─ public port ─ bootstrap
//! stop:  not ready ─ leadership handed over ─ verifiers told ─ ports drained ─ consensus ─ store
//! ```
//! The peer port opens before the public one, so that a node never takes a request that it could not answer for want of
//! peers; the operations port says all along what is missing.

mod bootstrap;
mod doors;
mod material;
mod parts;
mod readiness;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use hessra_sled::{SledEngine, StoreError};

use crate::api::tls::TlsError;
use crate::audit::FolderError;
use crate::authority::Authority;
use crate::config::{Config, ConfigError, SecretFileError};
use crate::feed::FeedHub;
use crate::raft::StartError;
use crate::seal::SealError;
use crate::telemetry::Collected;

pub use bootstrap::BootstrapError;
pub use doors::Addresses;
pub use material::check_material;

use doors::Doors;
use material::Material;
use parts::Parts;

/// The chosen follower stands at once: one round of votes and one of appends. When all nodes stop, nobody takes it.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests under way end in milliseconds; verifiers have been told to resume elsewhere.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// After it the process ends without waiting for consensus: its log is safe on disk at any moment.
const RAFT_STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a node does not run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[allow(missing_docs)]
pub enum NodeError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    #[error(transparent)]
    Key(#[from] SealError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Audit(#[from] FolderError),
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
    #[error("this node has stopped: {0}")]
    Stopped(String),
}

/// One running node.
pub struct Node {
    authority: Authority,
    feed: FeedHub,
    store: SledEngine,
    stopping: Arc<AtomicBool>,
    /// Ends background tasks.
    stop: CancellationToken,
    /// Ends accepting.
    close: CancellationToken,
    /// None of them ends before it is told to.
    tasks: JoinSet<()>,
    addresses: Addresses,
}

impl Node {
    /// Starts all parts. Returns when every port listens; the node may not be ready yet.
    ///
    /// # Errors
    /// What is wrong with the configuration's files, the data directory, or a port; nothing is left running then.
    pub async fn start(config: Config, collected: Collected) -> Result<Self, NodeError> {
        config.check_files()?;
        let material = Material::load(&config)?;
        let doors = Doors::open(&config, &material).await?;
        let addresses = doors.addresses();
        let (stop, close) = (CancellationToken::new(), CancellationToken::new());
        let stopping = Arc::new(AtomicBool::new(false));
        let parts = Parts::start(&config, &material, &stopping, &stop).await?;
        let mut tasks = JoinSet::new();
        parts.look_after(&config, material, &mut tasks, &stop);
        doors.serve(&config, &parts, collected, &mut tasks, &stop, &close)?;
        let Parts {
            authority,
            feed,
            store,
            keys,
            ..
        } = parts;
        let node = Self {
            authority,
            feed,
            store,
            stopping,
            stop,
            close,
            tasks,
            addresses,
        };
        if let Err(error) = bootstrap::start(&config, &node.authority, &keys, &node.stop).await {
            node.stop().await;
            return Err(error.into());
        }
        info!(node = config.cluster.node_id, public = %addresses.public, peer = %addresses.peer,
            operations = %addresses.operations, "node started");
        Ok(node)
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its consensus and state.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns with the reason when the node cannot go on: a disk error is not an answer, and a node without one of its
    /// parts would be up and deaf.
    pub async fn failed(&mut self) -> String {
        let raft = self.authority.raft().clone();
        tokio::select! {
            reason = raft.stopped() => reason,
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(()) => "a part of the node ended by itself".to_owned(),
                Err(panic) => format!("a part of the node broke: {panic}. Report it, with the log"),
            },
        }
    }

    /// Stops in order, in bounded time: hands leadership over, tells verifiers, drains, closes the store.
    pub async fn stop(mut self) {
        info!("stopping");
        self.stopping.store(true, Ordering::Release);
        if timeout(HAND_OVER_TIMEOUT, self.authority.hand_over())
            .await
            .is_err()
        {
            warn!("leadership was not handed over in time");
        }
        self.feed.shutdown();
        self.close.cancel();
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // The doors bound themselves by the drain's time; what is left after it is aborted.
        let _ = timeout(DRAIN_TIMEOUT + Duration::from_secs(1), ended).await;
        self.tasks.abort_all();
        if timeout(RAFT_STOP_TIMEOUT, self.authority.raft().shutdown())
            .await
            .is_err()
        {
            warn!("consensus did not stop in time");
        }
        if let Some(auditor) = self.authority.auditor() {
            auditor.close().await;
        }
        drop(self.store);
        info!("stopped");
    }
}
