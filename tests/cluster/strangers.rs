//! Strangers on the peer port: a certificate of the cluster's CA proves a name, and makes no member.

use hessra_consensus::NodeIdentity;
use hessra_proto::Reason;
use hessra_proto::v1::log::{Start, StartLine, Vote};
use hessra_proto::v1::raft::raft_client::RaftClient;
use hessra_proto::v1::raft::{
    AppendRequest, Between, InspectRequest, ProposeRequest, SnapshotChunk, SnapshotMeta,
    VoteRequest,
};
use hessra_tests::{Cluster, Layout};
use prost::Message as _;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

/// Names a store with every request, as members do.
#[derive(Clone)]
pub(crate) struct ShowsStore(Vec<u8>);

impl ShowsStore {
    /// The store of member `id`, started once more: who has the machine has that. Any, when it is no member.
    fn of(cluster: &Cluster, id: u64) -> Self {
        let status = cluster.status().unwrap_or_default();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let node = nodes.iter().find(|node| node["id"].as_u64() == Some(id));
        let store = node.and_then(|node| node["store"].as_str());
        let store = store.and_then(|store| data_encoding::HEXLOWER.decode(store.as_bytes()).ok());
        let nonce = node.and_then(|node| node["line"]["nonce"].as_str());
        let nonce = nonce.and_then(|nonce| data_encoding::HEXLOWER.decode(nonce.as_bytes()).ok());
        let line = StartLine {
            number: node
                .and_then(|node| node["line"]["number"].as_u64())
                .unwrap_or(1),
            nonce: nonce
                .filter(|nonce| nonce.len() == 16)
                .unwrap_or_else(|| vec![9; 16]),
        };
        let from = Start {
            incarnation: store
                .filter(|store| store.len() == 16)
                .unwrap_or_else(|| vec![7; 16]),
            count: 1_000,
            nonce: vec![9; 16],
            line: Some(line),
            after: Some(StartLine {
                number: 0,
                nonce: vec![0; 16],
            }),
            earlier: vec![0; 8],
        };
        let between = Between {
            from: Some(from),
            ..Between::default()
        };
        Self(between.encode_to_vec())
    }
}

impl Interceptor for ShowsStore {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::from_bytes(&self.0);
        request
            .metadata_mut()
            .insert_bin("hessra-between-bin", value);
        Ok(request)
    }
}

/// A machine with the certificate of one node, which speaks to the peer port of another.
pub(crate) struct Stranger {
    pub(crate) id: u64,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) client: RaftClient<InterceptedService<Channel, ShowsStore>>,
    pub(crate) cluster_id: Vec<u8>,
}

impl Stranger {
    pub(crate) fn new(cluster: &Cluster, id: u64, to: u64) -> Self {
        Self::with(cluster, id, to, ShowsStore::of(cluster, id))
    }

    fn with(cluster: &Cluster, id: u64, to: u64, store: ShowsStore) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let read = |name: &str| {
            std::fs::read(cluster.directory().join(name)).expect("a file of the cluster")
        };
        let (certificate, key) = (
            read(&format!("node-{id}/peer.crt")),
            read(&format!("node-{id}/peer.key")),
        );
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("cluster-ca.crt")))
            .identity(Identity::from_pem(certificate, key))
            .domain_name("localhost");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let address = format!("https://{}", cluster.node(to).peer);
        let endpoint = Endpoint::from_shared(address).expect("an address");
        let endpoint = endpoint.tls_config(tls).expect("a certificate and its key");
        let channel = runtime
            .block_on(endpoint.connect())
            .expect("TLS lets it in");
        let identity = NodeIdentity {
            id,
            cluster: "dev".to_owned(),
        };
        Self {
            id,
            runtime,
            client: RaftClient::with_interceptor(channel, store),
            cluster_id: identity.cluster_id().to_vec(),
        }
    }

    /// The vote of a leader that nobody elected.
    fn vote(&self, committed: bool) -> Option<Vote> {
        Some(Vote {
            term: 1_000,
            node: self.id,
            committed,
        })
    }

    /// Reasons of the refusals of everything that a stranger can ask for; `None` = it was heard.
    fn refusals(&mut self) -> Vec<(&'static str, Option<Reason>)> {
        let cluster_id = self.cluster_id.clone();
        let append = AppendRequest {
            cluster_id: cluster_id.clone(),
            vote: self.vote(true),
            ..Default::default()
        };
        let vote = VoteRequest {
            cluster_id: cluster_id.clone(),
            vote: self.vote(false),
            last_log: None,
        };
        // The head alone: who is refused is refused before a body.
        let head = SnapshotChunk {
            cluster_id: cluster_id.clone(),
            vote: self.vote(true),
            meta: Some(SnapshotMeta::default()),
            ..Default::default()
        };
        let propose = ProposeRequest {
            cluster_id: cluster_id.clone(),
            batch: None,
        };
        let inspect = InspectRequest {
            cluster_id,
            verifiers: true,
        };
        let client = &mut self.client;
        self.runtime.block_on(async {
            vec![
                ("append", refusal(client.append(append).await)),
                ("vote", refusal(client.vote(vote).await)),
                (
                    "snapshot",
                    refusal(client.snapshot(tokio_stream::iter([head])).await),
                ),
                ("propose", refusal(client.propose(propose).await)),
                ("inspect", refusal(client.inspect(inspect).await)),
            ]
        })
    }
}

pub(crate) fn refusal<T>(outcome: Result<Response<T>, Status>) -> Option<Reason> {
    outcome.err().map(|status| Reason::from(&status))
}

fn assert_unheard(stranger: &mut Stranger) {
    assert_refused(stranger, Reason::NotPermitted);
}

fn assert_refused(stranger: &mut Stranger, reason: Reason) {
    for (asked, refusal) in stranger.refusals() {
        assert_eq!(refusal, Some(reason), "{asked}");
    }
}

#[test]
fn a_certificate_of_the_cluster_that_was_never_a_member_is_heard_by_no_member() {
    let mut cluster = Layout::new("stranger").joining(1).prepare();
    cluster.start_nodes(1..=3);
    let leader = cluster.leader();
    for node in 1..=3 {
        assert_unheard(&mut Stranger::new(&cluster, 4, node));
    }
    assert_eq!(cluster.leader(), leader, "nothing was disturbed");
    let operator = cluster.operator();
    operator
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
}

#[test]
fn a_member_that_was_removed_is_heard_no_more_though_its_certificate_is_good() {
    let cluster = Cluster::start("fenced");
    let removed = cluster.follower();
    let operator = cluster.operator();
    operator
        .run(["cluster", "remove", &removed.to_string(), "--yes"])
        .done();
    for node in (1..=3).filter(|node| *node != removed) {
        assert_refused(&mut Stranger::new(&cluster, removed, node), Reason::Removed);
    }
}

#[test]
fn a_machine_with_the_certificate_of_a_member_and_another_store_is_refused() {
    let cluster = Cluster::start("other_store");
    let follower = cluster.follower();
    for node in (1..=3).filter(|node| *node != follower) {
        let mut stranger = Stranger::with(&cluster, follower, node, ShowsStore::of(&cluster, 9));
        assert_refused(&mut stranger, Reason::Disowned);
    }
}

#[test]
fn a_machine_that_waits_to_be_added_hears_no_one_without_the_join_secret() {
    let mut cluster = Layout::new("waiting").joining(1).prepare();
    cluster.spawn(4);
    cluster.wait_live(4);
    // A member's certificate, and no secret.
    assert_unheard(&mut Stranger::new(&cluster, 1, 4));
}
