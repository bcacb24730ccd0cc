//! Answers: how true each is, and what a node says that cannot know.

use hessra_tests::Cluster;
use rustix::process::Signal;
use serde_json::json;

use crate::https::Https;

/// Resource and operation that the policy of a dev cluster gives to alice.
const RESOURCE: &str = "api";
const OPERATION: &str = "read";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_frozen_does_not_say_that_a_revoked_token_is_good() {
    let cluster = Cluster::start("frozen_answer");
    let operator = cluster.operator();
    let (leader, frozen) = (cluster.leader(), cluster.follower());
    let alice = Https::new(&cluster, Some("alice"));
    let anybody = Https::new(&cluster, None);
    let at_leader = operator.with("HESSRA_SERVER", &cluster.node(leader).public);
    for round in 0..5 {
        let wanted = json!({"resource": RESOURCE, "operation": OPERATION});
        let issued = alice.post(leader, "/request_token", &wanted).await;
        let (_, issued) = issued.expect("an answer");
        let token = issued["token"]
            .as_str()
            .unwrap_or_else(|| panic!("{issued}"));
        let question = json!({
            "token": token,
            "subject": "urn:hessra:alice",
            "resource": RESOURCE,
            "operation": OPERATION,
        });
        let good = anybody.post(frozen, "/verify_token", &question).await;
        assert_eq!(good.expect("an answer").0, 200, "round {round}");

        cluster.signal(frozen, Signal::STOP);
        at_leader
            .run(["revoke", "urn:hessra:alice", "--yes", "--wait", "commit"])
            .done();
        cluster.signal(frozen, Signal::CONT);
        let answer = anybody.post(frozen, "/verify_token", &question).await;
        let (status, body) = answer.expect("an answer");
        assert!(
            matches!(status, 401 | 403 | 503),
            "round {round}: a revoked token got {status}: {body}"
        );
    }
}

#[test]
fn what_no_quorum_confirms_is_shown_with_its_age_and_is_no_success() {
    let mut cluster = Cluster::start("unconfirmed");
    let operator = cluster.operator();
    let alone = cluster.follower();
    let at_one = operator
        .clone()
        .with("HESSRA_SERVER", &cluster.node(alone).public);
    at_one
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
    // A write is on a quorum when it is answered; a list that a quorum confirms is applied at the node that gives it.
    let listed = at_one.run(["revocations", "list"]).done().stdout();
    assert!(listed.contains("urn:hessra:test:x"), "{listed}");
    for id in cluster.running() {
        if id != alone {
            cluster.kill(id);
        }
    }
    for command in [
        &["revocations", "list"][..],
        &["keys", "list"],
        &["policy", "show"],
        &["approvals", "list"],
    ] {
        let finished = at_one.run(command.iter().copied().chain(["--timeout", "5s"]));
        let finished = finished.exits(10);
        let said = finished.stderr();
        assert!(
            said.contains("could not confirm this with a quorum") && said.contains("revision"),
            "{command:?}: {said}"
        );
    }
    let listed = at_one.run(["revocations", "list", "--timeout", "5s"]);
    assert!(
        listed.stdout().contains("urn:hessra:test:x"),
        "an old list is better than none"
    );
}

#[test]
fn a_watch_that_begins_beyond_the_newest_revision_says_so() {
    let cluster = Cluster::start("beyond");
    let watched = cluster
        .operator()
        .run(["feed", "watch", "--from", "1000000", "--timeout", "5s"]);
    let said = watched.exits(6).stderr();
    assert!(said.contains("there is no revision 1000000 yet"), "{said}");
}
