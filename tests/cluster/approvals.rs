//! Approvals: a request that needs two people waits, another person approves it, and then it is done at once.

use hessra_tests::{Cli, Cluster, Layout};
use serde_json::Value;

/// A cluster whose policy demands two people. `operator` and `alice` have every right, `responder` revokes, and
/// `mycompany` revokes and lifts under its own name.
fn cluster(name: &'static str) -> Cluster {
    let mut cluster = Layout::new(name).prepare();
    let path = cluster.directory().join("clients.toml");
    let text = std::fs::read_to_string(&path).expect("a policy");
    assert!(text.contains("two_person = false"), "dev says it: {text}");
    let operators = r#"
[[operators]]
identity = "urn:hessra:alice"
rights = ["revoke", "lift", "keys", "read"]

[[operators]]
identity = "urn:hessra:mycompany"
rights = ["revoke", "lift", "read"]
under = "urn:hessra:mycompany"
"#;
    let text = text.replace("two_person = false", "two_person = true") + operators;
    std::fs::write(&path, text).expect("written");
    cluster.start_all();
    cluster
}

fn pending(cli: &Cli, arguments: &[&str]) -> String {
    let json = cli
        .run(arguments.iter().chain(&["--yes", "-o", "json"]))
        .done()
        .json();
    json["pending"]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("nothing waits: {json}"))
        .to_owned()
}

fn waiting(cli: &Cli) -> Vec<Value> {
    let list = cli.run(["approvals", "list", "-o", "json"]).done().json();
    list["approvals"].as_array().expect("a list").clone()
}

fn revocations(cli: &Cli) -> String {
    cli.run(["revocations", "list", "-o", "json"])
        .done()
        .stdout()
}

#[test]
fn a_revocation_near_the_root_waits_for_another_operator_with_the_right() {
    let cluster = cluster("two_people");
    let (operator, alice) = (cluster.operator(), cluster.person("alice"));
    // Another realm than the operators' own: who is revoked may not even list.
    let ask = ["revoke", "urn:elsewhere", "--permanent", "--force"];
    let id = pending(&operator, &ask);
    assert_eq!(pending(&alice, &ask), id, "the same waits once");
    assert!(
        !revocations(&operator).contains("urn:elsewhere\""),
        "nothing is done yet"
    );
    operator
        .run(["approvals", "approve", &id, "--yes"])
        .exits(5);
    cluster
        .person("mycompany")
        .run(["approvals", "approve", &id, "--yes"])
        .exits(5);
    let shown = alice.run(["approvals", "show", &id]).done().stdout();
    assert!(
        shown.contains("urn:elsewhere") && shown.contains("urn:hessra:operator"),
        "{shown}"
    );
    alice.run(["approvals", "approve", &id, "--yes"]).done();
    let list = revocations(&operator);
    assert!(
        list.contains("urn:hessra:operator with urn:hessra:alice"),
        "both are named: {list}"
    );
    assert_eq!(waiting(&operator), Vec::<Value>::new());
    alice.run(["approvals", "approve", &id, "--yes"]).exits(6);
}

#[test]
fn what_is_asked_for_says_so_to_people_and_can_be_taken_back() {
    let cluster = cluster("taken_back");
    let (operator, alice) = (cluster.operator(), cluster.person("alice"));
    let said = operator
        .run(["revoke", "urn:hessra", "--force", "--yes"])
        .done()
        .stdout();
    assert!(
        said.contains("Nothing is done yet") && said.contains("hessra approvals approve ap_"),
        "{said}"
    );
    let waits = waiting(&alice);
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0]["may_approve"], true);
    let id = waits[0]["id"].as_str().expect("an id");
    operator.run(["approvals", "cancel", id]).done();
    alice.run(["approvals", "approve", id, "--yes"]).exits(6);
    assert!(waiting(&operator).is_empty());
}

#[test]
fn a_restore_waits_and_then_tokens_issued_before_live_again() {
    let cluster = cluster("orders-restored");
    let (operator, alice) = (cluster.operator(), cluster.person("alice"));
    let gateway = cluster.person("gateway");
    let token = gateway
        .run(["identity", "authenticate", "--token-only"])
        .done()
        .stdout();
    let mut probe = cluster.probe("orders-restored", &[1, 2, 3]);
    let actor = "urn:hessra:gateway";
    let mut until_verdict = |verdict: &str| {
        hessra_tests::until(verdict, std::time::Duration::from_secs(20), || {
            (probe.check(token.trim(), actor).verdict == verdict).then_some(())
        });
    };
    until_verdict("allow");
    let revoked = operator
        .run(["revoke", actor, "--permanent", "--yes", "-o", "json"])
        .done()
        .json();
    let revocation = match revoked["id"].as_str() {
        Some(id) => id.to_owned(),
        None => panic!("{revoked}"),
    };
    until_verdict("deny");
    let id = pending(
        &operator,
        &["revocations", "lift", &revocation, "--restore"],
    );
    until_verdict("deny");
    alice.run(["approvals", "approve", &id, "--yes"]).done();
    until_verdict("allow");
    let shown = operator
        .run(["revocations", "show", &revocation, "-o", "json"])
        .done()
        .json();
    assert_eq!(shown["restored"], true, "{shown}");
}

#[test]
fn revoking_a_key_waits_for_a_second_person() {
    let cluster = cluster("key_revoked");
    let (operator, alice) = (cluster.operator(), cluster.person("alice"));
    operator.run(["keys", "revoke", "1", "--yes"]).exits(7);
    let prepared = operator
        .run(["keys", "prepare", "-o", "json"])
        .done()
        .json();
    let fresh = prepared["id"].to_string();
    operator.run(["keys", "activate", &fresh, "--force"]).done();
    let id = pending(&operator, &["keys", "revoke", "1"]);
    let state = |id: u64| {
        let list = operator.run(["keys", "list", "-o", "json"]).done().json();
        let keys = list["keys"].as_array().expect("keys").clone();
        let key = keys
            .into_iter()
            .find(|key| key["kid"] == id)
            .expect("a key");
        key["state"].as_str().expect("a state").to_owned()
    };
    assert_eq!(state(1), "retired");
    alice.run(["approvals", "approve", &id, "--yes"]).done();
    assert_eq!(state(1), "revoked");
}

#[test]
fn rights_end_where_the_policy_says() {
    let cluster = cluster("prefix");
    let company = cluster.person("mycompany");
    let own = "urn:hessra:mycompany:bob";
    let revoked = company
        .run(["revoke", own, "--permanent", "--yes", "-o", "json"])
        .done()
        .json();
    company
        .run(["revoke", "urn:hessra:alice:x", "--yes"])
        .exits(5);
    company.run(["keys", "prepare"]).exits(5);
    let responder = cluster.person("responder");
    let id = revoked["id"].as_str().expect("an id");
    responder.run(["revocations", "lift", id, "--yes"]).exits(5);
    responder
        .run(["revocations", "lift", id, "--restore", "--yes"])
        .exits(5);
    responder.run(["keys", "revoke", "1", "--yes"]).exits(5);
    company.run(["revocations", "lift", id, "--yes"]).done();
    let others = cluster
        .operator()
        .run([
            "revoke",
            "urn:hessra:alice:y",
            "--permanent",
            "--yes",
            "-o",
            "json",
        ])
        .done()
        .json();
    let id = others["id"].as_str().expect("an id");
    company.run(["revocations", "lift", id, "--yes"]).exits(5);
}
