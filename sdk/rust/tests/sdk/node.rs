//! Node as far as verifiers can see one: the real protocol, real signatures, real TLS; no consensus. The test is its
//! clock and its quorum: nothing is sent that the test did not ask for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use futures::Stream;
use hessra_proto::v1::feed::feed_server::{Feed, FeedServer};
use hessra_proto::v1::feed::{CheckpointRequest, CheckpointResponse, Downstream, Upstream};
use hessra_proto::{Greeting, VerifierMessage, to_downstream};
use hessra_revocation::follower::{Mode, SignedWelcome, Welcome};
use hessra_revocation::publisher::{Frame, Hello, Plan, ResetReason, Step, plan};
use hessra_revocation::{
    Change, Checkpoint, Cutoff, Epoch, Event, FeedEntry, FeedId, FeedSalt, History, Identity,
    KeyPurpose, KeyState, PublicKeyRecord, Publisher, Revision, Rule, SignedCheckpoint, Target,
    UnixMillis, UnixSeconds, View,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Identity as TlsIdentity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

pub(crate) const SALT: FeedSalt = FeedSalt([7; 16]);
pub(crate) const FEED: FeedId = FeedId([9; 16]);
pub(crate) const FEED_KEY: u32 = 1;

/// A certificate authority and a server certificate for `localhost`.
pub(crate) struct Certificates {
    pub ca: String,
    pub server: TlsIdentity,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        Self::of(&["localhost", "127.0.0.1"], 4096)
    }

    /// Certificates for a server of these names or addresses, until the first day of a year.
    pub(crate) fn of(names: &[&str], until: i32) -> Self {
        let ca_key = rcgen::KeyPair::generate().expect("key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).expect("self signed").pem();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let key = rcgen::KeyPair::generate().expect("key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("params");
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &issuer).expect("signed").pem();
        Self {
            ca,
            server: TlsIdentity::from_pem(certificate, key.serialize_pem()),
        }
    }
}

/// State that the whole cluster has in common.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub view: View,
    pub history: History,
}

impl Cluster {
    /// Cluster at revision 1, which names the feed key, as a real cluster's first entries do.
    pub(crate) fn new() -> Self {
        let view = View::new(FEED, Epoch(1), SALT);
        let history = History::new(Revision(0), view.log.clone());
        let mut this = Self { view, history };
        this.add(Change::Key(PublicKeyRecord {
            id: FEED_KEY,
            purpose: KeyPurpose::Feed,
            state: KeyState::Active,
            public_key: feed_key().verifying_key().to_bytes(),
        }));
        this
    }

    pub(crate) fn add(&mut self, change: Change) -> FeedEntry {
        let entry = FeedEntry {
            revision: self.view.revision.next(),
            at: UnixSeconds(1),
            change,
        };
        self.view.apply(&entry).expect("the next revision");
        self.history.push(&entry, &self.view.log);
        entry
    }

    pub(crate) fn revoke(&mut self, identity: &str) -> FeedEntry {
        let target = Target::Subtree(Identity::parse(identity).expect("canonical"));
        self.add(Change::Put(Rule::new(
            &SALT,
            &target,
            Cutoff::Permanent,
            None,
        )))
    }
}

/// Snapshot of a cluster, as a verifier would hold it.
pub(crate) fn snapshot(cluster: &Cluster) -> hessra_sdk_rust::cache::Snapshot {
    let body = Checkpoint::of(&cluster.view, Revision(0), UnixMillis(1), 0, 5000, 1).to_bytes();
    let signature = feed_key().sign(&body).to_bytes();
    let checkpoint = SignedCheckpoint {
        body,
        key_id: FEED_KEY,
        signature,
    };
    hessra_sdk_rust::cache::Snapshot {
        view: cluster.view.clone(),
        checkpoint,
    }
}

pub(crate) fn feed_key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

/// Events that the node saw, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Hello { from: Revision, plan: Plan },
    Ack { revision: Revision },
}

struct Inner {
    id: u64,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    seen: mpsc::UnboundedSender<(Greeting, Seen)>,
}

struct State {
    cluster: Cluster,
    publisher: Publisher<Downstream>,
    tick_ms: u64,
    fresh_for_ms: u32,
    key: SigningKey,
    reset: Option<ResetReason>,
}

/// A running node. It stops when dropped.
pub(crate) struct Node {
    inner: Arc<Inner>,
    pub address: SocketAddr,
    pub seen: mpsc::UnboundedReceiver<(Greeting, Seen)>,
    /// Runtime of its own, so that it can end as a process does: with all its streams, at once.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Node {
    pub(crate) fn start(id: u64, cluster: Cluster, certificates: &Certificates) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let head = cluster.view.revision;
        let state = State {
            cluster,
            publisher: Publisher::new(head, 16, 1 << 20),
            tick_ms: 1_000_000 * id,
            fresh_for_ms: 5000,
            key: feed_key(),
            reset: None,
        };
        let inner = Inner {
            id,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            seen: sender,
        };
        let inner = Arc::new(inner);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("an address");
        let tls = ServerTlsConfig::new().identity(certificates.server.clone());
        let service = FeedServer::new(Service(Arc::clone(&inner)));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let mut server = Server::builder().tls_config(tls).expect("tls");
            server
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });
        Self {
            inner,
            address,
            seen,
            runtime: Some(runtime),
        }
    }

    /// Kills the node as `kill -9` would.
    pub(crate) fn kill(self) {}

    /// Sends the heartbeat of a quorum that confirmed just now, to every connected verifier.
    pub(crate) fn heartbeat(&self) {
        let id = self.inner.id;
        self.change(|state| {
            state.tick_ms += 1;
            let signed = state.sign(id, &state.cluster.view);
            let revision = state.cluster.view.revision;
            let message = to_downstream(Event::Heartbeat(signed)).expect("a message");
            state.publisher.heartbeat(revision, message);
        });
    }

    /// Commits a revocation and pushes it to every connected verifier.
    pub(crate) fn revoke(&self, identity: &str) -> Revision {
        let id = self.inner.id;
        self.change(|state| {
            let entry = state.cluster.revoke(identity);
            let delta = state.delta(id, entry.revision, vec![entry.to_bytes()]);
            let frame = Frame {
                from: entry.revision,
                to: entry.revision,
                bytes: delta,
                size: 1,
            };
            state.publisher.push(frame).expect("without a hole");
            entry.revision
        })
    }

    /// Ends every stream with a reason; later ones are served again.
    pub(crate) fn reset(&self, reason: ResetReason) {
        self.change(|state| state.reset = Some(reason));
    }

    /// Signs with another key from now on.
    pub(crate) fn forge(&self) {
        self.change(|state| state.key = SigningKey::from_bytes(&[4; 32]));
    }

    pub(crate) fn fresh_for(&self, milliseconds: u32) {
        self.change(|state| state.fresh_for_ms = milliseconds);
    }

    /// The next thing it saw; fails the test when nothing happens.
    pub(crate) async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await;
        next.expect("a verifier says something").expect("open").1
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.inner.state.lock().expect("lock"));
        self.inner.changed.send_modify(|count| *count += 1);
        result
    }
}

impl State {
    fn sign(&self, node: u64, view: &View) -> SignedCheckpoint {
        let floor = self.cluster.history.floor();
        let now = UnixMillis(1_700_000_000_000);
        let body =
            Checkpoint::of(view, floor, now, self.tick_ms, self.fresh_for_ms, node).to_bytes();
        let signature = self.key.sign(&body).to_bytes();
        SignedCheckpoint {
            body,
            key_id: FEED_KEY,
            signature,
        }
    }

    fn delta(&self, node: u64, from: Revision, entries: Vec<Vec<u8>>) -> Downstream {
        let (to, checkpoint) = (
            self.cluster.view.revision,
            self.sign(node, &self.cluster.view),
        );
        to_downstream(Event::Delta {
            from,
            to,
            entries,
            checkpoint,
        })
        .expect("a message")
    }

    /// Welcome and what follows it at once.
    fn opening(&self, node: u64, plan: &Plan, hello: &Hello) -> Vec<Downstream> {
        let from = hello.from;
        let view = &self.cluster.view;
        let mode = match plan {
            Plan::Deltas => Mode::Deltas,
            Plan::Buckets(_) => Mode::Buckets,
            Plan::Snapshot => Mode::Snapshot,
            Plan::Refuse(reason) => {
                let retry_after = Duration::ZERO;
                return vec![
                    to_downstream(Event::Reset {
                        reason: *reason,
                        retry_after,
                    })
                    .expect("a message"),
                ];
            }
        };
        let welcome = Welcome {
            feed_id: view.feed_id,
            salt: SALT,
            epoch: view.epoch,
            head: view.revision,
            floor: self.cluster.history.floor(),
            mode,
            tick_ms: self.tick_ms,
            node,
            feed_keys: BTreeMap::from([(FEED_KEY, feed_key().verifying_key().to_bytes())]),
            counted: true,
        };
        let signature = self.key.sign(&welcome.to_bytes(&hello.nonce)).to_bytes();
        let mut events = vec![Event::Welcome(SignedWelcome {
            welcome,
            key_id: FEED_KEY,
            signature,
        })];
        match plan {
            Plan::Deltas => {}
            Plan::Buckets(numbers) => events.extend(self.snapshot(node, numbers.clone())),
            _ => events.extend(self.snapshot(node, (0..=255).collect())),
        }
        let mut messages: Vec<_> = events
            .into_iter()
            .map(|event| to_downstream(event).expect("sent"))
            .collect();
        if *plan == Plan::Deltas && from < view.revision {
            let entries = self
                .cluster
                .history
                .entries_from(from.next(), usize::MAX)
                .expect("retained");
            let entries = entries.into_iter().map(<[u8]>::to_vec).collect();
            messages.push(self.delta(node, from.next(), entries));
        }
        messages
    }

    fn snapshot(&self, node: u64, buckets: Vec<u8>) -> [Event; 2] {
        let view = &self.cluster.view;
        let rules = buckets
            .iter()
            .flat_map(|number| view.set.bucket(*number))
            .collect();
        let chunk = Event::SnapshotChunk {
            buckets,
            rules,
            keys: view.keys_bytes(),
        };
        let end = Event::SnapshotEnd {
            checkpoint: self.sign(node, view),
            frontier: view.log.peaks().to_vec(),
            policy_digest: view.policy_digest,
        };
        [chunk, end]
    }
}

struct Service(Arc<Inner>);

#[tonic::async_trait]
impl Feed for Service {
    type FollowStream = std::pin::Pin<Box<dyn Stream<Item = Result<Downstream, Status>> + Send>>;

    async fn follow(
        &self,
        request: Request<Streaming<Upstream>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let mut upstream = request.into_inner();
        let first = upstream
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("no hello"))?;
        let Ok(VerifierMessage::Hello(greeting)) = VerifierMessage::try_from(first) else {
            return Err(Status::invalid_argument("hello first"));
        };
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(serve(Arc::clone(&self.0), greeting.clone(), sender));
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(Some(message)) = upstream.message().await {
                if let Ok(VerifierMessage::Ack(ack)) = VerifierMessage::try_from(message) {
                    let _ = inner.seen.send((
                        greeting.clone(),
                        Seen::Ack {
                            revision: ack.revision,
                        },
                    ));
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn checkpoint(
        &self,
        _: Request<CheckpointRequest>,
    ) -> Result<Response<CheckpointResponse>, Status> {
        let state = self.0.state.lock().expect("lock");
        let checkpoint = Some(state.sign(self.0.id, &state.cluster.view).into());
        Ok(Response::new(CheckpointResponse {
            checkpoint,
            feed_keys: Vec::new(),
        }))
    }
}

async fn serve(
    inner: Arc<Inner>,
    greeting: Greeting,
    sender: mpsc::Sender<Result<Downstream, Status>>,
) {
    let mut changed = inner.changed.subscribe();
    let (opening, mut cursor, refused) = {
        let mut state = inner.state.lock().expect("lock");
        state.reset = None;
        let hello = &greeting.hello;
        let plan = plan(&state.cluster.view, &state.cluster.history, hello);
        let opening = state.opening(inner.id, &plan, hello);
        let cursor = state.publisher.cursor(state.cluster.view.revision);
        let refused = matches!(plan, Plan::Refuse(_));
        let _ = inner.seen.send((
            greeting.clone(),
            Seen::Hello {
                from: hello.from,
                plan,
            },
        ));
        (opening, cursor, refused)
    };
    for message in opening {
        if sender.send(Ok(message)).await.is_err() {
            return;
        }
    }
    if refused {
        return;
    }
    loop {
        let next = {
            let state = inner.state.lock().expect("lock");
            match state.reset {
                Some(reason) => Err(reason),
                None => Ok(state.publisher.next(&mut cursor)),
            }
        };
        match next {
            Ok(Step::Send(message)) => {
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            Ok(Step::Idle) => {
                if changed.changed().await.is_err() {
                    return;
                }
            }
            Ok(Step::CatchUp { from }) => {
                panic!("the test pushed more than 16 frames: behind from {from}")
            }
            Err(reason) => {
                let reset = Event::Reset {
                    reason,
                    retry_after: Duration::ZERO,
                };
                let _ = sender
                    .send(Ok(to_downstream(reset).expect("a message")))
                    .await;
                return;
            }
        }
    }
}
