//! Nodes that can be stopped, started again on the same directory, and cut off from each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use hessra_audit::Actor;
use hessra_consensus::feed::{CheckpointSigner, FeedSettings, SigningError};
use hessra_consensus::{
    Asked, Change, ChangeError, ConsensusSettings, Inbound, NodeIdentity, RaftSettings, Setup,
    WriteError, WriteGuard,
};
use hessra_people::{Person, authority};
use hessra_proof::{Checker, Proof};
use hessra_proto::NodeState;
use hessra_proto::statement::{PROOF_KEY, Stated, digest};
use hessra_proto::v1;
use hessra_revocation::{
    FeedId, FeedSalt, Identity, KeyPurpose, KeyState, Revision, Target, UnixMillis,
};
use hessra_rights::Rights;
use hessra_sled::{Member, OpenOptions, SledEngine, Store, codec};
use hessra_state::{Applied, Author, Command, Init, Policy, RequestId, Revoke, SealedKey, duty_of};
use openraft::TokioRuntime;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use zeroize::Zeroizing;

use super::cut::{Cuts, Cuttable, PeerIo, PlainDialer, node_of};
use crate::api::grpc::{self, GrpcParts};
use crate::api::peers::{PeerService, server};
use crate::audit::{AuditSettings, Auditor, ClusterSide, FolderError, NodeKey};
use crate::edge::{Clock, random_16};
use crate::join::JoinSecret;
use crate::keys::KeyManagement;
use crate::keys::rotation::Schedule;
use crate::peers::PeerClients;
use crate::policy::Policies;
use crate::seal::{KekRing, MemoryKek, create_file};
use crate::telemetry::{Metrics, Traces};
use crate::tls::{PeerCertificate, node_urn};
use crate::world::{Consensus, FeedHub, Inspector, NodeWorld};
use hessra_consensus::NodeFacts;

pub(super) const OPERATOR: &str = "urn:hessra:operator";
/// One operator makes every change alone: what two persons must do is tested through the binaries.
const CLIENTS: &str = r#"
[limits]
two_person = false

[[operators]]
identity = "urn:hessra:operator"
rights = ["revoke", "lift", "keys", "policy", "cluster", "read"]

[[verifiers]]
identity = "urn:hessra:operator"
ids = ["*"]
"#;
/// Longest wait: longer than any in a test that passes, on a machine that does other things too.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn feed_key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

struct TestSigner;

impl CheckpointSigner for TestSigner {
    fn sign(&self, bytes: &[u8], _: &dyn Fn(u32) -> bool) -> Result<(u32, [u8; 64]), SigningError> {
        Ok((2, feed_key().sign(bytes).to_bytes()))
    }
}

/// A cluster without an audit key, which witnesses nothing.
struct Unsigned;

impl ClusterSide for Unsigned {
    fn cluster(&self) -> FeedId {
        FeedId::default()
    }

    fn witnessed(&self, _: hessra_audit::Chain) -> Option<hessra_state::Witnessed> {
        None
    }

    fn sign(&self, _: &[u8]) -> Option<(u32, [u8; 64])> {
        None
    }
}

/// A disk that is full when the test says so.
#[derive(Default)]
pub(super) struct Disk(Mutex<Option<String>>);

impl Disk {
    pub(super) fn is_full(&self, sentence: &str) {
        *self.0.lock().unwrap() = Some(sentence.to_owned());
    }
}

impl WriteGuard for Disk {
    fn refusal(&self) -> Option<String> {
        self.0.lock().unwrap().clone()
    }
}

struct Ready;

impl NodeFacts for Ready {
    fn readiness(&self) -> NodeState {
        NodeState::Ready
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn keks(&self) -> Vec<String> {
        Vec::new()
    }

    fn conditions(&self) -> Vec<hessra_proto::v1::Condition> {
        Vec::new()
    }
}

/// One node of a cluster.
pub(super) struct Node {
    pub(super) consensus: Consensus,
    pub(super) feed: FeedHub,
    pub(super) inspector: Inspector,
    pub(super) disk: Arc<Disk>,
    auditor: Auditor,
    pub(super) public: SocketAddr,
    stop: CancellationToken,
}

impl Node {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.consensus.raft().shutdown().await;
        self.auditor.close().await;
        // The store is closed when the last task that holds it has ended.
        drop(self);
    }

    pub(super) async fn revoke(
        &self,
        identity: &str,
        request: [u8; 16],
    ) -> Result<Revision, WriteError> {
        let revoke = Revoke {
            targets: vec![Target::Subtree(Identity::parse(identity).unwrap())],
            permanent: false,
            until: None,
            reason: String::new(),
            ticket: String::new(),
            message: String::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        let command = Command::Revoke(revoke);
        let committed = self.propose(command, request, deadline).await?;
        match committed {
            Applied::Revoked(items) => Ok(items[0].revision),
            other => panic!("not revoked: {other:?}"),
        }
    }

    /// Request for a command: signed by the operator, or of this node where it is a node's duty.
    pub(super) fn asked(&self, command: &Command, request: [u8; 16]) -> Asked {
        let author = match codec::statement_digest(command) {
            Some(digest) => Author::Operator(self.proof(request, digest)),
            None => Author::Node {
                id: self.consensus.raft().identity().id,
                duty: duty_of(command).unwrap(),
            },
        };
        Asked {
            author,
            request: RequestId(request),
            actor: Actor::default(),
        }
    }

    /// Asks for a change of the members, as the operator.
    pub(super) async fn change_members(
        &self,
        change: &Change,
        deadline: Instant,
    ) -> Result<u64, ChangeError> {
        let asked = self.asked(&Command::Members(change.into()), random_16());
        self.consensus.change_members(change, asked, deadline).await
    }

    /// A request as the operator's SDK sends it.
    pub(super) fn signed<Q: Stated>(&self, message: Q) -> tonic::Request<Q> {
        let request = message.request_id().try_into().unwrap_or_default();
        let proof = self.proof(request, digest(&message.statement()));
        let mut request = tonic::Request::new(message);
        let text = proof.text().parse().unwrap();
        request.metadata_mut().insert(PROOF_KEY, text);
        request
    }

    fn proof(&self, request: [u8; 16], digest: [u8; 32]) -> Proof {
        let cluster = self.consensus.state().view().feed_id;
        let now = self.consensus.world().clock.wall().seconds();
        Person::named(OPERATOR).proof(cluster.0, request, digest, now.0)
    }

    pub(super) async fn propose(
        &self,
        command: Command,
        request: [u8; 16],
        deadline: Instant,
    ) -> Result<Applied, WriteError> {
        let asked = self.asked(&command, request);
        let committed = self.consensus.propose(command, asked, deadline).await?;
        Ok(committed.applied)
    }

    /// A linearizable look: the revision at which the identity is revoked.
    pub(super) async fn check(&self, identity: &str) -> Option<Revision> {
        self.consensus
            .linearize(Instant::now() + PATIENCE)
            .await
            .unwrap();
        let target = Target::Subtree(Identity::parse(identity).unwrap());
        self.consensus
            .state()
            .find(&target)
            .map(|(revision, _)| revision)
    }

    pub(super) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.public))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(super) async fn operator(&self) -> v1::authority_client::AuthorityClient<Channel> {
        v1::authority_client::AuthorityClient::new(self.channel().await)
    }
}

/// Nodes by id; those that are stopped are absent.
pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) cuts: Cuts,
    clock: Clock,
    addresses: BTreeMap<u64, SocketAddr>,
    directory: TempDir,
    settings: RaftSettings,
    consensus_settings: ConsensusSettings,
}

impl Cluster {
    /// One node that was told of no cluster: it has no leader.
    pub(super) async fn lonely(settings: ConsensusSettings) -> Self {
        let mut cluster = Self::empty(fast());
        cluster.consensus_settings = settings;
        cluster.start(1).await;
        cluster
    }

    fn empty(settings: RaftSettings) -> Self {
        Self {
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            cuts: Cuts::default(),
            clock: Clock::start(),
            directory: TempDir::new().unwrap(),
            settings,
            consensus_settings: ConsensusSettings::default(),
        }
    }

    /// Three nodes with a leader and an initialized state.
    pub(super) async fn three() -> Self {
        Self::three_with(fast()).await
    }

    pub(super) async fn three_with(settings: RaftSettings) -> Self {
        let mut cluster = Self::empty(settings);
        for id in 1..=3 {
            cluster.start(id).await;
        }
        let members = (1..=3).map(|id| (id, cluster.member(id))).collect();
        cluster.nodes[&1].consensus.found(&members).await.unwrap();
        let leader = cluster.leader().await;
        let deadline = Instant::now() + PATIENCE;
        let initialized = cluster.nodes[&leader].propose(init(), [1; 16], deadline);
        let applied = initialized.await.unwrap();
        assert!(
            matches!(applied, Applied::Initialized { .. }),
            "{applied:?}"
        );
        cluster.settle().await;
        for node in cluster.nodes.values() {
            eventually(async || node.feed.checkpoint().ok()).await;
        }
        cluster
    }

    /// The secret that every node of this cluster has.
    fn join_secret(&self) -> JoinSecret {
        let path = self.directory.path().join("join-secret");
        if !path.exists() {
            create_file(&path, [3; 32]).unwrap();
        }
        JoinSecret::read(&path).unwrap()
    }

    /// Starts a node for the first time or again, on its own directory and address.
    pub(super) async fn start(&mut self, id: u64) {
        let address = self
            .addresses
            .get(&id)
            .copied()
            .unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let listener = eventually(async || TcpListener::bind(address).await.ok()).await;
        self.addresses.insert(id, listener.local_addr().unwrap());
        let identity = NodeIdentity {
            id,
            cluster: "test".to_owned(),
        };
        let directory = self.directory.path().join(id.to_string());
        // The process that ran before may still be letting go of its lock.
        let store = eventually(async || open(&directory, &identity)).await;
        let dialer = Arc::new(PlainDialer {
            from: id,
            cuts: self.cuts.clone(),
        });
        let (stop, metrics) = (CancellationToken::new(), Metrics::unrecorded());
        let secret = self.join_secret();
        let auditor = eventually(async || audit(&directory, id, self.clock).ok()).await;
        let disk = Arc::new(Disk::default());
        let world = NodeWorld {
            clock: self.clock,
            peers: Arc::new(PeerClients::new(&identity, dialer, Some(secret.clone()))),
            metrics: Arc::clone(&metrics),
            traces: Traces::off(),
        };
        let setup = Setup {
            identity,
            store,
            world,
            guard: disk.clone(),
            operators: Arc::new(Checker::new(vec![authority()])),
            audit: Arc::new(auditor.clone()),
            raft: self.settings.clone(),
            settings: self.consensus_settings.clone(),
        };
        let (consensus, background) = Consensus::start(setup, &stop).await.unwrap();
        tokio::spawn(background.run(stop.clone()));
        let settings = FeedSettings {
            heartbeat: Duration::from_millis(250),
            fresh_for: Duration::from_secs(2),
            ..FeedSettings::default()
        };
        let policies = Policies::default();
        let feed = FeedHub::start(
            consensus.clone(),
            Arc::new(TestSigner),
            settings,
            policies.parsed(),
            &stop,
        );
        let inspector = Inspector::new(consensus.clone(), feed.clone(), Arc::new(Ready));
        let parts = GrpcParts {
            consensus: consensus.clone(),
            feed: feed.clone(),
            inspector: inspector.clone(),
            policies,
            revocations_per_second: std::num::NonZeroU32::MAX,
            keys: key_management(),
            auditor: auditor.clone(),
            metrics,
            address_allowance: Arc::new(|_| true),
        };
        let public = serve(parts, secret, listener, self.cuts.of(id), &stop).await;
        self.nodes.insert(
            id,
            Node {
                consensus,
                feed,
                inspector,
                disk,
                auditor,
                public,
                stop,
            },
        );
    }

    pub(super) async fn stop(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap().stop().await;
    }

    pub(super) fn member(&self, id: u64) -> Member {
        let address = self.addresses[&id].to_string();
        Member {
            peer_address: address,
            public_address: format!("public{id}.test:{}", 7_400 + id),
            incarnation: None,
        }
    }

    /// The leader that a majority of the running nodes know.
    pub(super) async fn leader(&self) -> u64 {
        eventually(async || {
            let known = self
                .nodes
                .values()
                .filter_map(|node| node.consensus.raft().status().leader);
            let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
            known.for_each(|leader| *votes.entry(leader).or_default() += 1);
            let (leader, count) = votes.into_iter().max_by_key(|(_, count)| *count)?;
            let leads = self.nodes.get(&leader)?.consensus.raft().is_leader();
            (leads && count * 2 > self.nodes.len()).then_some(leader)
        })
        .await
    }

    pub(super) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        *self.nodes.keys().find(|id| **id != leader).unwrap()
    }

    /// Returns when all running nodes have applied the same entry, and their digests are equal there. An entry need not make a
    /// revision: the start of a node does not.
    pub(super) async fn settle(&self) {
        let images = eventually(async || {
            let images = self.nodes.values();
            let images: Vec<_> = images
                .map(|node| node.consensus.raft().remembered().image())
                .collect();
            let applied = images.first()?.applied;
            let begun = images.first()?.machine.state().view().revision > Revision(0);
            let equal = images.iter().all(|image| image.applied == applied);
            (begun && equal).then_some(images)
        })
        .await;
        let mut digests = images.iter().map(|image| image.machine.digest());
        let first = digests.next().unwrap();
        assert!(
            digests.all(|digest| digest == first),
            "equal entries, other states"
        );
    }
}

fn fast() -> RaftSettings {
    RaftSettings {
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(500),
        ..RaftSettings::default()
    }
}

/// Settings for a snapshot after so many entries, and almost no log kept below it.
pub(super) fn snapshots_every(entries: u64) -> RaftSettings {
    RaftSettings {
        snapshot_entries: entries,
        log_keep: 5,
        purge_batch: 1,
        ..fast()
    }
}

type Opened = hessra_sled::Parts<SledEngine, TokioRuntime>;

fn audit(directory: &std::path::Path, node: u64, clock: Clock) -> Result<Auditor, FolderError> {
    let settings = AuditSettings {
        folder: directory.join("audit"),
        node,
        segment_bytes: 1 << 20,
        keep_age: Duration::from_secs(3_600),
        keep_bytes: 1 << 30,
        refusals_keep_bytes: 1 << 30,
        free_min: 0,
    };
    let key = NodeKey::new(&[node as u8; 32]);
    Auditor::open(
        settings,
        clock,
        Arc::new(Unsigned),
        key,
        Metrics::unrecorded(),
    )
}

fn open(directory: &std::path::Path, identity: &NodeIdentity) -> Option<Opened> {
    let identity = hessra_sled::Identity {
        cluster: identity.cluster.clone(),
        node: identity.id,
    };
    let options = OpenOptions {
        identity: Some(identity),
        ..OpenOptions::default()
    };
    let engine = SledEngine::open(directory, options).ok()?;
    Some(
        Store::open(
            engine,
            Arc::new(Rights::new(hessra_sled::codec::action_digest)),
        )
        .unwrap(),
    )
}

async fn serve(
    parts: GrpcParts,
    join_secret: JoinSecret,
    listener: TcpListener,
    cut: Arc<AtomicBool>,
    stop: &CancellationToken,
) -> SocketAddr {
    let inbound = Inbound::new(
        parts.consensus.clone(),
        parts.inspector.clone(),
        (1..=3).collect(),
    );
    let identity = parts.consensus.raft().identity().clone();
    let peer = server(Arc::new(PeerService::new(
        identity,
        inbound,
        Some(join_secret),
    )));
    let incoming = tokio_stream::StreamExt::map(TcpListenerStream::new(listener), move |stream| {
        stream.map(|stream| {
            let _ = stream.set_nodelay(true);
            PeerIo(Cuttable {
                stream,
                ends: [Arc::clone(&cut), Arc::clone(&cut)],
            })
        })
    });
    let shown = tower::util::MapRequestLayer::new(|mut request: http::Request<_>| {
        if let Some(id) = node_of(&request) {
            let shown = certificate(&node_urn("test", id));
            request.extensions_mut().insert(shown);
        }
        request
    });
    let peers = Server::builder()
        .layer(shown)
        .add_service(peer)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::spawn(stop.clone().run_until_cancelled_owned(peers));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = grpc::router(parts).layer(axum::Extension(certificate(OPERATOR)));
    let public = axum::serve(listener, router);
    tokio::spawn(
        stop.clone()
            .run_until_cancelled_owned(async move { public.await }),
    );
    address
}

/// The certificate that TLS would have found.
fn certificate(name: &str) -> PeerCertificate {
    PeerCertificate {
        der: Vec::new(),
        sha256: Person::named(name).signer().fingerprint(),
        san_uris: vec![name.to_owned()],
        san_dns: Vec::new(),
        ends_at: u64::MAX,
        is_of_files: true,
    }
}

fn init() -> Command {
    let key = |id, purpose, public_key| SealedKey {
        id,
        purpose,
        state: KeyState::Active,
        public_key,
        sealed: vec![1],
        changed_at: Revision(0),
        published: UnixMillis(0),
        since: UnixMillis(0),
    };
    let token = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
    let feed = feed_key().verifying_key().to_bytes();
    Command::Init(Init {
        feed_id: FeedId(random_16()),
        salt: FeedSalt(random_16()),
        keys: vec![
            key(1, KeyPurpose::Token, token),
            key(2, KeyPurpose::Feed, feed),
        ],
        policy: Policy::new(CLIENTS.to_owned(), String::new()),
    })
}

/// Looks until there is an answer.
pub(super) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, looking)
        .await
        .expect("it did not happen in time")
}

fn key_management() -> KeyManagement {
    let key = MemoryKek::new(Zeroizing::new([7; 32]), "test".to_owned());
    KeyManagement {
        keks: KekRing::new(Arc::new(key), None),
        schedule: Schedule {
            rotate_every: None,
            published_for_min: Duration::ZERO,
        },
    }
}
