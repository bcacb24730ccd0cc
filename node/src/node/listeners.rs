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
use crate::api::places::{PlaceLimits, Places};
use crate::callers;
use crate::config::{Config, Limits};
use crate::edge::Clock;
use crate::issuer::Ledger;
use crate::ops::Operations;
use crate::telemetry::{Collected, Metrics};
use crate::tls::listener::Admission;
use crate::tls::{
    Listener, ListenerLimits, NotAdmitted, PeerCertificate, SeatLimits, Served, Standing, TlsError,
};

/// Time for requests under way. They end in milliseconds; verifiers have been told to resume elsewhere.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Seats of the peer port: members are few, each keeps a few connections, and one connection carries everything between two
/// of them. Half are for members alone: a certificate of the cluster's CA that is no member's takes none of these.
const PEER_SEATS: SeatLimits = SeatLimits {
    seats_max: 1_024,
    unproved_max: 0,
    shared_max: 512,
    unproved_per_address_max: 1,
    proved_per_address_max: 512,
    per_certificate_max: 64,
    handshakes_max: 512,
    handshakes_per_address_max: 128,
    handshakes_per_second: 200,
};
/// Bodies between members: half is for members, and has room for eight of the largest messages. Requests are bounded by their
/// streams.
const PEER_PLACES: PlaceLimits = PlaceLimits {
    per_address_max: PEER_STREAMS_MAX,
    bodies_bytes_max: 512 * 1024 * 1024,
};
/// Longest life of a connection between members. An authority that is taken away ends it at once; this is for what nobody
/// thought of.
const PEER_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Handshakes under way on the public port: some 20 KB each.
const HANDSHAKES_MAX: u32 = 1_024;
/// Handshakes under way of one address: more than a fleet behind one address begins within the milliseconds of one.
const HANDSHAKES_PER_ADDRESS_MAX: u32 = 256;
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
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, NodeError> {
        let listen = &config.listen;
        let limits = listener_limits(config);
        let peer_limits = ListenerLimits {
            seats: PEER_SEATS,
            age_max: PEER_AGE_MAX,
            streams_max: PEER_STREAMS_MAX,
            streams_reset_max: PEER_STREAMS_RESET_MAX,
            is_counting_taken_back: false,
            ..limits.clone()
        };
        let peer = Listener::open(
            "peer",
            listen.peer,
            material.peer_port.clone(),
            peer_limits,
            clock,
            Arc::clone(metrics),
        );
        let peer = peer
            .await
            .map_err(|error| refused("listen.peer", listen.peer, &error))?;
        let public = Listener::open(
            "public",
            listen.public,
            material.public_port.clone(),
            limits,
            clock,
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
        let public = Served {
            router: public_router(config, parts)?,
            admission: public_admission(parts),
        };
        let peer = Served {
            router: peer_router(config, parts),
            admission: peer_admission(config, parts),
        };
        tasks.spawn(self.peer.serve(peer, close.clone(), DRAIN_TIMEOUT));
        tasks.spawn(self.operations.serve(
            parts.facts.readiness_answer(parts.inspector.clone()),
            collected,
            stop.clone(),
        ));
        tasks.spawn(self.public.serve(public, close.clone(), DRAIN_TIMEOUT));
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
        seats: public_seats(limits),
        handshake_timeout: limits.handshake_timeout.0,
        header_timeout: limits.header_timeout.0,
        idle_timeout: limits.idle_timeout.0,
        stall_timeout: limits.stall_timeout.0,
        age_max: limits.connection_age_max.0,
        streams_max: limits.streams_max,
        streams_reset_max: STREAMS_RESET_MAX,
        is_counting_taken_back: true,
        header_bytes_max: u32::try_from(limits.header_bytes_max.0).unwrap_or(u32::MAX),
    }
}

/// Seats of the public port. Strangers have half; a sixteenth is kept for operators; one address has at most half with proofs,
/// because a whole site may stand behind it, and one certificate a third, because a fleet may share it.
fn public_seats(limits: &Limits) -> SeatLimits {
    let seats_max = limits.connections_max;
    SeatLimits {
        seats_max,
        unproved_max: seats_max / 2,
        shared_max: seats_max - seats_max / 16,
        unproved_per_address_max: limits.connections_per_address_max.min(seats_max / 2),
        proved_per_address_max: seats_max / 2,
        per_certificate_max: seats_max / 3,
        handshakes_max: HANDSHAKES_MAX,
        handshakes_per_address_max: HANDSHAKES_PER_ADDRESS_MAX,
        handshakes_per_second: limits.handshakes_per_second,
    }
}

fn public_admission(parts: &Parts) -> Admission {
    let (consensus, policies) = (parts.consensus.clone(), parts.policies.clone());
    Arc::new(move |certificate| {
        let state = consensus.state();
        let policy = policies.of(&state);
        let now = consensus.world().clock.wall().seconds();
        let standing = certificate.map(|shown| callers::standing(shown, (&state, &policy), now));
        Ok(standing.unwrap_or_default())
    })
}

fn peer_admission(config: &Config, parts: &Parts) -> Admission {
    let (consensus, cluster) = (parts.consensus.clone(), config.cluster.name.clone());
    Arc::new(move |certificate| {
        let node = member_of(certificate, &cluster)?;
        Ok(match consensus.raft().is_member(node) {
            true => Standing::Kept,
            false => Standing::Proved,
        })
    })
}

/// The node that a certificate names.
fn member_of(certificate: Option<&PeerCertificate>, cluster: &str) -> Result<u64, NotAdmitted> {
    let certificate = certificate.ok_or(NotAdmitted::NoCertificate)?;
    certificate
        .node_id(cluster)
        .ok_or_else(|| NotAdmitted::NotAMember {
            cluster: cluster.to_owned(),
            names: certificate.san_uris.join(", "),
        })
}

fn peer_router(config: &Config, parts: &Parts) -> Router {
    let identity = parts.consensus.raft().identity().clone();
    let router = peers::router(identity, parts.inbound(config), parts.join_secret.clone());
    Places::new(PEER_PLACES, &parts.metrics).around(router)
}

fn public_router(config: &Config, parts: &Parts) -> Result<Router, NodeError> {
    let issuer = parts.issuer(config);
    let allowing = Arc::clone(&issuer);
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
        address_allowance: Arc::new(move |address| allowing.allows(Some(address)).is_ok()),
    });
    let https = https::router(
        issuer,
        Ledger::new(parts.consensus.clone()),
        parts.auditor.clone(),
        https_settings(config)?,
        (
            Arc::clone(&parts.metrics),
            parts.consensus.world().traces.clone(),
        ),
    );
    let router = grpc.fallback(https::not_found).merge(https);
    Ok(Places::new(place_limits(&config.limits), &parts.metrics).around(router))
}

fn place_limits(limits: &Limits) -> PlaceLimits {
    PlaceLimits {
        per_address_max: limits.requests_per_address_max,
        bodies_bytes_max: limits.bodies_bytes_max.as_usize(),
    }
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
