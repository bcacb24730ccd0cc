//! The three ports: opened before anything else, so that a taken one stops the node early, and served at the end.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::NodeError;
use super::material::Material;
use super::parts::Parts;
use crate::api::grpc::{self, GrpcParts};
use crate::api::https::{self, HttpsSettings};
use crate::api::peers;
use crate::config::Config;
use crate::issuer::Ledger;
use crate::ops::Operations;
use crate::telemetry::{Collected, Metrics};
use crate::tls::{Listener, ListenerLimits, NotAdmitted, PeerCertificate, TlsError};

/// Time for requests under way. They end in milliseconds; verifiers have been told to resume elsewhere.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Most connections of the peer port. Members are few, each keeps a few connections, and one connection carries
/// everything between two of them.
const PEER_CONNECTIONS_MAX: u32 = 1_024;
const PEER_STREAMS_MAX: u32 = 10_000;
/// Most streams that a member resets at once. Consensus gives up on a request that is not answered in time, and with
/// many under way it gives up on many at once.
const PEER_STREAMS_RESET_MAX: usize = 10_000;
/// Most streams that a client resets at once: hyper's own default, its answer to CVE-2023-44487 (streams opened and
/// reset as fast as the network carries them).
const STREAMS_RESET_MAX: usize = 20;

/// Addresses on which a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Addresses {
    pub public: SocketAddr,
    pub peer: SocketAddr,
    pub operations: SocketAddr,
}

/// The listeners of a node: bound, not yet served.
pub(super) struct Listeners {
    public: Listener,
    peer: Listener,
    operations: Operations,
    addresses: Addresses,
}

impl Listeners {
    pub(super) async fn open(
        config: &Config,
        material: &Material,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, NodeError> {
        let listen = &config.listen;
        let limits = listener_limits(config);
        let peer_limits = ListenerLimits {
            connections_max: PEER_CONNECTIONS_MAX,
            connections_per_address_max: PEER_CONNECTIONS_MAX,
            streams_max: PEER_STREAMS_MAX,
            streams_reset_max: PEER_STREAMS_RESET_MAX,
            ..limits.clone()
        };
        let cluster = config.cluster.name.clone();
        let peer = Listener::open(
            "peer",
            listen.peer,
            Arc::clone(&material.peer_config),
            peer_limits,
            move |certificate| admit_member(certificate, &cluster),
            Arc::clone(metrics),
        );
        let peer = peer
            .await
            .map_err(|error| refused("listen.peer", listen.peer, &error))?;
        let public = Listener::open(
            "public",
            listen.public,
            Arc::clone(&material.public_config),
            limits,
            |_| Ok(()),
            Arc::clone(metrics),
        );
        let public = public
            .await
            .map_err(|error| refused("listen.public", listen.public, &error))?;
        let refused = |error| refused("listen.operations", listen.operations, &error);
        let operations = Operations::open(listen.operations).await.map_err(refused)?;
        let addresses = Addresses {
            public: public.address(),
            peer: peer.address(),
            operations: operations.address(),
        };
        Ok(Self {
            public,
            peer,
            operations,
            addresses,
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves: members first, so that no request is taken that could not be answered for want of peers.
    pub(super) fn serve(
        self,
        config: &Config,
        parts: &Parts,
        collected: Collected,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
        close: &CancellationToken,
    ) -> Result<(), NodeError> {
        let public_router = public_router(config, parts)?;
        tasks.spawn(
            self.peer
                .serve(peer_router(config, parts), close.clone(), DRAIN_TIMEOUT),
        );
        tasks.spawn(
            self.operations
                .serve(parts.facts.readiness_answer(), collected, stop.clone()),
        );
        tasks.spawn(
            self.public
                .serve(public_router, close.clone(), DRAIN_TIMEOUT),
        );
        Ok(())
    }
}

fn refused(setting: &'static str, address: SocketAddr, error: &std::io::Error) -> NodeError {
    NodeError::Listen {
        setting,
        address,
        reason: error.to_string(),
    }
}

fn listener_limits(config: &Config) -> ListenerLimits {
    let limits = &config.limits;
    ListenerLimits {
        connections_max: limits.connections_max,
        connections_per_address_max: limits.connections_per_address_max,
        handshake_timeout: limits.handshake_timeout.0,
        header_timeout: limits.header_timeout.0,
        idle_timeout: limits.idle_timeout.0,
        streams_max: limits.streams_max,
        streams_reset_max: STREAMS_RESET_MAX,
        header_bytes_max: u32::try_from(limits.header_bytes_max.0).unwrap_or(u32::MAX),
    }
}

fn admit_member(certificate: Option<&PeerCertificate>, cluster: &str) -> Result<(), NotAdmitted> {
    let certificate = certificate.ok_or(NotAdmitted::NoCertificate)?;
    match certificate.node_id(cluster) {
        Some(_) => Ok(()),
        None => Err(NotAdmitted::NotAMember {
            cluster: cluster.to_owned(),
            names: certificate.san_uris.join(", "),
        }),
    }
}

fn peer_router(config: &Config, parts: &Parts) -> Router {
    let identity = parts.consensus.raft().identity().clone();
    let service = peers::service(identity, parts.inbound(config), parts.join_secret.clone());
    tonic::service::Routes::new(service).into_axum_router()
}

fn public_router(config: &Config, parts: &Parts) -> Result<Router, NodeError> {
    let grpc = grpc::router(GrpcParts {
        consensus: parts.consensus.clone(),
        feed: parts.feed.clone(),
        inspector: parts.inspector.clone(),
        policies: parts.policies.clone(),
        revocations_per_second: NonZeroU32::new(config.limits.revocations_per_second)
            .unwrap_or(NonZeroU32::MIN),
        keys: parts.key_management.clone(),
        auditor: parts.auditor.clone(),
        metrics: Arc::clone(&parts.metrics),
    });
    let https = https::router(
        parts.issuer(config),
        Ledger::new(parts.consensus.clone()),
        parts.auditor.clone(),
        https_settings(config)?,
        Arc::clone(&parts.metrics),
    );
    Ok(grpc.fallback(https::not_found).merge(https))
}

fn https_settings(config: &Config) -> Result<HttpsSettings, NodeError> {
    let path = &config.public_tls.server_ca;
    let unreadable = |error: std::io::Error| TlsError::Unreadable {
        path: path.clone(),
        reason: error.to_string(),
    };
    let server_ca = match path.as_os_str().is_empty() {
        true => None,
        false => Some(std::fs::read_to_string(path).map_err(unreadable)?),
    };
    Ok(HttpsSettings {
        body_bytes_max: config.limits.body_bytes_max.as_usize(),
        requests_at_once_max: usize::try_from(config.limits.requests_at_once_max)
            .unwrap_or(usize::MAX),
        server_ca,
    })
}
