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

/// All nodes have applied the same, and say so by the same roots.
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
    cluster.kill(away);
    cluster.start_node(away);
    wait_equal(&cluster);
}
