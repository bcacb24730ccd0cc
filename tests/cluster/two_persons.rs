//! The rule of two persons itself: one operator alone takes nothing from it, by whichever way it tries.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hessra_tests::{Cli, Cluster, Layout, until};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use serde_json::Value;

/// A cluster whose policy demands two people. `operator` and `alice` have every right.
pub(crate) fn prepared(layout: Layout) -> Cluster {
    let cluster = layout.prepare();
    let path = cluster.directory().join("clients.toml");
    let text = std::fs::read_to_string(&path).expect("a policy");
    let alice = r#"
[[operators]]
identity = "urn:hessra:alice"
rights = ["revoke", "lift", "keys", "policy", "cluster", "read", "audit:read"]
"#;
    let text = text.replace("two_person = false", "two_person = true") + alice;
    std::fs::write(&path, text).expect("written");
    cluster
}

fn cluster(name: &'static str) -> Cluster {
    let mut cluster = prepared(Layout::new(name));
    cluster.start_all();
    cluster
}

/// The policy that stands with one change, in a folder of the test.
fn changed(cluster: &Cluster, name: &str, from: &str, to: &str) -> PathBuf {
    let folder = cluster.directory().join(name);
    let out = folder.display().to_string();
    cluster
        .operator()
        .run(["policy", "show", "--out", &out])
        .done();
    edit(&folder, from, to);
    folder
}

fn edit(folder: &Path, from: &str, to: &str) {
    let path = folder.join("clients.toml");
    let text = std::fs::read_to_string(&path).expect("the clients file");
    assert!(text.contains(from), "{from} is in {text}");
    std::fs::write(path, text.replacen(from, to, 1)).expect("written");
}

fn apply(cli: &Cli, folder: &Path) -> Value {
    let path = folder.display().to_string();
    cli.run(["policy", "apply", &path, "--yes", "-o", "json"])
        .done()
        .json()
}

/// Name of what waits.
fn waits(answer: &Value) -> String {
    let id = answer["pending"]["id"].as_str();
    id.unwrap_or_else(|| panic!("nothing waits: {answer}"))
        .to_owned()
}

fn versions(cluster: &Cluster) -> usize {
    let history = cluster
        .operator()
        .run(["policy", "history", "-o", "json"])
        .done()
        .json();
    history["versions"].as_array().expect("a list").len()
}

fn members(cluster: &Cluster) -> usize {
    let members = cluster
        .operator()
        .run(["cluster", "members", "-o", "json"])
        .done()
        .json();
    members["members"].as_array().expect("a list").len()
}

fn approve(cli: &Cli, id: &str) {
    cli.run(["approvals", "approve", id, "--yes"]).done();
}

const OFF: (&str, &str) = ("two_person = true", "two_person = false");

#[test]
fn a_policy_that_weakens_the_rule_waits_and_one_that_does_not_is_applied() {
    let cluster = cluster("two_policy");
    let (operator, alice) = (cluster.operator(), cluster.person("alice"));
    let second = "[limits]";
    let added =
        "[[operators]]\nidentity = \"urn:hessra:gateway\"\nrights = [\"policy\"]\n\n[limits]";
    for (name, from, to) in [
        ("off", OFF.0, OFF.1),
        ("added", second, added),
        (
            "depth",
            "min_revocation_depth = 3",
            "min_revocation_depth = 2",
        ),
        (
            "gained",
            "rights = [\"revoke\", \"read\"]",
            "rights = [\"revoke\", \"lift\", \"read\"]",
        ),
    ] {
        let folder = changed(&cluster, name, from, to);
        let path = folder.display().to_string();
        let said = operator.run(["policy", "diff", &path]).exits(3).stdout();
        assert!(said.contains("A second person must approve it"), "{said}");
        let id = waits(&apply(&operator, &folder));
        assert_eq!(versions(&cluster), 1, "{name}: nothing is done yet");
        operator
            .run(["approvals", "approve", &id, "--yes"])
            .exits(5);
        operator.run(["approvals", "cancel", &id]).done();
    }
    let harmless = changed(
        &cluster,
        "harmless",
        "min_revocation_depth = 3",
        "min_revocation_depth = 4",
    );
    let applied = apply(&operator, &harmless);
    assert!(applied["revision"].as_u64() > Some(0), "{applied}");

    let off = changed(&cluster, "off_by_two", OFF.0, OFF.1);
    let id = waits(&apply(&operator, &off));
    let shown = alice.run(["approvals", "show", &id]).done().stdout();
    assert!(
        shown.contains("limits two_person: true → false") && shown.contains("-two_person = true"),
        "the approver reads what changes: {shown}"
    );
    approve(&alice, &id);
    let history = alice.run(["policy", "history", "-o", "json"]).done().json();
    assert_eq!(
        history["versions"][0]["by"],
        "urn:hessra:operator with urn:hessra:alice"
    );
}

#[test]
fn going_back_to_a_policy_without_the_rule_waits() {
    let mut cluster = Layout::new("two_rollback").prepare();
    cluster.start_all();
    let operator = cluster.operator();
    let first = operator
        .run(["policy", "history", "-o", "json"])
        .done()
        .json()["revision"]
        .to_string();
    let folder = changed(&cluster, "on", "two_person = false", "two_person = true");
    let alice = "[[operators]]\nidentity = \"urn:hessra:alice\"\nrights = [\"revoke\", \"lift\", \"keys\", \"policy\", \"cluster\", \"read\"]\n\n[limits]";
    edit(&folder, "[limits]", alice);
    apply(&operator, &folder);
    let back = operator
        .run(["policy", "rollback", &first, "--yes", "-o", "json"])
        .done()
        .json();
    let id = waits(&back);
    assert_eq!(versions(&cluster), 2, "nothing is done yet");
    approve(&cluster.person("alice"), &id);
    assert_eq!(versions(&cluster), 3);
}

#[test]
fn a_member_is_removed_by_two() {
    let cluster = cluster("two_members");
    let (operator, alice) = (cluster.operator(), cluster.person("alice"));
    let removed = cluster.follower().to_string();
    let asked = operator
        .run(["cluster", "remove", &removed, "--yes", "-o", "json"])
        .done()
        .json();
    let id = waits(&asked);
    assert_eq!(members(&cluster), 3, "nothing is done yet");
    operator
        .run(["approvals", "approve", &id, "--yes"])
        .exits(5);
    let shown = alice.run(["approvals", "show", &id]).done().stdout();
    let action = format!("removes node {removed} for ever");
    assert!(shown.contains(&action), "{shown}");
    approve(&alice, &id);
    assert_eq!(members(&cluster), 2);
    let leader = cluster.leader();
    let transferred = operator
        .run([
            "cluster",
            "transfer",
            "--to",
            &leader.to_string(),
            "-o",
            "json",
        ])
        .done()
        .json();
    assert!(transferred["pending"].is_null(), "{transferred}");
}

#[test]
fn what_was_asked_for_ends_when_its_asker_is_revoked() {
    let cluster = cluster("two_revoked");
    let (operator, alice) = (cluster.operator(), cluster.person("alice"));
    let off = changed(&cluster, "off", OFF.0, OFF.1);
    let id = waits(&apply(&operator, &off));
    alice
        .run(["revoke", "urn:hessra:operator", "--permanent", "--yes"])
        .done();
    alice.run(["approvals", "approve", &id, "--yes"]).exits(6);
    let list = alice.run(["approvals", "list", "-o", "json"]).done().json();
    assert_eq!(list["approvals"].as_array().map(Vec::len), Some(0));
}

fn revoke(cli: &Cli, target: &str) {
    let arguments = ["revoke", target, "--permanent", "--yes", "--wait", "commit"];
    cli.run(arguments).done();
}

fn denied(cluster: &Cluster) -> Vec<String> {
    let list = cluster
        .operator()
        .run(["revocations", "list", "-o", "json"])
        .done()
        .json();
    let targets = list["revocations"].as_array().expect("a list").iter();
    targets
        .map(|item| item["target"].as_str().expect("a target").to_owned())
        .collect()
}

/// The responder's certificate was stolen, and revoked what services need. A third person had found one of these bad too.
#[test]
fn what_a_thief_has_revoked_is_removed_by_two_and_what_others_revoked_stays() {
    let cluster = cluster("two_undo");
    let (operator, alice) = (cluster.operator(), cluster.person("alice"));
    let responder = cluster.person("responder");
    let (service, agent) = ("urn:hessra:gateway", "urn:hessra:alice:agent");
    revoke(&responder, service);
    revoke(&responder, agent);
    revoke(&alice, agent);
    let undo = |by: &'static str| ["revocations", "undo", "--by", by, "--yes", "-o", "json"];
    operator.run(undo("urn:hessra:nobody")).exits(3);
    responder.run(undo("urn:hessra:alice")).exits(5);
    revoke(&operator, "urn:hessra:responder");
    let thief = "urn:hessra:responder";
    let dry = [
        "revocations",
        "undo",
        "--by",
        thief,
        "--dry-run",
        "-o",
        "json",
    ];
    let shown = operator.run(dry).done().json();
    assert_eq!(shown["revocations"].as_array().map(Vec::len), Some(2));
    let id = waits(&operator.run(undo(thief)).done().json());
    assert_eq!(denied(&cluster).len(), 4, "nothing is done yet");
    operator
        .run(["approvals", "approve", &id, "--yes"])
        .exits(5);
    let shown = alice.run(["approvals", "show", &id]).done().stdout();
    let action = format!("removes what {thief} has revoked alone");
    assert!(shown.contains(&action), "{shown}");
    approve(&alice, &id);
    until("both are removed", Duration::from_secs(30), || {
        (denied(&cluster).len() == 2).then_some(())
    });
    assert_eq!(
        denied(&cluster),
        [agent, thief],
        "what others revoked stays"
    );
    let search = ["audit", "search", "event=approval.asked", "-o", "json"];
    let records = operator.run(search).done().json();
    let record = &records["records"][0];
    assert_eq!(record["target"]["subject"], thief);
    assert_eq!(record["change"]["what"], "undo");
    operator.run(["audit", "verify"]).done();
}

#[test]
fn a_policy_says_whom_it_locks_out_before_it_is_applied() {
    let cluster = cluster("two_lockout");
    let operator = cluster.operator();
    let own = "rights = [\"revoke\", \"lift\", \"keys\", \"policy\", \"cluster\", \"read\", \"audit:read\"]";
    let without =
        "rights = [\"revoke\", \"lift\", \"keys\", \"cluster\", \"read\", \"audit:read\"]";
    let folder = changed(&cluster, "own", own, without);
    let path = folder.display().to_string();
    let valid = operator.run(["policy", "validate", &path]).done();
    assert!(
        valid.stderr().contains("fewer than two operators"),
        "{}",
        valid.stderr()
    );
    let differs = operator.run(["policy", "diff", &path, "-o", "json"]);
    let lockouts = differs.exits(3).json()["lockouts"].to_string();
    assert!(
        lockouts.contains("`urn:hessra:operator`, who applies it"),
        "{lockouts}"
    );
    operator.run(["policy", "apply", &path, "--yes"]).exits(7);
    let allowed = operator
        .run([
            "policy",
            "apply",
            &path,
            "--yes",
            "--allow-lockout",
            "-o",
            "json",
        ])
        .done()
        .json();
    waits(&allowed);
}

#[test]
fn a_ca_of_the_policy_makes_no_operators() {
    let cluster = cluster("two_cas");
    let operator = cluster.operator();
    let (ca, ca_of_policy) = authority("authority of the policy");
    for name in ["urn:hessra:alice", "urn:hessra:gateway"] {
        issue(&cluster, &ca_of_policy, name);
    }
    let cacerts = format!("[cacerts]\ncert_chain = '''\n{ca}'''\n\n[limits]");
    let folder = changed(&cluster, "cas", "[limits]", &cacerts);
    let applied = apply(&operator, &folder);
    assert!(applied["revision"].as_u64() > Some(0), "{applied}");

    let client = cluster.person("of-policy-gateway");
    hessra_tests::until(
        "the CA is believed",
        std::time::Duration::from_secs(30),
        || {
            let token = client.run(["identity", "authenticate", "--token-only"]);
            (token.code() == 0).then_some(())
        },
    );
    let forged = cluster.person("of-policy-alice");
    let read = forged.run(["policy", "show"]).exits(4);
    assert!(read.stderr().contains("of the policy"), "{}", read.stderr());
    forged.run(["revoke", "urn:hessra:a:b:c", "--yes"]).exits(4);
}

/// A new authority, and its certificate as PEM.
pub(crate) fn authority(common_name: &str) -> (String, Issuer<'static, KeyPair>) {
    let (key, mut params) = (
        KeyPair::generate().expect("a key"),
        CertificateParams::default(),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let certificate = params.self_signed(&key).expect("signed").pem();
    (certificate, Issuer::new(params, key))
}

/// Writes a certificate of this name, by this authority, for the person `of-policy-NAME`.
pub(crate) fn issue(cluster: &Cluster, ca: &Issuer<'_, KeyPair>, name: &str) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(name.try_into().expect("ASCII"))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, ca).expect("signed");
    let file = name.rsplit(':').next().expect("a segment");
    let path = |kind: &str| {
        cluster
            .directory()
            .join(format!("clients/of-policy-{file}.{kind}"))
    };
    std::fs::write(path("crt"), certificate.pem()).expect("written");
    std::fs::write(path("key"), key.serialize_pem()).expect("written");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path("key"), private).expect("closed to others");
}
