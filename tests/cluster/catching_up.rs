//! A node that was away comes back: by the log when it was short, by a snapshot when the log is gone.

use std::time::Duration;

use hessra_tests::{Cluster, Layout, until};

fn revoke_many(cluster: &Cluster, name: &str, count: usize) {
    let operator = cluster.operator();
    for number in 0..count {
        let target = format!("urn:hessra:test:{name}{number}");
        operator
            .run(["revoke", &target, "--yes", "--wait", "commit", "-q"])
            .done();
    }
}

/// Waits until all nodes have applied the same, and say so by the same roots.
fn wait_equal(cluster: &Cluster) {
    until(
        "all nodes are at one revision",
        Duration::from_secs(30),
        || {
            let status = cluster.status()?;
            let nodes = status["nodes"].as_array()?.clone();
            let revisions: Vec<u64> = nodes
                .iter()
                .filter_map(|node| node["revision"].as_u64())
                .collect();
            (revisions.len() == nodes.len()
                && revisions.iter().all(|revision| *revision == revisions[0]))
            .then_some(())
        },
    );
}

#[test]
fn a_follower_that_was_killed_catches_up_by_the_log() {
    let mut cluster = Cluster::start("by_log");
    let away = cluster.follower();
    cluster.kill(away);
    revoke_many(&cluster, "log", 10);
    cluster.start_node(away);
    wait_equal(&cluster);
}

#[test]
fn a_follower_whose_log_is_gone_catches_up_by_a_snapshot() {
    let mut cluster = Layout::new("by_snapshot").short_log().start();
    let away = cluster.follower();
    cluster.kill(away);
    revoke_many(&cluster, "snapshot", 150);
    cluster.start_node(away);
    wait_equal(&cluster);
    the_audit_names_the_gap(&cluster, away);
    cluster.kill(away);
    cluster.start_node(away);
    wait_equal(&cluster);
}

/// Checks that the gap is recorded: entries that a snapshot took the place of have no record here; the chain says
/// which, and the other chains have them.
fn the_audit_names_the_gap(cluster: &Cluster, away: u64) {
    let operator = cluster.operator();
    let search = |condition: &str| {
        let found = operator.run([
            "audit", "search", "-o", "json", "--limit", "1000", condition,
        ]);
        let found = found.done().json();
        found["records"].as_array().expect("records").clone()
    };
    let gaps = until("the gap is recorded", Duration::from_secs(10), || {
        Some(search("event=snapshot.restored")).filter(|gaps| !gaps.is_empty())
    });
    for gap in gaps {
        assert_eq!(gap["node"].as_u64(), Some(away));
        let (from, next) = (&gap["change"]["from"], &gap["change"]["next_index"]);
        assert!(from.as_u64() < next.as_u64(), "{gap}");
    }
    let revoked = search("event=revocation.created");
    assert_eq!(revoked.len(), 150, "none is missing in the cluster");
    operator.run(["audit", "verify"]).done();
}
