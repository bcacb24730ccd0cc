//! Members come, are promoted, lead, and go.

use hessra_tests::{Cluster, Layout};

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

#[test]
fn a_member_that_does_not_answer_gets_no_vote() {
    let mut cluster = Layout::new("dead").joining(1).prepare();
    cluster.start_nodes(1..=3);
    let operator = cluster.operator();
    let (peer, public) = (cluster.node(4).peer.clone(), cluster.node(4).public.clone());
    operator
        .run(["cluster", "add", "4", "--peer", &peer, "--public", &public])
        .done();
    let promoted = operator.run(["cluster", "promote", "4"]).exits(7);
    assert!(
        promoted.stderr().contains("node 4 does not answer"),
        "{}",
        promoted.stderr()
    );
    // The three go on with one of them down, as before.
    let down = cluster.follower();
    cluster.kill(down);
    operator
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
    let transferred = operator.run(["cluster", "transfer", "--to", &down.to_string()]);
    let transferred = transferred.exits(7);
    assert!(
        transferred.stderr().contains("does not answer"),
        "{}",
        transferred.stderr()
    );
}

#[test]
fn a_node_that_is_added_and_promoted_serves_and_counts_for_the_quorum() {
    let mut cluster = Layout::new("join").joining(1).prepare();
    cluster.start_nodes(1..=3);
    let operator = cluster.operator();
    let revoke = |target: &str| {
        operator
            .run(["revoke", target, "--yes", "--wait", "commit"])
            .done();
    };
    revoke("urn:hessra:test:before");

    cluster.spawn(4);
    let (peer, public) = (cluster.node(4).peer.clone(), cluster.node(4).public.clone());
    operator
        .run(["cluster", "add", "4", "--peer", &peer, "--public", &public])
        .done();
    operator.run(["cluster", "promote", "4"]).done();
    cluster.wait_ready(4);
    let search = ["audit", "search", "event=member.added", "-o", "json"];
    let added = operator.run(search).done().json();
    let records = added["records"].as_array().expect("records").iter();
    let of_new: Vec<_> = records
        .filter(|record| record["target"]["id"] == "node 4")
        .map(|record| (&record["actor"]["subject"], &record["actor"]["ip"]))
        .collect();
    let caller = (&"urn:hessra:operator".into(), &"127.0.0.1".into());
    assert_eq!(
        of_new,
        [caller, caller],
        "added and promoted, by whom the asked node knows: {added}"
    );

    // Three of four are the quorum now: without one founder the new node's disk is needed for every write.
    let founder = cluster.running().into_iter().find(|id| *id != 4);
    cluster.kill(founder.expect("three founders run"));
    revoke("urn:hessra:test:after");
    let listed = operator
        .with("HESSRA_SERVER", &public)
        .run(["revocations", "list"])
        .done()
        .stdout();
    assert!(
        listed.contains("urn:hessra:test:before") && listed.contains("urn:hessra:test:after"),
        "the new node lists {listed}"
    );
}
