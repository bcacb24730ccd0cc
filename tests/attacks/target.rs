//! The cluster under attack: its operator, its verifier, and what is seen of the attacked node from outside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hessra_sdk_rust::v1::{RevokeRequest, WatchAppliedRequest, target};
use hessra_sdk_rust::{
    Authority, Connection, Credentials, IdentityClient, RequestId, Servers, Trust, Verifier, v1,
};
use hessra_tests::Cluster;
use tokio_stream::StreamExt as _;

/// Time within which an operator is let in, or a verifier is fresh again: a retry or two on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster of three, of which the leader is attacked.
pub(crate) struct Target {
    cluster: Cluster,
    id: u64,
    operator: Authority,
    verifier: Verifier,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let cluster = tokio::task::block_in_place(|| Cluster::start("attacks"));
        let id = tokio::task::block_in_place(|| cluster.leader());
        let directory = cluster.directory();
        let connection = connection(directory, "operator", &cluster.node(id).public);
        let verifier = Verifier::builder()
            .connection(self::connection(
                directory,
                "verifier",
                &cluster.node(id).public,
            ))
            .id("orders-honest")
            .and_then(hessra_sdk_rust::VerifierBuilder::connect)
            .expect("a verifier");
        let ready = tokio::time::timeout(PATIENCE, verifier.ready()).await;
        ready.expect("a verifier that the policy names is served");
        Self {
            operator: Authority::new(connection),
            verifier,
            cluster,
            id,
        }
    }

    /// Id of the attacked node.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Public address of the attacked node.
    pub(crate) fn address(&self) -> &str {
        &self.cluster.node(self.id).public
    }

    /// Path of a file of the cluster.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.cluster.directory().join(name)
    }

    /// Process of the attacked node.
    pub(crate) fn process(&self) -> u32 {
        let process = self.cluster.node(self.id).process_id();
        process.expect("the node runs")
    }

    /// Open connections of the public port without a proof.
    pub(crate) fn unproved_seats(&self) -> u64 {
        let labels = ["port=\"public\"", "standing=\"unproved\""];
        let seats = self
            .cluster
            .metric_with(self.id, "hessra_connections", &labels);
        // Rust rounds and saturates; a gauge of seats is a small whole number.
        seats as u64
    }

    /// Bytes of the audit of the attacked node.
    pub(crate) fn audit_bytes(&self) -> u64 {
        let folder = self.cluster.node(self.id).data.join("audit");
        let files = std::fs::read_dir(folder).expect("the audit of a running node");
        let sizes = files.flatten().filter_map(|file| file.metadata().ok());
        sizes.map(|file| file.len()).sum()
    }

    /// Revokes something, over a connection that stays open. Returns the revision.
    pub(crate) async fn revoke(&self) -> Option<u64> {
        revoke(&self.operator).await
    }

    /// True when an operator is let in on a new connection and revokes.
    pub(crate) async fn is_operator_let_in(&self) -> bool {
        let fresh = connection(self.cluster.directory(), "operator", self.address());
        let revoked = revoke(&Authority::new(fresh.timeout(PATIENCE))).await;
        revoked.is_some()
    }

    /// True when the verifier is fresh now or soon.
    pub(crate) async fn is_verifier_fresh(&self) -> bool {
        let ready = tokio::time::timeout(PATIENCE, self.verifier.ready());
        ready.await.is_ok()
    }

    /// True when a revocation is seen to be applied at all verifiers that count.
    pub(crate) async fn is_waiting_for_all_over(&self) -> bool {
        let Some(revision) = self.revoke().await else {
            return false;
        };
        let request = WatchAppliedRequest {
            revision,
            fraction: 0.0,
            count: 0,
        };
        let wait = async {
            let mut reports = self.operator.watch_applied(request, PATIENCE).await.ok()?;
            while let Some(report) = reports.next().await {
                if report.ok()?.done {
                    return Some(());
                }
            }
            None
        };
        matches!(tokio::time::timeout(PATIENCE, wait).await, Ok(Some(())))
    }

    /// Identity token of alice.
    pub(crate) async fn token(&self) -> Option<String> {
        let connection = connection(self.cluster.directory(), "alice", self.address());
        let client = IdentityClient::new(connection.timeout(PATIENCE)).ok()?;
        let token = client.request_identity_token(None).await.ok()?;
        Some(token.token)
    }
}

fn connection(directory: &Path, name: &str, address: &str) -> Connection {
    let servers: Servers = address.parse().expect("an address");
    let trust = Trust::file(directory.join("ca.crt")).expect("the CA of the cluster");
    let file = |extension: &str| directory.join(format!("clients/{name}.{extension}"));
    let credentials = Credentials::files(file("crt"), file("key")).expect("a certificate");
    Connection::new(servers, trust).credentials(credentials)
}

async fn revoke(authority: &Authority) -> Option<u64> {
    let id = RequestId::random();
    let name = format!("urn:hessra:attacked:{id}");
    let request = RevokeRequest {
        request_id: id.0.to_vec(),
        targets: vec![v1::Target {
            kind: Some(target::Kind::Subtree(name)),
        }],
        ..RevokeRequest::default()
    };
    let revoked = authority.revoke(request).await.ok()?;
    Some(revoked.items.first()?.revision)
}
