//! Members come, are promoted, lead, and go.

use hessra_tests::Cluster;

#[test]
fn leadership_is_handed_to_the_node_that_was_named() {
    let cluster = Cluster::start("transfer");
    let target = cluster.follower();
    cluster
        .operator()
        .run(["cluster", "transfer", "--to", &target.to_string()])
        .done();
    assert_eq!(cluster.leader(), target);
}

#[test]
fn a_stopped_leader_hands_over_and_the_cluster_goes_on() {
    let mut cluster = Cluster::start("hand_over");
    let leader = cluster.leader();
    cluster.stop(leader);
    cluster
        .operator()
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
    assert_ne!(cluster.leader(), leader);
}

#[test]
fn a_member_is_removed_and_cannot_be_when_the_quorum_would_be_lost() {
    let mut cluster = Cluster::start("remove");
    let removed = cluster.follower();
    cluster
        .operator()
        .run(["cluster", "remove", &removed.to_string(), "--yes"])
        .done();
    let members = cluster
        .operator()
        .run(["cluster", "members", "-o", "json"])
        .done()
        .stdout();
    assert!(
        !members.contains(&format!("\"id\":{removed}"))
            && !members.contains(&format!("\"id\": {removed}")),
        "{members}"
    );
    cluster
        .operator()
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
    cluster.kill(removed);

    let other = cluster.follower();
    cluster.kill(other);
    let leader = cluster.running()[0].to_string();
    let finished =
        cluster
            .operator()
            .run(["cluster", "remove", &leader, "--yes", "--timeout", "3s"]);
    assert!(
        [7, 8].contains(&finished.code()),
        "exit {}: {}",
        finished.code(),
        finished.stderr()
    );
}
