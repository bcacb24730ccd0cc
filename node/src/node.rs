//! Starts one node, keeps it running, stops it in order.
//!
//! ```text
//! start: files checked ─ store opened ─ consensus ─ authority ─ feed ─ peer port ─ operations ─ public port ─ bootstrap
//! stop:  not ready ─ leadership handed over ─ verifiers told ─ ports drained ─ consensus ─ store
//! ```
//! The peer port opens before the public one, so that a node never takes a request that it could not answer for want of
//! peers; the operations port says all along what is missing.

mod bootstrap;
mod readiness;
mod upkeep;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use hessra_sled::{Member, OpenOptions, SledEngine, Store, StoreError};

use crate::api::grpc;
use crate::api::https::{self, HttpsSettings};
use crate::api::tls::{Door, DoorLimits, PeerCertificate, PeerTls, TlsError, TlsFiles, ends_at};
use crate::authority::inspector::Inspector;
use crate::authority::{Authority, AuthoritySettings};
use crate::config::{Config, ConfigError, SecretFileError};
use crate::edge::Clock;
use crate::feed::{FeedHub, FeedSettings};
use crate::issuer::{Issuer, IssuerParts};
use crate::ops::Operations;
use crate::policy::Policies;
use crate::raft::server::{Certificates, service};
use crate::raft::{self, NodeIdentity, RaftHandle, RaftSettings, StartError};
use crate::seal::{KeyEncryptionKey, SealError};
use crate::signer::Keyholder;
use crate::telemetry::Collected;

pub use bootstrap::BootstrapError;
use readiness::Facts;
use upkeep::Certified;

/// Handing leadership over takes one election, below two seconds.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);
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
    tasks: JoinSet<()>,
    addresses: Addresses,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Addresses {
    pub public: SocketAddr,
    pub peer: SocketAddr,
    pub operations: SocketAddr,
}

impl Node {
    /// Starts all parts. Returns when every port listens; the node may not be ready yet.
    ///
    /// # Errors
    /// What is wrong with the configuration's files, the data directory, or a port; nothing is left running then.
    pub async fn start(config: Config, collected: Collected) -> Result<Self, NodeError> {
        config.check_files()?;
        let keys = Keyholder::new(KeyEncryptionKey::load(&config.keys.encryption_key)?);
        let (public_files, peer_files) = tls_files(&config);
        own_certificate(&config, &peer_files)?;
        let peer_tls = PeerTls::new(&config.cluster.name, &peer_files)?;
        let public_config = Arc::new(ArcSwap::from_pointee(public_files.public_server(&[])?));
        let peer_config = Arc::new(ArcSwap::from_pointee(peer_files.peer_server()?));
        let limits = door_limits(&config);
        let peer_door = open(
            "peer",
            "listen.peer",
            config.listen.peer,
            &peer_config,
            &peer_limits(&limits),
        )
        .await?;
        let public_door = open(
            "public",
            "listen.public",
            config.listen.public,
            &public_config,
            &limits,
        )
        .await?;

        let stop = CancellationToken::new();
        let stopping = Arc::new(AtomicBool::new(false));
        let clock = Clock::new();
        let (store, raft) = consensus(&config, peer_tls.clone()).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(upkeep::follow_keys(
            raft.watch(),
            keys.clone(),
            stop.clone(),
        ));
        let authority = Authority::start(raft.clone(), AuthoritySettings::default(), clock, &stop);
        let disk = store.clone();
        authority.refuse_writes_when(move || disk.writable().err().map(|low| low.to_string()));
        let feed = FeedHub::start(
            authority.clone(),
            Arc::new(keys.feed_signer()),
            feed_settings(&config),
            &stop,
        );
        let facts = Arc::new(Facts {
            waits_to_be_added: config.cluster.initial_members.is_empty(),
            authority: authority.clone(),
            keys: keys.clone(),
            store: store.clone(),
            stopping: Arc::clone(&stopping),
            stale_max: config.issuing.stale_max.0,
        });
        let inspector = Inspector::new(authority.clone(), feed.clone(), facts.clone());
        let policies = Policies::default();
        let issuer = issuer(&config, &authority, &keys, &policies);

        let operations = Operations::open(
            config.listen.operations,
            facts.readiness_answer(),
            collected,
        )
        .await
        .map_err(|error| listen("listen.operations", config.listen.operations, &error))?;
        let addresses = Addresses {
            public: public_door
                .address()
                .map_err(|error| listen("listen.public", config.listen.public, &error))?,
            peer: peer_door
                .address()
                .map_err(|error| listen("listen.peer", config.listen.peer, &error))?,
            operations: operations
                .address()
                .map_err(|error| listen("listen.operations", config.listen.operations, &error))?,
        };

        let close = CancellationToken::new();
        let peer_router = peer_router(&authority, &inspector);
        let cluster = config.cluster.name.clone();
        let peer_door = peer_door.admitting(move |certificate| admit_member(certificate, &cluster));
        tasks.spawn(peer_door.serve(peer_router, close.clone(), DRAIN_TIMEOUT));
        let settings = https_settings(&config)?;
        let public_router =
            grpc::routes(authority.clone(), feed.clone(), inspector, policies.clone())
                .into_axum_router()
                .fallback(https::not_found)
                .merge(https::router(issuer, settings));
        tasks.spawn(public_door.serve(public_router, close.clone(), DRAIN_TIMEOUT));
        tasks.spawn(operations.serve(stop.clone()));
        let neighbours = authority.neighbours().clone();
        let until = stop.clone();
        tasks.spawn(async move { neighbours.run(until).await });
        let certified = Certified {
            public_files,
            peer_files,
            public_config,
            peer_config,
            peer_tls: peer_tls.clone(),
            raft: raft.clone(),
            policies,
        };
        tasks.spawn(upkeep::follow_certificates(certified, stop.clone()));
        tasks.spawn(upkeep::look_after(
            authority.clone(),
            store.clone(),
            stop.clone(),
        ));
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
        if let Err(error) = node.bootstrap(&config, &keys).await {
            node.stop().await;
            return Err(error);
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

    /// Returns with the reason when the node cannot go on: a disk error is not an answer.
    pub async fn failed(&self) -> String {
        self.authority.raft().stopped().await
    }

    /// Stops in order, in bounded time: hands leadership over, tells verifiers, drains, closes the store.
    pub async fn stop(mut self) {
        info!("stopping");
        self.stopping.store(true, Ordering::Release);
        if timeout(HAND_OVER_TIMEOUT, self.authority.hand_over())
            .await
            .is_err()
        {
            tracing::warn!("leadership was not handed over in time");
        }
        self.feed.shutdown();
        self.close.cancel();
        // The doors bound themselves by the drain's time; what is left after it is aborted.
        let _ = timeout(
            DRAIN_TIMEOUT + Duration::from_secs(1),
            self.stop_background(),
        )
        .await;
        self.tasks.abort_all();
        if timeout(RAFT_STOP_TIMEOUT, self.authority.raft().shutdown())
            .await
            .is_err()
        {
            tracing::warn!("consensus did not stop in time");
        }
        drop(self.store);
        info!("stopped");
    }

    async fn stop_background(&mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn bootstrap(&self, config: &Config, keys: &Keyholder) -> Result<(), NodeError> {
        if config.cluster.initial_members.is_empty() {
            return Ok(());
        }
        bootstrap::start(config, &self.authority, keys, &self.stop).await?;
        Ok(())
    }
}

/// Checks what the configuration's files hold: certificates, keys, policy. For `config check`.
///
/// # Errors
/// What [`Node::start`] would say.
pub fn check_material(config: &Config) -> Result<(), NodeError> {
    KeyEncryptionKey::load(&config.keys.encryption_key)?;
    let (public, peer) = tls_files(config);
    public.public_server(&[])?;
    peer.peer_server()?;
    own_certificate(config, &peer)?;
    if !config.cluster.initial_members.is_empty() {
        bootstrap::policy(config)?;
    }
    Ok(())
}

fn tls_files(config: &Config) -> (TlsFiles, TlsFiles) {
    let public = TlsFiles {
        certificate: config.public_tls.certificate.clone(),
        key: config.public_tls.key.clone(),
        authority: config.public_tls.client_ca.clone(),
    };
    let peer = TlsFiles {
        certificate: config.peer_tls.certificate.clone(),
        key: config.peer_tls.key.clone(),
        authority: config.peer_tls.ca.clone(),
    };
    (public, peer)
}

/// Peers would refuse it: better to say so here.
fn own_certificate(config: &Config, files: &TlsFiles) -> Result<(), NodeError> {
    let chain = files.chain()?;
    let names = PeerCertificate::read(&chain[0]);
    if names.node_id(&config.cluster.name) == Some(config.cluster.node_id) {
        return Ok(());
    }
    Err(NodeError::OtherCertificate {
        path: files.certificate.clone(),
        found: names
            .san_uris
            .first()
            .cloned()
            .unwrap_or_else(|| "no node".to_owned()),
        cluster: config.cluster.name.clone(),
        id: config.cluster.node_id,
    })
}

fn door_limits(config: &Config) -> DoorLimits {
    let limits = &config.limits;
    DoorLimits {
        connections_max: limits.connections_max,
        connections_per_address_max: limits.connections_per_address_max,
        handshake_timeout: limits.handshake_timeout.0,
        header_timeout: limits.header_timeout.0,
        idle_timeout: limits.idle_timeout.0,
        streams_max: limits.streams_max,
        // Against floods of requests that are taken back at once (CVE-2023-44487); h2's own default.
        streams_reset_max: 20,
        header_bytes_max: u32::try_from(limits.header_bytes_max.0).unwrap_or(u32::MAX),
    }
}

/// Members are few, each keeps a few connections, and one connection carries everything between two of them.
fn peer_limits(public: &DoorLimits) -> DoorLimits {
    let (connections_max, streams_max) = (1_024, 10_000);
    // A member takes appends and heartbeats back when they time out. On a machine that is too busy to look at them, that
    // must not cost the connection and all that is under way on it; callers are members, proved by mTLS.
    let streams_reset_max = 10_000;
    DoorLimits {
        connections_max,
        connections_per_address_max: connections_max,
        streams_max,
        streams_reset_max,
        ..public.clone()
    }
}

async fn open(
    name: &'static str,
    setting: &'static str,
    address: SocketAddr,
    tls: &Arc<ArcSwap<rustls::ServerConfig>>,
    limits: &DoorLimits,
) -> Result<Door, NodeError> {
    Door::open(name, address, Arc::clone(tls), limits.clone())
        .await
        .map_err(|error| listen(setting, address, &error))
}

fn listen(setting: &'static str, address: SocketAddr, error: &std::io::Error) -> NodeError {
    NodeError::Listen {
        setting,
        address,
        reason: error.to_string(),
    }
}

fn admit_member(certificate: Option<&PeerCertificate>, cluster: &str) -> Result<(), String> {
    let Some(certificate) = certificate else {
        return Err("the caller showed no certificate".to_owned());
    };
    if certificate.node_id(cluster).is_some() {
        return Ok(());
    }
    let names = certificate.san_uris.join(", ");
    Err(format!(
        "the certificate names no node of cluster `{cluster}` (SAN URIs: {names})"
    ))
}

async fn consensus(
    config: &Config,
    peer_tls: PeerTls,
) -> Result<(SledEngine, RaftHandle), NodeError> {
    let options = OpenOptions {
        cache_bytes: config.storage.cache.0,
        free_min: config.storage.free_min.0,
        identity: Some(hessra_sled::Identity {
            cluster: config.cluster.name.clone(),
            node: config.cluster.node_id,
        }),
    };
    let engine = SledEngine::open(&config.storage.path, options)?;
    let parts = Store::open(engine.clone())?;
    let identity = NodeIdentity {
        id: config.cluster.node_id,
        cluster: config.cluster.name.clone(),
    };
    let raft = raft::start(parts, identity, raft_settings(config), Arc::new(peer_tls)).await?;
    Ok((engine, raft))
}

fn raft_settings(config: &Config) -> RaftSettings {
    RaftSettings {
        heartbeat: config.raft.heartbeat.0,
        election_min: config.raft.election_min.0,
        election_max: config.raft.election_max.0,
        snapshot_entries: config.raft.snapshot_entries,
        log_keep: config.raft.log_keep,
        ..RaftSettings::default()
    }
}

fn feed_settings(config: &Config) -> FeedSettings {
    FeedSettings {
        heartbeat: config.feed.heartbeat.0,
        fresh_for: config.feed.fresh_for.0,
        subscribers_max: usize::try_from(config.feed.subscribers_max).unwrap_or(usize::MAX),
        forget_after: config.feed.forget_after.0,
        ..FeedSettings::default()
    }
}

fn issuer(
    config: &Config,
    authority: &Authority,
    keys: &Keyholder,
    policies: &Policies,
) -> Arc<Issuer> {
    let (state, freshness) = (authority.clone(), authority.clone());
    Arc::new(Issuer::new(IssuerParts {
        state: Arc::new(move || state.state()),
        freshness: Arc::new(move || freshness.freshness()),
        policies: policies.clone(),
        keys: keys.clone(),
        clock: authority.clock(),
        stale_max: config.issuing.stale_max.0,
        requests_per_second: NonZeroU32::new(config.limits.requests_per_second)
            .unwrap_or(NonZeroU32::MIN),
    }))
}

fn https_settings(config: &Config) -> Result<HttpsSettings, NodeError> {
    let path = &config.public_tls.server_ca;
    let unreadable = |error: std::io::Error| TlsError::Unreadable {
        path: path.clone(),
        reason: error.to_string(),
    };
    let server_ca = if path.as_os_str().is_empty() {
        None
    } else {
        Some(std::fs::read_to_string(path).map_err(unreadable)?)
    };
    Ok(HttpsSettings {
        body_bytes_max: config.limits.body_bytes_max.as_usize(),
        requests_at_once_max: usize::try_from(config.limits.requests_at_once_max)
            .unwrap_or(usize::MAX),
        server_ca,
    })
}

fn peer_router(authority: &Authority, inspector: &Inspector) -> axum::Router {
    let service = service(authority.clone(), inspector.clone(), Certificates::Required);
    tonic::service::Routes::new(service).into_axum_router()
}

/// The members that a new cluster starts with.
fn initial_members(config: &Config) -> BTreeMap<u64, Member> {
    let members = config.cluster.initial_members.iter();
    members
        .map(|member| {
            let (peer_address, public_address) = (member.peer.clone(), member.public.clone());
            (
                member.id,
                Member {
                    peer_address,
                    public_address,
                },
            )
        })
        .collect()
}

/// Unix seconds at which the certificate of a port ends.
fn expiry(files: &TlsFiles) -> Option<u64> {
    ends_at(files.chain().ok()?.first()?)
}
