//! The doors of a node: nothing is spent before it is known who asks, and nobody takes what others need.

use std::time::Duration;

use hessra_sdk_rust::{
    Authority, Connection, Credentials, Readiness, Reason, RequestId, Servers, Trust, Verifier, v1,
};
use hessra_tests::link::{Attacker, Link, head};
use hessra_tests::{Cluster, Layout};
use prost::bytes::Bytes;

/// Longest wait: many times what it takes on an idle machine.
const WAIT: Duration = Duration::from_secs(60);
/// Bytes of an answer that a client takes unasked: HTTP/2's default.
const WINDOW: u32 = 65_535;

fn runtime() -> tokio::runtime::Runtime {
    // Ignored when another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn stranger(cluster: &Cluster, node: u64) -> Attacker {
    let ca = cluster.directory().join("ca.crt");
    Attacker::stranger(&cluster.node(node).public, &ca)
}

fn client(cluster: &Cluster, node: u64, name: &str) -> Attacker {
    let (ca, name) = (
        cluster.directory().join("ca.crt"),
        cluster.directory().join(format!("clients/{name}")),
    );
    Attacker::with_certificate(&cluster.node(node).public, &ca, &name)
}

/// A node of its own with this setting of its limits.
fn limited(name: &'static str, setting: &'static str, value: impl Into<toml::Value>) -> Cluster {
    Layout::new(name)
        .nodes(1)
        .set("limits", setting, value)
        .start()
}

/// The answer to a request of which 8 MiB are declared and none is sent.
async fn answered_unread(link: &mut Link, path: &str) -> (u16, String) {
    let mut opened = link.open(path).await.expect("a stream");
    let begin = Bytes::copy_from_slice(&head(8 * 1024 * 1024));
    opened.upload.send_data(begin, false).expect("its head");
    let answer = tokio::time::timeout(WAIT, opened.answer);
    let answer = answer.await.expect("an answer without a body");
    let answer = answer.expect("an answer");
    let code = answer.headers().get("grpc-status");
    let code = code.map_or("", |code| code.to_str().unwrap_or_default());
    (answer.status().as_u16(), code.to_owned())
}

#[test]
fn a_caller_is_refused_before_its_body_is_read() {
    let cluster = Layout::new("unread").nodes(1).start();
    runtime().block_on(async {
        let (stranger, client) = (stranger(&cluster, 1), client(&cluster, 1, "alice"));
        let mut nobody = stranger.link(WINDOW).await.expect("a connection");
        let mut alice = client.link(WINDOW).await.expect("a connection");
        for path in [
            "/hessra.v1.Authority/Revoke",
            "/hessra.v1.Policies/Apply",
            "/hessra.v1.Keys/List",
            "/hessra.v1.Audit/TailAudit",
        ] {
            let unauthenticated = (200, "16".to_owned());
            assert_eq!(answered_unread(&mut nobody, path).await, unauthenticated);
            let not_permitted = (200, "7".to_owned());
            assert_eq!(answered_unread(&mut alice, path).await, not_permitted);
        }
        for path in ["/request_token", "/mint_identity_token", "/sign_token"] {
            let opened = nobody.https("POST", path, None).await.expect("a stream");
            let answer = tokio::time::timeout(WAIT, opened.answer).await;
            let status = answer.expect("in time").expect("an answer").status();
            assert_eq!(status, 401, "{path}");
        }
    });
}

#[test]
fn an_operator_without_the_right_is_refused_before_its_body_is_read() {
    let cluster = Layout::new("right").nodes(1).start();
    runtime().block_on(async {
        let responder = client(&cluster, 1, "responder");
        let mut link = responder.link(WINDOW).await.expect("a connection");
        let apply = answered_unread(&mut link, "/hessra.v1.Policies/Apply").await;
        assert_eq!(apply, (200, "7".to_owned()));
    });
}

#[test]
fn the_largest_revocation_is_let_in_and_a_larger_one_is_refused_in_words() {
    let cluster = Layout::new("largest").nodes(1).start();
    runtime().block_on(async {
        let operator = Authority::new(connection(&cluster, "operator").timeout(WAIT));
        // Eight segments: 480 bytes each, 4.8 MB of names together.
        let prefix = format!("urn{}", format!(":{}", "n".repeat(58)).repeat(8));
        let revoke = |targets: usize| {
            let subtree = |number| v1::Target {
                kind: Some(v1::target::Kind::Subtree(format!("{prefix}:{number}"))),
            };
            operator.revoke(v1::RevokeRequest {
                request_id: RequestId::random().0.to_vec(),
                targets: (0..targets).map(subtree).collect(),
                ..v1::RevokeRequest::default()
            })
        };
        let revoked = revoke(10_000).await.expect("the largest one");
        assert_eq!(revoked.items.len(), 10_000);
        let refused = revoke(20_000).await.expect_err("9.7 MB");
        // By its message's own length, or by the bytes that came.
        let is_refused = matches!(refused.reason, Reason::InvalidArgument | Reason::Limit);
        assert!(is_refused, "{refused}");
    });
}

#[test]
fn a_node_that_is_no_member_is_refused_before_its_body_is_read() {
    let mut cluster = Layout::new("unheard").joining(1).prepare();
    cluster.start_nodes(1..=3);
    runtime().block_on(async {
        let directory = cluster.directory();
        let (ca, name) = (
            directory.join("cluster-ca.crt"),
            directory.join("node-4/peer"),
        );
        let unknown = Attacker::with_certificate(&cluster.node(1).peer, &ca, &name);
        let mut link = unknown.link(WINDOW).await.expect("TLS lets it in");
        for method in ["Append", "Vote", "Propose", "Snapshot"] {
            let path = format!("/hessra.v1.raft.Raft/{method}");
            let refused = answered_unread(&mut link, &path).await;
            assert_eq!(refused, (200, "7".to_owned()), "{method}");
        }
    });
}

#[test]
fn one_address_has_its_seats_and_others_at_the_same_address_prove_themselves() {
    let cluster = limited("seats", "connections_per_address_max", 20);
    runtime().block_on(async {
        let (stranger, client) = (stranger(&cluster, 1), client(&cluster, 1, "alice"));
        let mut seated = Vec::new();
        for _ in 0..40 {
            seated.extend(stranger.link(WINDOW).await);
        }
        assert_eq!(seated.len(), 20);
        assert!(client.link(WINDOW).await.is_some(), "a known client");
    });
    let operator = cluster.operator();
    operator
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
}

#[test]
fn a_connection_that_carries_nothing_is_closed_though_it_answers_pings() {
    let cluster = limited("idle", "idle_timeout", "1s");
    runtime().block_on(async {
        for attacker in [stranger(&cluster, 1), client(&cluster, 1, "operator")] {
            let mut link = attacker.link(WINDOW).await.expect("a connection");
            let pinged = async { while link.is_open().await {} };
            let ended = tokio::time::timeout(WAIT, pinged).await;
            assert!(ended.is_ok(), "it is open");
        }
    });
}

#[test]
fn an_answer_that_nobody_takes_ends_its_connection() {
    let cluster = limited("stalled", "stall_timeout", "1s");
    runtime().block_on(async {
        let attacker = client(&cluster, 1, "alice");
        let mut link = attacker.link(0).await.expect("a connection");
        let opened = link.https("GET", "/openapi.json", None).await;
        let opened = opened.expect("a stream");
        let ended = tokio::time::timeout(WAIT, link.ended()).await;
        assert!(ended.is_ok(), "it is open");
        drop(opened);
    });
    assert!(ended(&cluster, "stalled") > 0.0, "for this reason");
}

#[test]
fn a_connection_on_which_everything_is_taken_back_is_closed() {
    let cluster = Layout::new("taken_back").nodes(1).start();
    runtime().block_on(async {
        let mut link = stranger(&cluster, 1)
            .link(WINDOW)
            .await
            .expect("a connection");
        let reset = async {
            while let Some(mut opened) = link.open("/hessra.v1.feed.Feed/Follow").await {
                opened.upload.send_reset(h2::Reason::CANCEL);
                // Each is looked at before it is taken back.
                link.is_open().await;
            }
        };
        let ended = tokio::time::timeout(WAIT, reset).await;
        assert!(ended.is_ok(), "it is open");
    });
    assert!(ended(&cluster, "taken_back") > 0.0, "for this reason");
}

fn connection(cluster: &Cluster, name: &str) -> Connection {
    let servers: Servers = cluster.node(1).public.parse().expect("an address");
    let file = |name: String| cluster.directory().join(name);
    let trust = Trust::file(file("ca.crt".to_owned())).expect("the CA");
    let credentials = Credentials::files(
        file(format!("clients/{name}.crt")),
        file(format!("clients/{name}.key")),
    );
    Connection::new(servers, trust).credentials(credentials.expect("a certificate"))
}

/// Connections that the node has ended for a reason.
fn ended(cluster: &Cluster, reason: &str) -> f64 {
    let labels = [&*format!("reason=\"{reason}\""), "port=\"public\""];
    cluster.metric_with(1, "hessra_connections_ended_total", &labels)
}

#[test]
fn an_old_connection_is_left_and_neither_a_verifier_nor_an_operator_notices() {
    let cluster = limited("aged", "connection_age_max", "2s");
    let mut tail = cluster
        .operator()
        .start(["audit", "tail", "--follow", "--last", "1", "-o", "json"]);
    runtime().block_on(async {
        let verifier = Verifier::builder()
            .connection(connection(&cluster, "alice"))
            .id("patient")
            .and_then(hessra_sdk_rust::VerifierBuilder::connect)
            .expect("a verifier");
        verifier.ready().await;
        let operator = Authority::new(connection(&cluster, "operator"));
        // Its stream, the operator's and the tail's, each some times.
        while ended(&cluster, "aged") < 9.0 {
            operator.status().await.expect("an operator is answered");
            let readiness = verifier.subscribe().borrow().readiness;
            assert_eq!(readiness, Readiness::Fresh, "a verifier stays fresh");
        }
    });
    cluster
        .operator()
        .run([
            "revoke",
            "urn:hessra:test:late",
            "--yes",
            "--wait",
            "commit",
        ])
        .done();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        tail.stdout.take().expect("it is piped"),
    ));
    let is_late = |line: String| line.contains("urn:hessra:test:late");
    assert!(
        lines.any(|line| line.is_ok_and(is_late)),
        "the tail goes on"
    );
    tail.kill().expect("our own child");
    let output = tail.wait_with_output().expect("it has ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.is_empty(), "nobody is told: {said}");
}
