//! The policy as operators change it: compared, applied, explained, rolled back.

use std::path::PathBuf;

use hessra_tests::{Cluster, Layout};

/// The policy that stands, in a folder of the test.
fn checked_out(cluster: &Cluster, name: &str) -> PathBuf {
    let folder = cluster.directory().join(name);
    let out = folder.display().to_string();
    cluster
        .operator()
        .run(["policy", "show", "--out", &out])
        .done();
    folder
}

fn change(folder: &std::path::Path, from: &str, to: &str) {
    let path = folder.join("clients.toml");
    let text = std::fs::read_to_string(&path).expect("the clients file");
    assert!(text.contains(from), "{from} is in {text}");
    std::fs::write(path, text.replacen(from, to, 1)).expect("written");
}

const AGENT_READS: &str = r#"resources = [{ name = "api", operations = ["read"] }]

[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:gateway" }"#;

#[test]
fn a_change_is_compared_applied_by_its_revision_and_in_force_at_every_node() {
    let cluster = Cluster::start("policy_apply");
    let operator = cluster.operator();
    let folder = checked_out(&cluster, "mine");
    let path = folder.display().to_string();
    operator.run(["policy", "diff", &path]).done();
    let before = operator
        .run(["policy", "history", "-o", "json"])
        .done()
        .json();
    assert_eq!(before["versions"].as_array().expect("a list").len(), 1);
    assert_eq!(before["versions"][0]["origin"], "start");

    change(
        &folder,
        AGENT_READS,
        &AGENT_READS.replace("\"read\"", "\"read\", \"write\""),
    );
    let differs = operator
        .run(["policy", "diff", &path, "-o", "json"])
        .exits(3)
        .json();
    assert_eq!(differs["rights"][0]["who"], "urn:hessra:alice:agent");
    assert_eq!(
        differs["rights"][0]["gains"],
        serde_json::json!(["api:write"])
    );
    let lines = differs["text"]["clients.toml"].as_str().expect("a text");
    assert!(
        lines.contains("+resources = [{ name = \"api\", operations = [\"read\", \"write\"] }]"),
        "{lines}"
    );

    operator
        .run(["policy", "check", "urn:hessra:alice:agent", "write", "api"])
        .exits(3);
    let dry = operator
        .run(["policy", "apply", &path, "--dry-run", "-o", "json"])
        .done()
        .json();
    assert_eq!(dry["dry_run"], true);
    // No person can be asked, and nothing was confirmed.
    operator.run(["policy", "apply", &path]).exits(2);
    let applied = operator
        .run([
            "policy",
            "apply",
            &path,
            "--yes",
            "-m",
            "agents write",
            "--ticket",
            "OPS-7",
            "-o",
            "json",
        ])
        .done()
        .json();
    let revision = applied["revision"].as_u64().expect("a revision");
    for node in cluster.nodes() {
        let one = cluster.operator().with("HESSRA_SERVER", &node.public);
        let checked = one
            .run([
                "policy",
                "check",
                "urn:hessra:alice:agent",
                "write",
                "api",
                "-o",
                "json",
            ])
            .done()
            .json();
        assert_eq!(checked["revision"].as_u64(), Some(revision));
    }
    let again = operator
        .run(["policy", "apply", &path, "--yes", "-o", "json"])
        .done()
        .json();
    assert_eq!(
        (again["already"].as_bool(), again["revision"].as_u64()),
        (Some(true), Some(revision))
    );
    let history = operator
        .run(["policy", "history", "-o", "json"])
        .done()
        .json();
    let newest = &history["versions"][0];
    assert_eq!(newest["by"], "urn:hessra:operator");
    assert_eq!(
        (&newest["message"], &newest["ticket"]),
        (&"agents write".into(), &"OPS-7".into())
    );
    assert_eq!(history["versions"].as_array().expect("a list").len(), 2);
}

#[test]
fn who_comes_second_is_told_and_a_rollback_is_a_new_revision_that_survives_a_restart() {
    let mut cluster = Layout::new("policy_rollback").start();
    let operator = cluster.operator();
    let (mine, theirs) = (
        checked_out(&cluster, "mine"),
        checked_out(&cluster, "theirs"),
    );
    let first = operator
        .run(["policy", "history", "-o", "json"])
        .done()
        .json()["revision"]
        .to_string();
    change(
        &mine,
        "identity_token_duration = 28800",
        "identity_token_duration = 600",
    );
    change(
        &theirs,
        "min_revocation_depth = 3",
        "min_revocation_depth = 2",
    );
    let path = |folder: &PathBuf| folder.display().to_string();
    operator
        .run([
            "policy",
            "apply",
            &path(&mine),
            "--yes",
            "--based-on",
            &first,
        ])
        .done();
    let second = operator
        .run([
            "policy",
            "apply",
            &path(&theirs),
            "--yes",
            "--based-on",
            &first,
        ])
        .exits(7);
    assert!(
        second.stderr().contains("this change was made from"),
        "{}",
        second.stderr()
    );

    operator
        .run(["policy", "rollback", "999999", "--yes"])
        .exits(6);
    operator
        .run([
            "policy",
            "rollback",
            &first,
            "--confirm",
            &first,
            "-m",
            "too short",
        ])
        .done();
    let history = |cluster: &Cluster| {
        cluster
            .operator()
            .run(["policy", "history", "-o", "json"])
            .done()
            .json()
    };
    let expected = history(&cluster);
    assert_eq!(expected["versions"][0]["origin"], "rollback");
    assert_eq!(expected["versions"][0]["rollback_to"].to_string(), first);
    assert_eq!(expected["versions"].as_array().expect("a list").len(), 3);
    let texts = |cluster: &Cluster, revision: &str| {
        let shown = cluster
            .operator()
            .run(["policy", "show", revision, "-o", "json"])
            .done()
            .json();
        shown["clients_toml"].clone()
    };
    assert_eq!(texts(&cluster, &first), texts(&cluster, "0"));
    cluster.kill_all();
    cluster.start_all();
    assert_eq!(history(&cluster), expected, "every version is durable");
}

#[test]
fn a_policy_that_is_not_valid_or_locks_everybody_out_changes_nothing() {
    let cluster = Cluster::start("policy_refused");
    let operator = cluster.operator();
    let folder = checked_out(&cluster, "mine");
    let path = folder.display().to_string();
    change(&folder, "delegable = true", "delegabel = true");
    let refused = operator.run(["policy", "apply", &path, "--yes"]).exits(3);
    assert!(
        refused.stderr().contains("Did you mean `delegable`?"),
        "{}",
        refused.stderr()
    );
    change(&folder, "delegabel = true", "delegable = true");
    change(
        &folder,
        "\"keys\", \"policy\", \"cluster\"",
        "\"keys\", \"cluster\"",
    );
    let locked = operator.run(["policy", "apply", &path, "--yes"]).exits(7);
    assert!(
        locked.stderr().contains("the right `policy`"),
        "{}",
        locked.stderr()
    );
    let responder = cluster.person("responder");
    responder.run(["policy", "show"]).done();
    change(
        &folder,
        "\"keys\", \"cluster\"",
        "\"keys\", \"policy\", \"cluster\"",
    );
    change(
        &folder,
        "min_revocation_depth = 3",
        "min_revocation_depth = 2",
    );
    responder.run(["policy", "apply", &path, "--yes"]).exits(5);
    cluster.person("alice").run(["policy", "show"]).exits(5);
    let history = operator
        .run(["policy", "history", "-o", "json"])
        .done()
        .json();
    assert_eq!(
        history["versions"].as_array().expect("a list").len(),
        1,
        "nothing was applied"
    );
}
