//! Starts one node, keeps it running, stops it in order.
//!
//! ```text
//! start: files checked ─ store opened ─ audit opened ─ consensus ─ feed ─ peer port ─ operations ─ public port ─ bootstrap
//! stop:  not ready ─ leadership handed over ─ verifiers told ─ ports drained ─ consensus ─ store
//! ```
//! The peer port opens before the public one, so that a node never takes a request that it could not answer for want of
//! peers; the operations port says all along what is missing.

mod background;
mod bootstrap;
mod error;
mod listeners;
mod material;
mod parts;
mod readiness;
mod witness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use hessra_sled::SledEngine;

use crate::audit::Auditor;
use crate::config::Config;
use crate::edge::Clock;
use crate::telemetry::{Collected, Metrics, Traces};
use crate::world::{Consensus, FeedHub};

pub use bootstrap::BootstrapError;
pub use error::{Ended, NodeError};
pub use listeners::Addresses;
pub use material::check_material;

use listeners::{DRAIN_TIMEOUT, Listeners};
use material::Material;
use parts::{Around, Parts};

/// Time to hand leadership over. The chosen follower stands at once: one round of votes and one of appends. When all
/// nodes stop, no node takes it.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for consensus to end. After it the process ends without waiting for it: its log is safe on disk at any moment.
const RAFT_STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// One running node.
pub struct Node {
    consensus: Consensus,
    auditor: Auditor,
    feed: FeedHub,
    store: SledEngine,
    stopping: Arc<AtomicBool>,
    /// Token that ends background tasks.
    stop: CancellationToken,
    /// Token that ends accepting.
    close: CancellationToken,
    /// Tasks of the node. None of them ends before it is told to.
    tasks: JoinSet<()>,
    addresses: Addresses,
}

impl Node {
    /// Starts all parts. Returns when every port listens; the node may not be ready yet.
    ///
    /// # Errors
    /// The configuration's files, the data directory or a port cannot be used; nothing is left running then.
    pub async fn start(
        config: Config,
        collected: Collected,
        metrics: Arc<Metrics>,
    ) -> Result<Self, NodeError> {
        config.check_files()?;
        let material = Material::load(&config)?;
        let clock = Clock::start();
        let member = (config.cluster.name.as_str(), config.cluster.node_id);
        let traces = Traces::start(&config.telemetry, member, clock, &metrics)?;
        let listeners = Listeners::open(&config, &material, clock, &metrics).await?;
        let addresses = listeners.addresses();
        let (stop, close) = (CancellationToken::new(), CancellationToken::new());
        let stopping = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let around = Around {
            clock,
            metrics,
            traces,
            stopping: Arc::clone(&stopping),
        };
        let parts = Parts::start(&config, &material, around, &mut tasks, &stop).await?;
        parts.run_background(&config, material, &mut tasks, &stop);
        listeners.serve(&config, &parts, collected, &mut tasks, &stop, &close)?;
        let Parts {
            consensus,
            auditor,
            feed,
            store,
            keys,
            ..
        } = parts;
        let node = Self {
            consensus,
            auditor,
            feed,
            store,
            stopping,
            stop,
            close,
            tasks,
            addresses,
        };
        if let Err(error) = bootstrap::start(&config, &node.consensus, &keys, &node.stop) {
            node.stop().await;
            return Err(error.into());
        }
        info!(node = config.cluster.node_id, public = %addresses.public, peer = %addresses.peer,
            operations = %addresses.operations, "node started");
        Ok(node)
    }

    /// Addresses on which it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Consensus and state of the node.
    #[must_use]
    pub fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// Returns with the reason when the node cannot go on.
    pub async fn failed(&mut self) -> Ended {
        let raft = self.consensus.raft().clone();
        tokio::select! {
            reason = raft.stopped() => Ended::Consensus(reason),
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(()) => Ended::Part,
                Err(panic) => Ended::Panic(panic.to_string()),
            },
        }
    }

    /// Stops in order, in bounded time: hands leadership over, tells verifiers, drains, closes the store.
    pub async fn stop(mut self) {
        info!("stopping");
        self.stopping.store(true, Ordering::Release);
        if timeout(HAND_OVER_TIMEOUT, self.consensus.hand_over())
            .await
            .is_err()
        {
            warn!("leadership was not handed over in time");
        }
        self.feed.shutdown();
        self.close.cancel();
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // The listeners bound themselves by the drain's time; what is left after it is aborted.
        let _ = timeout(DRAIN_TIMEOUT + Duration::from_secs(1), ended).await;
        self.tasks.abort_all();
        if timeout(RAFT_STOP_TIMEOUT, self.consensus.raft().shutdown())
            .await
            .is_err()
        {
            warn!("consensus did not stop in time");
        }
        self.auditor.close().await;
        self.consensus.world().traces.close().await;
        drop(self.store);
        info!("stopped");
    }
}
