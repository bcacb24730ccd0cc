//! Callers of the feed: what one must show, what it may be counted as, and when its stream ends.

use std::time::Duration;

use hessra_tests::{Cluster, Layout, Probe, Proof, until};
use serde_json::Value;

const TEST: &str = "urn:hessra:alice:agent";

fn enrolled(cluster: &Cluster) -> Vec<Value> {
    let verifiers = cluster
        .operator()
        .run(["feed", "verifiers", "-o", "json"])
        .done()
        .json();
    verifiers["verifiers"].as_array().expect("a list").clone()
}

fn is_fresh(probe: &mut Probe) -> bool {
    probe.status()["standing"] == "fresh"
}

fn until_fresh(probe: &mut Probe) {
    until("the verifier is fresh", Duration::from_secs(20), || {
        is_fresh(probe).then_some(())
    });
}

/// Reports of a revocation that is contained, or that waits for less than the time for which a verifier may permit.
fn revoke(cluster: &Cluster, exit: i32) -> Value {
    let limit = if exit == 0 { "30s" } else { "2s" };
    let arguments = [
        "revoke",
        TEST,
        "--yes",
        "-o",
        "json",
        "--wait-timeout",
        limit,
    ];
    let finished = cluster.operator().run(arguments).exits(exit);
    finished.json()["wait"].clone()
}

/// A policy with one more paragraph than the cluster's.
fn add_to_policy(cluster: &Cluster, paragraph: &str) {
    let path = cluster.directory().join("clients.toml");
    let text = std::fs::read_to_string(&path).expect("the policy can be read");
    std::fs::write(&path, format!("{text}\n{paragraph}\n")).expect("and written");
    let (clients, resources) = (
        path.display().to_string(),
        cluster
            .directory()
            .join("resources.toml")
            .display()
            .to_string(),
    );
    let arguments = ["policy", "apply", &clients, &resources, "--yes"];
    cluster.operator().run(arguments).done();
}

#[test]
fn a_caller_that_proves_nothing_learns_nothing() {
    let cluster = Cluster::start("feed_anonymous");
    let mut anonymous = cluster.probe_as("orders-1", &Proof::Nothing, &[1, 2, 3]);
    let mut known = cluster.probe("orders-2", &[1, 2, 3]);
    until_fresh(&mut known);
    assert_eq!(anonymous.status()["revision"], 0);
    until("the other alone is known", Duration::from_secs(10), || {
        let ids: Vec<Value> = enrolled(&cluster)
            .iter()
            .map(|one| one["id"].clone())
            .collect();
        (ids == ["orders-2"]).then_some(())
    });
}

#[test]
fn a_stranger_under_the_name_of_a_verifier_is_not_taken_for_it_on_any_node() {
    let cluster = Cluster::start("feed_stranger");
    let mut own = cluster.probe("orders-1", &[1]);
    until_fresh(&mut own);
    own.pause();
    // alice has a certificate, and the id is not hers: neither here nor at a node that has never seen the verifier.
    let mut stranger = cluster.probe_as("orders-1", &Proof::Certificate("alice"), &[2, 3]);
    let wait = revoke(&cluster, 9);
    assert_eq!(
        (&wait["enrolled"], &wait["applied"]),
        (&1.into(), &0.into()),
        "{wait}"
    );
    assert_eq!(stranger.status()["revision"], 0);
    own.resume();
    until(
        "the verifier itself says so",
        Duration::from_secs(20),
        || {
            let wait = cluster
                .operator()
                .run(["feed", "verifiers", "-o", "json"])
                .done()
                .json();
            (wait["verifiers"][0]["applied"] == wait["revision"]).then_some(())
        },
    );
}

#[test]
fn a_caller_of_the_policy_that_is_no_verifier_is_served_and_never_counted() {
    let cluster = Cluster::start("feed_guest");
    let mut guest = cluster.probe_as("gateway-1", &Proof::Certificate("gateway"), &[1, 2, 3]);
    until_fresh(&mut guest);
    let wait = revoke(&cluster, 0);
    assert_eq!(wait["enrolled"], 0, "{wait}");
    until(
        "the guest is named as not counted",
        Duration::from_secs(10),
        || (revoke(&cluster, 0)["not_counted"] == 1).then_some(()),
    );
    add_to_policy(
        &cluster,
        "[[verifiers]]\nidentity = \"urn:hessra:gateway\"\nids = [\"gateway-*\"]",
    );
    until(
        "it is counted when the policy names it",
        Duration::from_secs(20),
        || (revoke(&cluster, 0)["enrolled"] == 1).then_some(()),
    );
    let identity = enrolled(&cluster)[0]["identity"].clone();
    assert_eq!(identity, "urn:hessra:gateway");
}

#[test]
fn an_identity_token_proves_a_verifier_too() {
    let cluster = Cluster::start("feed_token");
    add_to_policy(
        &cluster,
        "[[verifiers]]\nidentity = \"urn:hessra:gateway\"\nids = [\"gateway-*\"]",
    );
    let arguments = ["identity", "authenticate", "--token-only"];
    let token = cluster.person("gateway").run(arguments).done().stdout();
    let proof = Proof::Token(token.trim().to_owned());
    let mut probe = cluster.probe_as("gateway-1", &proof, &[1, 2, 3]);
    until_fresh(&mut probe);
    // A node that applies the policy later than the others takes it for a guest, and asks again within a second.
    until("it is enrolled", Duration::from_secs(20), || {
        let verifiers = enrolled(&cluster);
        (verifiers.len() == 1 && verifiers[0]["connected"] == true).then_some(())
    });
    assert_eq!(revoke(&cluster, 0)["applied"], 1);
    let arguments = [
        "revoke",
        "--subtree",
        "urn:hessra:gateway",
        "--permanent",
        "--yes",
    ];
    cluster.operator().run(arguments);
    until(
        "its stream ends with its identity",
        Duration::from_secs(20),
        || (!is_fresh(&mut probe)).then_some(()),
    );
}

#[test]
fn tokens_at_the_feeds_door_are_judged_within_the_allowance_of_their_address() {
    let cluster = Layout::new("feed_allowance")
        .nodes(1)
        .set("limits", "requests_per_second_per_address", 1)
        .start();
    let proof = Proof::Token("no token at all".to_owned());
    let _strangers: Vec<Probe> = (0..4)
        .map(|number| cluster.probe_as(&format!("stranger-{number}"), &proof, &[1]))
        .collect();
    until("an address is refused", Duration::from_secs(20), || {
        let labels = ["by=\"address\""];
        let refused = cluster.metric_with(1, "hessra_requests_limited_total", &labels);
        (refused > 0.0).then_some(())
    });
}

#[test]
fn a_stream_ends_when_the_certificate_that_opened_it_is_revoked() {
    let cluster = Cluster::start("feed_revoked");
    let mut probe = cluster.probe("orders-1", &[1, 2, 3]);
    until_fresh(&mut probe);
    let certificate = cluster.directory().join("clients/verifier.crt");
    let certificate = certificate.display().to_string();
    let arguments = [
        "revoke",
        "--certificate",
        &certificate,
        "--permanent",
        "--yes",
    ];
    cluster.operator().run(arguments);
    until("it is gone", Duration::from_secs(10), || {
        (enrolled(&cluster)[0]["connected"] == false).then_some(())
    });
    until("it permits nothing", Duration::from_secs(20), || {
        (!is_fresh(&mut probe)).then_some(())
    });
}

#[test]
fn anyone_is_served_where_the_setting_says_so_and_takes_no_verifiers_place() {
    let cluster = Layout::new("feed_anyone")
        .set("feed", "admits", "anyone")
        .set("feed", "guests_per_caller_max", 2)
        .start();
    let mut guests: Vec<Probe> = (1..=3)
        .map(|number| cluster.probe_as(&format!("someone-{number}"), &Proof::Nothing, &[1]))
        .collect();
    until("two are served", Duration::from_secs(20), || {
        let fresh = guests
            .iter_mut()
            .filter_map(|guest| is_fresh(guest).then_some(()));
        (fresh.count() == 2).then_some(())
    });
    let mut own = cluster.probe("orders-1", &[1]);
    until_fresh(&mut own);
    let wait = revoke(&cluster, 0);
    assert_eq!(
        (&wait["enrolled"], &wait["applied"]),
        (&1.into(), &1.into()),
        "{wait}"
    );
}
