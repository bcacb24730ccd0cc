//! Verifiers follow: the real follower over real streams.

use std::collections::BTreeMap;
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use hessra_proto::v1;
use hessra_proto::v1::feed::feed_client::FeedClient;
use hessra_proto::{Acknowledgement, Greeting, VerifierId, VerifierMessage};
use hessra_revocation::follower::{Action, Event};
use hessra_revocation::publisher::Nonce;
use hessra_revocation::{Follower, Identity, Revision, Target, VerifySignature};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::harness::{Cluster, Node, PATIENCE, eventually, snapshots_every};
use crate::edge::Clock;

struct Strict;

impl VerifySignature for Strict {
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let key = VerifyingKey::from_bytes(public_key);
        key.is_ok_and(|key| {
            key.verify_strict(message, &Signature::from_bytes(signature))
                .is_ok()
        })
    }
}

/// A verifier of a service, as the SDK drives it.
struct FollowingVerifier {
    id: VerifierId,
    follower: Follower<Strict>,
    clock: Clock,
    acks: bool,
    stream: Option<(
        mpsc::Sender<v1::feed::Upstream>,
        Streaming<v1::feed::Downstream>,
    )>,
    trouble: Vec<Action>,
}

impl FollowingVerifier {
    fn new(id: &str) -> Self {
        let follower = Follower::new(Strict, BTreeMap::new());
        Self {
            id: VerifierId::parse(id).unwrap(),
            follower,
            clock: Clock::start(),
            acks: true,
            stream: None,
            trouble: Vec::new(),
        }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        self.follower.handle(event, self.clock.monotonic())
    }

    async fn connect(&mut self, node: &Node) {
        let (said, upstream) = mpsc::channel(16);
        let mut client = FeedClient::new(node.channel().await);
        let actions = self.handle(Event::Connected {
            nonce: Nonce([3; 32]),
        });
        for action in actions {
            let Action::SendHello(hello) = action else {
                continue;
            };
            let greeting = Greeting {
                hello,
                verifier_id: self.id.clone(),
                capabilities: Vec::new(),
                client: "test".into(),
            };
            said.send(VerifierMessage::Hello(greeting).into())
                .await
                .unwrap();
        }
        let stream = client
            .follow(ReceiverStream::new(upstream))
            .await
            .unwrap()
            .into_inner();
        self.stream = Some((said, stream));
    }

    /// Takes one message. False = the stream is over.
    async fn step(&mut self) -> bool {
        let Some((said, stream)) = &mut self.stream else {
            return false;
        };
        let message = timeout(PATIENCE, stream.message())
            .await
            .expect("the node went quiet");
        let Ok(Some(message)) = message else {
            return false;
        };
        let now = self.clock.monotonic();
        for action in self.follower.handle(Event::try_from(message).unwrap(), now) {
            match action {
                Action::SendAck {
                    revision,
                    state_root,
                } if self.acks => {
                    let ack = VerifierMessage::Ack(Acknowledgement {
                        revision,
                        state_root,
                    });
                    let _ = said.send(ack.into()).await;
                }
                Action::SendAck { .. }
                | Action::Publish
                | Action::Persist
                | Action::SendHello(_) => {}
                trouble => self.trouble.push(trouble),
            }
        }
        self.trouble.is_empty()
    }

    fn revision(&self) -> Revision {
        self.follower
            .view()
            .map_or(Revision(0), |view| view.revision)
    }

    fn age(&self) -> Option<Duration> {
        self.follower.freshness().age(self.clock.monotonic())
    }

    async fn reach(&mut self, revision: Revision) {
        while self.revision() < revision {
            assert!(self.step().await, "{:?}", self.trouble);
        }
    }

    async fn become_fresh(&mut self) {
        while self.age().is_none_or(|age| age > Duration::from_secs(2)) {
            assert!(self.step().await, "{:?}", self.trouble);
        }
    }

    fn holds(&self, identity: &str) -> bool {
        let set = &self.follower.view().unwrap().set;
        let target = Target::Subtree(Identity::parse(identity).unwrap());
        set.rule(target.kind(), &target.digest(set.salt()))
            .is_some()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_at_any_node_gets_a_snapshot_then_deltas_and_becomes_fresh() {
    let cluster = Cluster::three().await;
    let before = cluster.nodes[&1]
        .revoke("urn:hessra:a:b", [3; 16])
        .await
        .unwrap();
    for (id, node) in &cluster.nodes {
        let mut verifier = FollowingVerifier::new(&format!("v{id}"));
        verifier.connect(node).await;
        verifier.reach(before).await;
        assert!(verifier.holds("urn:hessra:a:b"));
        verifier.become_fresh().await;
        let name = format!("urn:hessra:a:n{id}");
        let after = node.revoke(&name, [30 + *id as u8; 16]).await.unwrap();
        verifier.reach(after).await;
        assert!(verifier.holds(&name) && verifier.holds("urn:hessra:a:b"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_that_comes_back_resumes_elsewhere_with_what_it_missed_and_no_more() {
    let cluster = Cluster::three().await;
    let mut verifier = FollowingVerifier::new("orders");
    verifier.connect(&cluster.nodes[&1]).await;
    verifier.become_fresh().await;
    verifier.stream = None;
    verifier.handle(Event::Disconnected);
    let mut last = Revision(0);
    for number in 0..20u8 {
        last = cluster.nodes[&1]
            .revoke(&format!("urn:hessra:a:n{number}"), [number + 40; 16])
            .await
            .unwrap();
    }
    cluster.settle().await;
    verifier.connect(&cluster.nodes[&2]).await;
    let welcome = verifier
        .stream
        .as_mut()
        .unwrap()
        .1
        .message()
        .await
        .unwrap()
        .unwrap();
    let Event::Welcome(welcome) = Event::try_from(welcome).unwrap() else {
        panic!("no welcome")
    };
    assert_eq!(
        welcome.welcome.mode,
        hessra_revocation::follower::Mode::Deltas
    );
    verifier.handle(Event::Welcome(welcome));
    verifier.reach(last).await;
    assert!(verifier.holds("urn:hessra:a:n19"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_goes_quiet_and_its_verifiers_grow_stale_though_connected() {
    let cluster = Cluster::three().await;
    let cut = cluster.follower().await;
    let mut verifier = FollowingVerifier::new("orders");
    verifier.connect(&cluster.nodes[&cut]).await;
    verifier.become_fresh().await;
    cluster.cuts.set(cut, true);
    // The knowledge grows older than it may be relied upon, even while something still arrives.
    let stale = async {
        while verifier.age().unwrap() <= Duration::from_secs(2) {
            let _ = timeout(Duration::from_millis(100), verifier.step()).await;
        }
    };
    timeout(PATIENCE, stale).await.unwrap();
    assert!(cluster.nodes[&cut].consensus.freshness().unwrap() > Duration::from_secs(2));
    assert!(
        verifier.trouble.is_empty(),
        "the stream is open: {:?}",
        verifier.trouble
    );
    cluster.cuts.set(cut, false);
    verifier.become_fresh().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_without_a_quorum_makes_nobody_fresh() {
    // A snapshot brings the state to the disk: without it a node alone may know only its log.
    let mut cluster = Cluster::three_with(snapshots_every(10)).await;
    for number in 0..20u8 {
        cluster.nodes[&1]
            .revoke(&format!("urn:hessra:a:n{number}"), [number + 40; 16])
            .await
            .unwrap();
    }
    eventually(async || {
        (cluster.nodes[&1].consensus.raft().status().snapshot_index > 0).then_some(())
    })
    .await;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    cluster.start(1).await;
    eventually(async || cluster.nodes[&1].feed.checkpoint().ok()).await;
    let mut verifier = FollowingVerifier::new("orders");
    verifier.connect(&cluster.nodes[&1]).await;
    verifier
        .reach(cluster.nodes[&1].consensus.state().view().revision)
        .await;
    assert_eq!(verifier.age(), None, "denials are known, permission is not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_when_every_verifier_has_acknowledged_at_whatever_node() {
    let cluster = Cluster::three().await;
    let mut verifiers = Vec::new();
    for (id, node) in &cluster.nodes {
        let mut verifier = FollowingVerifier::new(&format!("v{id}"));
        verifier.connect(node).await;
        verifier.become_fresh().await;
        verifiers.push(verifier);
    }
    verifiers[2].acks = false;
    let node = &cluster.nodes[&1];
    eventually(async || {
        let others = node.consensus.neighbours().others();
        (node
            .feed
            .subscribers()
            .enrolled(1, &others, &node.feed.policy())
            .len()
            == 3)
            .then_some(())
    })
    .await;
    let revision = node.revoke("urn:hessra:a:b", [3; 16]).await.unwrap();
    let (enough, mut ended) = tokio::sync::watch::channel(false);
    let drivers: Vec<_> = verifiers
        .into_iter()
        .map(|mut verifier| {
            let mut enough = enough.subscribe();
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        _ = enough.wait_for(|enough| *enough) => return,
                        running = verifier.step() => if !running { return },
                    }
                }
            })
        })
        .collect();
    let mut operator = node.operator().await;
    let wanted = |count| v1::WatchAppliedRequest {
        revision: revision.0,
        fraction: 0.0,
        count,
    };
    let mut watch = operator
        .watch_applied(wanted(2))
        .await
        .unwrap()
        .into_inner();
    let mut last = v1::AppliedProgress::default();
    while let Some(progress) = timeout(PATIENCE, watch.message())
        .await
        .expect("two of three hold it")
        .unwrap()
    {
        last = progress;
    }
    assert_eq!((last.done, last.enrolled), (true, 3));
    assert!(
        last.laggards
            .iter()
            .chain(&last.closed)
            .any(|verifier| verifier.id == "v3"),
        "{last:?}"
    );
    enough.send(true).unwrap();
    ended.mark_unchanged();
    for driver in drivers {
        driver.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_tells_its_verifiers_to_go_elsewhere() {
    let cluster = Cluster::three().await;
    let mut verifier = FollowingVerifier::new("orders");
    verifier.connect(&cluster.nodes[&1]).await;
    verifier.become_fresh().await;
    cluster.nodes[&1].feed.shutdown();
    while verifier.step().await {}
    assert!(
        matches!(
            verifier.trouble[..],
            [Action::Reconnect {
                elsewhere: true,
                ..
            }]
        ),
        "{:?}",
        verifier.trouble
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rules_of_one_request_arrive_in_one_delta_or_in_many_chunks() {
    let cluster = Cluster::three().await;
    let mut watching = FollowingVerifier::new("watching");
    watching.connect(&cluster.nodes[&1]).await;
    watching.become_fresh().await;
    let node = &cluster.nodes[&cluster.follower().await];
    let target = |number: u32| v1::Target {
        kind: Some(v1::target::Kind::Exact(format!(
            "urn:hessra:bulk:n{number}"
        ))),
    };
    let request = v1::RevokeRequest {
        request_id: vec![5; 16],
        targets: (0..10_000).map(target).collect(),
        ..Default::default()
    };
    let revoked = node
        .operator()
        .await
        .revoke(node.signed(request))
        .await
        .unwrap()
        .into_inner();
    let last = Revision(revoked.items.last().unwrap().revision);
    assert_eq!(revoked.items.len(), 10_000);
    watching.reach(last).await;
    cluster.settle().await;

    let mut late = FollowingVerifier::new("late");
    late.connect(&cluster.nodes[&2]).await;
    let mut messages = 0;
    while late.revision() < last {
        assert!(late.step().await, "{:?}", late.trouble);
        messages += 1;
    }
    assert!(
        messages > 3,
        "a welcome, {} chunks and the end",
        messages - 2
    );
    assert_eq!(late.follower.view().unwrap().set.len(), 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_begin_with_a_hello_ends_with_a_sentence() {
    let cluster = Cluster::three().await;
    let mut client = FeedClient::new(cluster.nodes[&1].channel().await);
    let ack = VerifierMessage::Ack(Acknowledgement {
        revision: Revision(1),
        state_root: [0; 32],
    });
    let (said, upstream) = mpsc::channel(1);
    said.send(ack.into()).await.unwrap();
    let mut stream = client
        .follow(ReceiverStream::new(upstream))
        .await
        .unwrap()
        .into_inner();
    let refusal = stream.message().await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
    assert!(refusal.message().contains("hello"));
}
