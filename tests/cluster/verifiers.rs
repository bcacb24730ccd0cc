//! Verdicts of a verifier in a service while the cluster lives, changes, and falls apart.

use std::time::Duration;

use hessra_tests::{Cluster, Layout, Probe, until};

use crate::walk_through::delegate;

const ALICE: &str = "urn:hessra:alice";
const AGENT: &str = "urn:hessra:alice:agent";

struct Tokens {
    alice: String,
    agent: String,
}

fn tokens(cluster: &Cluster) -> Tokens {
    let alice = cluster.person("alice");
    delegate(&alice);
    let delegated = |identity: &str| {
        let arguments = [
            "identity",
            "delegate",
            "--from-token",
            "alice",
            "--identity",
            identity,
            "--token-only",
        ];
        alice.run(arguments).done().stdout().trim().to_owned()
    };
    Tokens {
        alice: delegated("urn:hessra:alice:other"),
        agent: delegated(AGENT),
    }
}

impl Tokens {
    fn says(&self, probe: &mut Probe) -> [String; 2] {
        [
            probe.check(&self.alice, "urn:hessra:alice:other").verdict,
            probe.check(&self.agent, AGENT).verdict,
        ]
    }
}

fn wait_for(sentence: &str, limit: u64, probe: &mut Probe, tokens: &Tokens, wanted: [&str; 2]) {
    until(sentence, Duration::from_secs(limit), || {
        (tokens.says(probe) == wanted).then_some(())
    });
}

#[test]
fn a_connected_verifier_is_proven_to_deny_when_the_revoke_returns() {
    let cluster = Cluster::start("proven");
    let tokens = tokens(&cluster);
    let mut probe = cluster.probe("orders-1", &[1, 2, 3]);
    wait_for(
        "the verifier permits",
        20,
        &mut probe,
        &tokens,
        ["allow", "allow"],
    );
    let revoked = cluster
        .operator()
        .run(["revoke", "--subtree", AGENT, "--yes", "-o", "json"])
        .done()
        .json();
    assert_eq!(revoked["wait"]["enrolled"], 1, "{revoked}");
    assert_eq!(revoked["wait"]["applied"], 1, "{revoked}");
    let denied = probe.check(&tokens.agent, AGENT);
    assert_eq!(
        (denied.verdict.as_str(), denied.reason.as_str()),
        ("deny", "revoked")
    );
    assert_eq!(
        probe.check(&tokens.alice, "urn:hessra:alice:other").verdict,
        "allow"
    );
}

#[test]
fn a_verifier_that_is_gone_is_named_and_the_revoke_is_not_called_confirmed() {
    let cluster = Cluster::start("laggard");
    let tokens = tokens(&cluster);
    let mut probe = cluster.probe("orders-pg-report-2", &[1, 2, 3]);
    wait_for(
        "the verifier permits",
        20,
        &mut probe,
        &tokens,
        ["allow", "allow"],
    );
    probe.kill();
    let finished = cluster
        .operator()
        .run([
            "revoke",
            AGENT,
            "--yes",
            "-o",
            "json",
            "--wait-timeout",
            "2s",
        ])
        .exits(9);
    let laggards = finished.json()["wait"]["laggards"].to_string();
    assert!(laggards.contains("orders-pg-report-2"), "{laggards}");
}

#[test]
fn through_the_loss_of_the_quorum_a_verifier_denies_then_says_unknown_and_recovers_alone() {
    let mut cluster = Cluster::start("quorum_lost");
    let tokens = tokens(&cluster);
    let mut probe = cluster.probe("orders-1", &[1, 2, 3]);
    cluster
        .operator()
        .run(["revoke", AGENT, "--yes", "--wait", "commit"])
        .done();
    wait_for(
        "the revoked is denied",
        20,
        &mut probe,
        &tokens,
        ["allow", "deny"],
    );
    for id in [1, 2] {
        cluster.kill(id);
    }
    wait_for(
        "permission ages, denial does not",
        15,
        &mut probe,
        &tokens,
        ["unknown", "deny"],
    );
    cluster.start_all();
    wait_for(
        "the verifier recovers alone",
        30,
        &mut probe,
        &tokens,
        ["allow", "deny"],
    );
}

#[test]
fn the_loss_of_the_leader_alone_does_not_make_a_verifier_forget_or_stop() {
    let mut cluster = Cluster::start("leader_lost");
    let tokens = tokens(&cluster);
    let mut probe = cluster.probe("orders-1", &[1, 2, 3]);
    cluster
        .operator()
        .run(["revoke", AGENT, "--yes", "--wait", "commit"])
        .done();
    wait_for(
        "the revoked is denied",
        20,
        &mut probe,
        &tokens,
        ["allow", "deny"],
    );
    cluster.kill(cluster.leader());
    for _ in 0..50 {
        assert_eq!(probe.check(&tokens.agent, AGENT).verdict, "deny");
        assert_ne!(
            probe.check(&tokens.alice, "urn:hessra:alice:other").verdict,
            "deny"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    wait_for(
        "the verifier is fresh again",
        20,
        &mut probe,
        &tokens,
        ["allow", "deny"],
    );
}

#[test]
fn verifiers_of_a_node_that_is_cut_off_go_stale_though_their_streams_are_open() {
    let cluster = Cluster::start("cut_off");
    let tokens = tokens(&cluster);
    let minority = cluster.follower();
    let mut probe = cluster.probe("edge-1", &[minority]);
    wait_for(
        "the verifier permits",
        20,
        &mut probe,
        &tokens,
        ["allow", "allow"],
    );
    cluster.links.cut_off(minority);
    let majority = cluster.operator().with(
        "HESSRA_SERVER",
        &cluster.node(cluster_other(minority)).public,
    );
    majority
        .run([
            "revoke",
            AGENT,
            "--yes",
            "--wait",
            "commit",
            "--timeout",
            "20s",
        ])
        .done();
    wait_for(
        "nobody looks fresh without a quorum",
        15,
        &mut probe,
        &tokens,
        ["unknown", "unknown"],
    );
    cluster.links.heal();
    wait_for(
        "the verifier hears of the revocation",
        30,
        &mut probe,
        &tokens,
        ["allow", "deny"],
    );
}

fn cluster_other(node: u64) -> u64 {
    if node == 1 { 2 } else { 1 }
}

#[test]
fn a_restarted_verifier_denies_at_once_and_permits_after_it_has_heard() {
    let mut cluster = Cluster::start("restarted");
    let tokens = tokens(&cluster);
    let mut probe = cluster.probe("orders-1", &[1, 2, 3]);
    cluster.operator().run(["revoke", AGENT, "--yes"]).done();
    wait_for(
        "the revoked is denied",
        20,
        &mut probe,
        &tokens,
        ["allow", "deny"],
    );
    probe.stop();
    cluster.stop_all();
    let mut probe = cluster.probe("orders-1", &[1, 2, 3]);
    wait_for(
        "denial stands without any node",
        10,
        &mut probe,
        &tokens,
        ["unknown", "deny"],
    );
    cluster.start_all();
    wait_for(
        "permission comes back",
        30,
        &mut probe,
        &tokens,
        ["allow", "deny"],
    );
}

#[test]
fn a_stopped_verifier_resumes_where_it_was_even_when_the_history_was_compacted() {
    let cluster = Layout::new("resume").short_log().start();
    let tokens = tokens(&cluster);
    let mut probe = cluster.probe("orders-1", &[1, 2, 3]);
    wait_for(
        "the verifier permits",
        20,
        &mut probe,
        &tokens,
        ["allow", "allow"],
    );
    probe.kill();
    for number in 0..120 {
        let target = format!("urn:hessra:test:n{number}");
        cluster
            .operator()
            .run(["revoke", &target, "--yes", "--wait", "commit", "-q"])
            .done();
    }
    cluster
        .operator()
        .run(["revoke", "--subtree", ALICE, "--yes", "--wait", "commit"])
        .done();
    let mut probe = cluster.probe("orders-1", &[1, 2, 3]);
    wait_for(
        "everything that was missed is known",
        20,
        &mut probe,
        &tokens,
        ["deny", "deny"],
    );
}
