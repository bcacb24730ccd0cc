//! Losing nodes without losing anything that was acknowledged.

use std::collections::BTreeSet;

use hessra_tests::Cluster;

fn revoke(cluster: &Cluster, target: &str) -> u64 {
    let finished = cluster
        .operator()
        .run(["revoke", target, "--yes", "--wait", "commit", "-o", "json"])
        .done();
    finished.json()["revision"].as_u64().expect("a revision")
}

/// Revisions that a node lists when it is asked alone.
fn listed(cluster: &Cluster, node: u64) -> BTreeSet<u64> {
    let asked = cluster
        .operator()
        .with("HESSRA_SERVER", &cluster.node(node).public);
    let listed = asked
        .run(["revocations", "list", "-o", "json"])
        .done()
        .json();
    let items = listed["revocations"]
        .as_array()
        .or_else(|| listed.as_array())
        .expect("a list")
        .clone();
    items
        .iter()
        .map(|item| item["revision"].as_u64().expect("a revision"))
        .collect()
}

#[test]
fn acknowledged_revocations_survive_kill_9_of_every_leader_in_turn() {
    let mut cluster = Cluster::start("leaders");
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        for number in 0..5 {
            acknowledged.insert(revoke(
                &cluster,
                &format!("urn:hessra:test:r{round}:n{number}"),
            ));
        }
        let leader = cluster.leader();
        cluster.kill(leader);
        acknowledged.insert(revoke(
            &cluster,
            &format!("urn:hessra:test:r{round}:without-{leader}"),
        ));
        cluster.start_node(leader);
    }
    for node in 1..=3 {
        assert!(
            listed(&cluster, node).is_superset(&acknowledged),
            "node {node} has lost something"
        );
    }
}

#[test]
fn acknowledged_revocations_survive_kill_9_of_all_nodes_at_once() {
    let mut cluster = Cluster::start("all_killed");
    let acknowledged: BTreeSet<u64> = (0..10)
        .map(|n| revoke(&cluster, &format!("urn:hessra:test:n{n}")))
        .collect();
    cluster.kill_all();
    cluster.start_all();
    for node in 1..=3 {
        assert!(
            listed(&cluster, node).is_superset(&acknowledged),
            "node {node} has lost something"
        );
    }
}

#[test]
fn without_a_quorum_a_revoke_is_not_acknowledged_and_says_so() {
    let mut cluster = Cluster::start("no_quorum");
    let survivor = cluster.leader();
    for other in cluster
        .running()
        .into_iter()
        .filter(|id| *id != survivor)
        .collect::<Vec<_>>()
    {
        cluster.kill(other);
    }
    let finished = cluster.operator().run([
        "revoke",
        "urn:hessra:test:x",
        "--yes",
        "--timeout",
        "3s",
        "-o",
        "json",
    ]);
    let finished = finished.exits(8);
    let error: serde_json::Value =
        serde_json::from_str(finished.stderr().trim()).expect("a JSON error");
    assert_eq!(error["error"]["exit_code"], 8);
    assert_eq!(error["error"]["retryable"], true);
}
