//! Containment: `revoke` is done when nobody may permit what is revoked, names who may until when, and waits for nobody
//! who cannot.

use std::time::{Duration, Instant};

use hessra_tests::{Cluster, Layout, Probe, until};
use serde_json::Value;

use crate::walk_through::delegate;

const AGENT: &str = "urn:hessra:alice:agent";
/// Time for which a checkpoint makes fresh, by default; and what clocks are allowed beside it.
const PERMITS_FOR: Duration = Duration::from_millis(5_260);
/// Time for which everything else may take on a slow machine.
const SLACK: Duration = Duration::from_secs(10);

fn token(cluster: &Cluster) -> String {
    let alice = cluster.person("alice");
    delegate(&alice);
    let arguments = [
        "identity",
        "delegate",
        "--from-token",
        "alice",
        "--identity",
        AGENT,
        "--token-only",
    ];
    alice.run(arguments).done().stdout().trim().to_owned()
}

fn until_it_permits(probe: &mut Probe, token: &str) {
    until("the verifier permits", Duration::from_secs(20), || {
        (probe.check(token, AGENT).verdict == "allow").then_some(())
    });
}

/// Revokes through one node, and returns the object `wait` and the time that it took.
fn revoke(cluster: &Cluster, node: u64, limit: &str, exit: i32) -> (Value, Duration) {
    let operator = cluster
        .operator()
        .with("HESSRA_SERVER", &cluster.node(node).public);
    let began = Instant::now();
    let arguments = [
        "revoke",
        AGENT,
        "--yes",
        "-o",
        "json",
        "--wait-timeout",
        limit,
    ];
    let finished = operator.run(arguments).exits(exit);
    (finished.json()["wait"].clone(), began.elapsed())
}

fn ids(verifiers: &Value) -> Vec<&str> {
    let verifiers = verifiers.as_array().expect("a list").iter();
    verifiers
        .map(|verifier| verifier["id"].as_str().expect("an id"))
        .collect()
}

#[test]
fn no_revoke_is_done_while_the_verifier_of_a_node_that_was_just_removed_permits() {
    let cluster = Cluster::start("containment_removed");
    let token = token(&cluster);
    let removed = cluster.follower();
    let mut probe = cluster.probe("orders-1", &[removed]);
    until_it_permits(&mut probe, &token);
    let asked = cluster.leader();
    let at_leader = cluster
        .operator()
        .with("HESSRA_SERVER", &cluster.node(asked).public);
    until("the leader has heard of it", SLACK, || {
        let listed = at_leader.run(["feed", "verifiers"]).stdout();
        listed.contains("orders-1").then_some(())
    });
    let removal = ["cluster", "remove", &removed.to_string(), "--yes"];
    cluster.operator().run(removal).done();
    let (wait, _) = revoke(&cluster, asked, "60s", 0);
    assert_ne!(probe.check(&token, AGENT).verdict, "allow", "{wait}");
    let known = ids(&wait["closed"]) == ["orders-1"] || wait["applied"] == 1;
    assert!(known, "the verifier is not forgotten with its node: {wait}");
}

#[test]
fn a_replica_with_the_name_of_another_one_is_not_hidden_by_it() {
    let cluster = Cluster::start("containment_replica");
    let token = token(&cluster);
    let mut here = cluster.probe("orders-1", &[1]);
    let mut frozen = cluster.replica("orders-1", &[2]);
    until_it_permits(&mut here, &token);
    until_it_permits(&mut frozen, &token);
    frozen.pause();
    let (wait, _) = revoke(&cluster, 1, "1s", 9);
    assert_eq!(ids(&wait["laggards"]), ["orders-1"], "{wait}");
    assert_eq!(wait["laggards"][0]["node"], 2, "{wait}");
    assert_eq!(wait["laggards"][0]["processes"], 2, "{wait}");
    // The same again, for as long as it takes: the one that enforces it is counted, the frozen one cannot permit.
    let (wait, took) = revoke(&cluster, 1, "60s", 0);
    assert_eq!(wait["applied"], 1, "{wait}");
    assert_eq!(ids(&wait["closed"]), ["orders-1"], "{wait}");
    assert!(took < PERMITS_FOR + SLACK, "{took:?}");
    frozen.resume();
    assert_ne!(frozen.check(&token, AGENT).verdict, "allow");
}

#[test]
fn a_verifier_that_was_killed_is_waited_for_until_it_must_have_failed_closed() {
    let cluster = Layout::new("containment_killed")
        .set("feed", "forget_after", "1m")
        .start();
    let token = token(&cluster);
    let mut probe = cluster.probe("orders-1", &[1]);
    until_it_permits(&mut probe, &token);
    probe.kill();
    let (wait, took) = revoke(&cluster, 1, "60s", 0);
    assert_eq!(
        (&wait["enrolled"], &wait["applied"], &wait["failed_closed"]),
        (&1.into(), &0.into(), &1.into()),
        "{wait}"
    );
    assert_eq!(ids(&wait["closed"]), ["orders-1"], "{wait}");
    assert!(wait["closed"][0]["may_permit_until"].is_string(), "{wait}");
    assert!(took < PERMITS_FOR + SLACK, "{took:?}");
    // It has failed closed long ago when the next one is made, and makes nobody wait.
    std::thread::sleep(PERMITS_FOR);
    let next = cluster
        .operator()
        .run(["revoke", "urn:hessra:test:x", "--yes", "-o", "json"])
        .done()
        .json();
    assert_eq!(ids(&next["wait"]["closed"]), ["orders-1"], "{next}");
}

#[test]
fn a_member_that_has_been_down_for_long_makes_nobody_wait() {
    let mut cluster = Cluster::start("containment_down");
    let token = token(&cluster);
    let dead = cluster.follower();
    let mut probe = cluster.probe("orders-1", &[dead]);
    until_it_permits(&mut probe, &token);
    cluster.kill(dead);
    // At once it counts: its verifiers permit on what it gave them. Its own, of which this one may be, cannot be asked.
    let (wait, _) = revoke(&cluster, cluster.leader(), "60s", 0);
    assert_ne!(probe.check(&token, AGENT).verdict, "allow", "{wait}");
    std::thread::sleep(PERMITS_FOR);
    // The leader knows that it has asked for nothing since, and every node learns it from the leader.
    for node in (1..=3).filter(|node| *node != dead) {
        let (wait, _) = revoke(&cluster, node, "2500ms", 0);
        assert_eq!(wait["unheard"], Value::Array(Vec::new()), "{wait}");
    }
}
