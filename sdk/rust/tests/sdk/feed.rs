//! A verifier against nodes that speak the real protocol over real TLS, in one process. Nothing waits for time except
//! what is about time: every step waits for what the other side says.

use std::time::Duration;

use crate::node::{Certificates, Cluster, Node, SALT, Seen};
use hessra_revocation::publisher::{Plan, ResetReason};
use hessra_revocation::{Revision, RuleKind, Target};
use hessra_sdk_rust::cache::{Mark, StateDirectory};
use hessra_sdk_rust::{
    FeedStatus, LocalCause, News, Readiness, Reason, StalenessPolicy, Trust, Verifier,
    VerifierBuilder,
};

const PATIENCE: Duration = Duration::from_secs(10);

fn builder(certificates: &Certificates, nodes: &[&Node]) -> VerifierBuilder {
    let servers = nodes
        .iter()
        .map(|node| format!("localhost:{}", node.address.port()));
    Verifier::builder()
        .servers(servers)
        .expect("addresses")
        .trust(Trust::pem(certificates.ca.clone()).expect("a certificate"))
        .id("orders-1")
        .expect("a name")
}

async fn until(
    verifier: &Verifier,
    what: &str,
    wanted: impl Fn(&FeedStatus) -> bool,
) -> FeedStatus {
    let mut status = verifier.subscribe();
    let found = tokio::time::timeout(PATIENCE, status.wait_for(|status| wanted(status))).await;
    match found {
        Ok(found) => found.expect("the verifier lives").clone(),
        Err(_) => panic!("never {what}: {:?}", verifier.subscribe().borrow().clone()),
    }
}

async fn fresh_at(verifier: &Verifier, revision: u64) -> FeedStatus {
    until(verifier, &format!("fresh at {revision}"), |status| {
        status.readiness == Readiness::Fresh && status.revision == Revision(revision)
    })
    .await
}

fn denies(verifier: &Verifier, identity: &str) -> bool {
    let identity = identity.parse_identity();
    let digest = Target::Subtree(identity).digest(&SALT);
    verifier
        .view()
        .is_some_and(|view| view.set.rule(RuleKind::Subtree, &digest).is_some())
}

trait ParseIdentity {
    fn parse_identity(&self) -> hessra_revocation::Identity;
}

impl ParseIdentity for str {
    fn parse_identity(&self) -> hessra_revocation::Identity {
        hessra_revocation::Identity::parse(self).expect("canonical")
    }
}

fn certificates_and_node() -> (Certificates, Node) {
    let certificates = Certificates::new();
    let node = Node::start(1, Cluster::new(), &certificates);
    (certificates, node)
}

#[tokio::test]
async fn a_verifier_is_fresh_only_after_a_quorum_was_confirmed_and_acknowledges_what_it_shows() {
    let (certificates, mut node) = certificates_and_node();
    let verifier = builder(&certificates, &[&node]).connect().expect("started");
    assert_eq!(
        node.next().await,
        Seen::Hello {
            from: Revision(0),
            plan: Plan::Snapshot
        }
    );
    assert_eq!(
        node.next().await,
        Seen::Ack {
            revision: Revision(1)
        }
    );
    node.heartbeat();
    fresh_at(&verifier, 1).await;
    assert_eq!(
        node.next().await,
        Seen::Ack {
            revision: Revision(1)
        }
    );

    node.revoke("urn:h:alice");
    assert_eq!(
        node.next().await,
        Seen::Ack {
            revision: Revision(2)
        }
    );
    // The acknowledgement proves that checks see it: no waiting here.
    assert!(denies(&verifier, "urn:h:alice"));
}

#[tokio::test]
async fn a_slow_verifier_resumes_where_it_was_with_deltas() {
    let (certificates, mut node) = certificates_and_node();
    let verifier = builder(&certificates, &[&node]).connect().expect("started");
    node.heartbeat();
    fresh_at(&verifier, 1).await;
    node.reset(ResetReason::Slow);
    until(&verifier, "disconnected", |status| status.server.is_none()).await;
    node.revoke("urn:h:alice");
    while node.next().await
        != (Seen::Hello {
            from: Revision(1),
            plan: Plan::Deltas,
        })
    {}
    while node.next().await
        != (Seen::Ack {
            revision: Revision(2),
        })
    {}
    assert!(denies(&verifier, "urn:h:alice"));
}

#[tokio::test]
async fn a_verifier_goes_to_another_node_when_its_own_dies_and_forgets_nothing() {
    let certificates = Certificates::new();
    let mut cluster = Cluster::new();
    cluster.revoke("urn:h:alice");
    let nodes = [
        Node::start(1, cluster.clone(), &certificates),
        Node::start(2, cluster, &certificates),
    ];
    let verifier = builder(&certificates, &[&nodes[0], &nodes[1]])
        .connect()
        .expect("started");
    nodes.iter().for_each(Node::heartbeat);
    let first = fresh_at(&verifier, 2).await.server.expect("connected");
    let [one, two] = nodes;
    let (dead, mut alive) = if first.port() == one.address.port() {
        (one, two)
    } else {
        (two, one)
    };
    dead.kill();
    let status = until(&verifier, "elsewhere", |status| {
        status.server.as_ref().is_some_and(|now| *now != first)
    })
    .await;
    assert_eq!(
        status.server.expect("connected").port(),
        alive.address.port()
    );
    assert!(denies(&verifier, "urn:h:alice"), "while it moved");
    while alive.next().await
        != (Seen::Hello {
            from: Revision(2),
            plan: Plan::Deltas,
        })
    {}
    alive.revoke("urn:h:bob");
    alive.heartbeat();
    fresh_at(&verifier, 3).await;
}

#[tokio::test]
async fn a_node_with_another_history_raises_an_alarm_and_is_not_believed() {
    let certificates = Certificates::new();
    let mut cluster = Cluster::new();
    cluster.revoke("urn:h:alice");
    let mut other = Cluster::new();
    other.revoke("urn:h:mallory");
    let node = Node::start(1, cluster, &certificates);
    let state = tempfile::tempdir().expect("a directory");
    let verifier = builder(&certificates, &[&node])
        .state_dir(state.path())
        .connect()
        .expect("started");
    node.heartbeat();
    fresh_at(&verifier, 2).await;
    verifier.shutdown().await;
    drop(verifier);

    let forked = Node::start(2, other, &certificates);
    let verifier = builder(&certificates, &[&forked])
        .state_dir(state.path())
        .connect()
        .expect("started");
    forked.heartbeat();
    let status = until(&verifier, "alarmed", |status| status.alarm.is_some()).await;
    assert!(status.alarm.expect("an alarm").contains("fork"));
    assert_eq!(status.readiness, Readiness::Unknown);
    assert!(denies(&verifier, "urn:h:alice") && !denies(&verifier, "urn:h:mallory"));
}

#[tokio::test]
async fn a_forged_checkpoint_raises_an_alarm_and_changes_nothing() {
    let (certificates, node) = certificates_and_node();
    let verifier = builder(&certificates, &[&node]).connect().expect("started");
    node.heartbeat();
    fresh_at(&verifier, 1).await;
    node.forge();
    node.revoke("urn:h:alice");
    let status = until(&verifier, "alarmed", |status| status.alarm.is_some()).await;
    assert!(status.alarm.expect("an alarm").contains("false signature"));
    assert!(!denies(&verifier, "urn:h:alice"));
}

#[tokio::test]
async fn after_a_restart_denials_stand_at_once_and_nothing_is_permitted() {
    let (certificates, node) = certificates_and_node();
    let state = tempfile::tempdir().expect("a directory");
    let verifier = builder(&certificates, &[&node])
        .state_dir(state.path())
        .connect()
        .expect("started");
    node.heartbeat();
    fresh_at(&verifier, 1).await;
    node.revoke("urn:h:alice");
    node.heartbeat();
    fresh_at(&verifier, 2).await;
    verifier.shutdown().await;
    drop(verifier);

    let port = node.address.port();
    node.kill();
    let verifier = Verifier::builder()
        .servers([format!("localhost:{port}")])
        .expect("an address")
        .trust(Trust::pem(certificates.ca.clone()).expect("a certificate"))
        .state_dir(state.path())
        .connect()
        .expect("started without a node");
    until(&verifier, "restored", |status| {
        status.revision == Revision(2)
    })
    .await;
    assert!(denies(&verifier, "urn:h:alice"));
    assert_eq!(verifier.subscribe().borrow().readiness, Readiness::Unknown);
    assert_eq!(verifier.age(), None);
}

#[tokio::test]
async fn a_cluster_that_was_set_back_is_never_fresh_even_when_the_stored_view_is_gone() {
    let certificates = Certificates::new();
    let mut old = Cluster::new();
    old.revoke("urn:h:bob");
    let mut new = old.clone();
    new.revoke("urn:h:alice");
    let node = Node::start(1, new, &certificates);
    let state = tempfile::tempdir().expect("a directory");
    let verifier = builder(&certificates, &[&node])
        .state_dir(state.path())
        .connect()
        .expect("started");
    node.heartbeat();
    fresh_at(&verifier, 3).await;
    verifier.shutdown().await;
    drop(verifier);
    node.kill();

    // A flipped bit: the file is ignored, the mark beside it is not.
    let view = state.path().join("view");
    let mut bytes = std::fs::read(&view).expect("read");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&view, bytes).expect("written");
    let back = Node::start(2, old, &certificates);
    let verifier = builder(&certificates, &[&back])
        .state_dir(state.path())
        .connect()
        .expect("started");
    until(&verifier, "at 2", |status| status.revision == Revision(2)).await;
    back.heartbeat();
    let status = until(&verifier, "alarmed", |status| status.alarm.is_some()).await;
    assert!(status.alarm.expect("an alarm").contains("high-water mark"));
    assert_eq!(status.readiness, Readiness::Unknown);
    assert!(denies(&verifier, "urn:h:bob"), "denials need no freshness");

    // It catches up: from the mark on it is believed again.
    back.revoke("urn:h:alice");
    until(&verifier, "at 3", |status| status.revision == Revision(3)).await;
}

#[tokio::test]
async fn knowledge_becomes_stale_by_time_alone_and_fresh_by_the_next_heartbeat() {
    let (certificates, node) = certificates_and_node();
    node.fresh_for(60_000);
    let max = Duration::from_millis(300);
    let staleness = StalenessPolicy::Strict { max };
    let verifier = builder(&certificates, &[&node])
        .staleness(staleness)
        .connect()
        .expect("started");
    until(&verifier, "connected", |status| {
        status.revision == Revision(1)
    })
    .await;
    node.heartbeat();
    fresh_at(&verifier, 1).await;
    let status = until(&verifier, "stale", |status| {
        status.readiness == Readiness::Stale
    })
    .await;
    assert!(status.server.is_some(), "the stream is open all the time");
    assert!(verifier.age().expect("known") > max);
    assert_eq!(verifier.view().expect("held").revision, Revision(1));
}

#[tokio::test]
async fn a_silent_node_is_left_for_another() {
    let certificates = Certificates::new();
    let nodes = [
        Node::start(1, Cluster::new(), &certificates),
        Node::start(2, Cluster::new(), &certificates),
    ];
    // Three fifths of it is the silence that is endured: the shortest there is, 750 ms.
    nodes.iter().for_each(|node| node.fresh_for(1000));
    let verifier = builder(&certificates, &[&nodes[0], &nodes[1]])
        .connect()
        .expect("started");
    let first = until(&verifier, "connected", |status| status.server.is_some())
        .await
        .server;
    nodes.iter().for_each(Node::heartbeat);
    until(&verifier, "elsewhere", |status| {
        status.server.is_some() && status.server != first
    })
    .await;
}

#[tokio::test]
async fn news_tell_entries_and_what_went_wrong() {
    let (certificates, node) = certificates_and_node();
    let verifier = builder(&certificates, &[&node]).connect().expect("started");
    until(&verifier, "connected", |status| {
        status.revision == Revision(1)
    })
    .await;
    let mut news = verifier.news();
    node.revoke("urn:h:alice");
    let entries = loop {
        if let News::Entries(entries) = news.recv().await.expect("news") {
            break entries;
        }
    };
    assert_eq!(entries[0].revision, Revision(2));
    node.kill();
    loop {
        if let News::Disconnected { why, .. } = news.recv().await.expect("news") {
            assert!(!why.is_empty());
            break;
        }
    }
}

#[tokio::test]
async fn a_node_of_another_authority_is_not_talked_to() {
    let (_, node) = certificates_and_node();
    let others = Certificates::new();
    let verifier = builder(&others, &[&node]).connect().expect("started");
    let mut news = verifier.news();
    let why = loop {
        if let News::Disconnected { why, .. } = news.recv().await.expect("news") {
            break why;
        }
    };
    assert!(why.contains("CA file"), "{why}");
    assert_eq!(verifier.subscribe().borrow().readiness, Readiness::Unknown);
}

#[tokio::test]
async fn a_state_directory_belongs_to_one_verifier() {
    let (certificates, node) = certificates_and_node();
    let state = tempfile::tempdir().expect("a directory");
    let first = builder(&certificates, &[&node])
        .state_dir(state.path())
        .connect()
        .expect("started");
    let error = builder(&certificates, &[&node])
        .state_dir(state.path())
        .connect()
        .expect_err("in use");
    assert_eq!(error.reason, Reason::Conflict);
    assert_eq!(error.local, Some(LocalCause::StateDirectoryInUse));
    first.shutdown().await;
    drop(first);
    builder(&certificates, &[&node])
        .state_dir(state.path())
        .connect()
        .expect("free again");
}

#[tokio::test]
async fn a_damaged_high_water_mark_stops_the_start_and_is_named() {
    let (certificates, node) = certificates_and_node();
    let state = tempfile::tempdir().expect("a directory");
    let verifier = builder(&certificates, &[&node])
        .state_dir(state.path())
        .connect()
        .expect("started");
    node.heartbeat();
    fresh_at(&verifier, 1).await;
    verifier.shutdown().await;
    drop(verifier);
    let mark = state.path().join("mark");
    let text = std::fs::read_to_string(&mark).expect("written by the shutdown");
    std::fs::write(&mark, text.replace("revision 1", "revision 0")).expect("written");
    let error = builder(&certificates, &[&node])
        .state_dir(state.path())
        .connect()
        .expect_err("damaged");
    assert!(error.message.contains("mark"), "{error}");
}

#[test]
fn a_view_survives_the_disk_and_both_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut cluster = Cluster::new();
    (0..500).for_each(|number| {
        cluster.revoke(&format!("urn:h:user-{number}"));
    });
    let snapshot = crate::node::snapshot(&cluster);
    let folder = tempfile::tempdir().expect("a directory");
    let directory = StateDirectory::open(folder.path().join("state")).expect("opened");
    directory.save(&snapshot).expect("saved");
    let found = directory
        .load(&std::collections::BTreeMap::new())
        .expect("loaded");
    let view = found.view.expect("a view");
    assert_eq!(found.ignored, None);
    assert_eq!(found.mark, Some(Mark::of(&cluster.view)));
    assert_eq!(view.state_root(), cluster.view.state_root());
    assert_eq!(view.log_root(), cluster.view.log_root());
    for name in ["view", "mark", "lock"] {
        let mode = std::fs::metadata(folder.path().join("state").join(name))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}
