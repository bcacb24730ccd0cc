//! Permissions of operators: what each may do, and what is refused with which exit code.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use hessra_tests::{Cli, Cluster, until};

#[test]
fn the_responder_revokes_but_does_not_lift() {
    let cluster = Cluster::start("responder");
    let responder = cluster.person("responder");
    let revoked = responder
        .run([
            "revoke",
            "urn:hessra:test:x",
            "--permanent",
            "--yes",
            "-o",
            "json",
        ])
        .done()
        .json();
    let id = revoked["id"].as_str().expect("an id").to_owned();
    responder
        .run(["revocations", "lift", &id, "--yes"])
        .exits(5);
    cluster
        .operator()
        .run(["revocations", "lift", &id, "--yes"])
        .done();
    cluster
        .operator()
        .run(["revocations", "lift", "rv_999999", "--yes"])
        .exits(6);
}

#[test]
fn who_is_no_operator_is_not_permitted_and_who_is_nobody_is_not_authenticated() {
    let cluster = Cluster::start("strangers");
    cluster
        .person("alice")
        .run(["revoke", "urn:hessra:test:x", "--yes"])
        .exits(5);
    let nobody = cluster
        .person("alice")
        .with("HESSRA_CERT", "")
        .with("HESSRA_KEY", "");
    let finished = nobody.run(["revoke", "urn:hessra:test:x", "--yes"]);
    assert!(
        [2, 4].contains(&finished.code()),
        "exit {}: {}",
        finished.code(),
        finished.stderr()
    );
}

#[test]
fn an_identity_that_is_not_canonical_is_refused_not_repaired() {
    let cluster = Cluster::start("canonical");
    let operator = cluster.operator();
    for wrong in [
        "urn:hessra:",
        "urn::hessra",
        ":urn:hessra",
        "urn:hessra:a b",
        "urn:hessra:a%3Ab",
        "urn:hessra:ü",
    ] {
        operator
            .run(["revoke", "--subtree", wrong, "--yes"])
            .exits(2);
    }
    operator
        .run(["revoke", "--subtree", "urn:hessra", "--yes"])
        .exits(7);
    let list = operator
        .run(["revocations", "list", "-o", "json"])
        .done()
        .stdout();
    assert!(
        !list.contains("urn:hessra"),
        "nothing was half done: {list}"
    );
}

#[test]
fn a_dry_run_shows_and_changes_nothing() {
    let cluster = Cluster::start("dry_run");
    let operator = cluster.operator();
    operator
        .run(["revoke", "urn:hessra:alice:agent", "--dry-run"])
        .done();
    let list = operator
        .run(["revocations", "list", "-o", "json"])
        .done()
        .stdout();
    assert!(!list.contains("urn:hessra:alice"), "{list}");
}

#[test]
fn a_script_without_yes_is_told_what_to_do() {
    let cluster = Cluster::start("no_yes");
    let finished = cluster
        .operator()
        .run(["revoke", "urn:hessra:test:x"])
        .exits(2);
    assert!(finished.stderr().contains("--yes"), "{}", finished.stderr());
}

/// The file of a person's certificate.
fn certificate(cluster: &Cluster, name: &str) -> String {
    let file = cluster.directory().join(format!("clients/{name}.crt"));
    file.display().to_string()
}

/// Revokes a person's certificate for good, as somebody.
fn revoke_certificate(by: &Cli, cluster: &Cluster, name: &str) -> String {
    let file = certificate(cluster, name);
    let arguments = ["revoke", "--certificate", &file, "--permanent", "--yes"];
    let arguments = arguments
        .into_iter()
        .chain(["--wait", "commit", "-o", "json"]);
    let revoked = by.run(arguments).done().json();
    revoked["id"].as_str().expect("an id").to_owned()
}

#[test]
fn an_operator_whose_certificate_is_revoked_may_nothing_any_more() {
    let cluster = Cluster::start("silenced");
    let responder = cluster.person("responder");
    responder
        .run(["revoke", "urn:hessra:test:x", "--yes"])
        .done();
    revoke_certificate(&cluster.operator(), &cluster, "responder");
    let refused = responder
        .run(["revoke", "urn:hessra:test:y", "--yes"])
        .exits(4);
    assert!(
        refused
            .stderr()
            .contains("`urn:hessra:responder` is revoked"),
        "{}",
        refused.stderr()
    );
    responder.run(["revocations", "list"]).exits(4);
}

#[test]
fn an_operator_does_not_undo_the_revocation_of_its_own_certificate_and_its_streams_end() {
    let cluster = Cluster::start("own_lift");
    let operator = cluster.operator();
    let mut tail = operator.start(["audit", "tail", "--follow", "--last", "1"]);
    // A line says that it follows.
    let mut line = String::new();
    let mut lines = BufReader::new(tail.stdout.take().expect("it is piped"));
    lines.read_line(&mut line).expect("the newest record");
    let id = revoke_certificate(&operator, &cluster, "operator");
    operator.run(["revocations", "lift", &id, "--yes"]).exits(4);
    let ended = until("the tail ends", Duration::from_secs(20), || {
        tail.try_wait().ok().flatten()
    });
    assert!(!ended.success(), "{ended}");
}

#[test]
fn a_preview_says_which_operators_a_revocation_silences_and_that_none_could_lift_it() {
    let cluster = Cluster::start("silences");
    let operator = cluster.operator();
    let preview = |target: &str, permanent: bool| {
        let arguments = ["revoke", target, "--force", "--dry-run", "-o", "json"];
        let permanent = permanent.then_some("--permanent");
        operator
            .run(arguments.into_iter().chain(permanent))
            .done()
            .json()
    };
    let of_all = preview("urn:hessra", true);
    assert_eq!(of_all["lift_lost"], true, "{of_all}");
    let silenced = of_all["silenced"].as_array().expect("a list");
    assert!(
        silenced.contains(&"urn:hessra:responder".into()),
        "{of_all}"
    );
    let of_one = preview("urn:hessra:responder", true);
    assert_eq!(of_one["lift_lost"], false, "{of_one}");
    assert_eq!(of_one["silenced"][0], "urn:hessra:responder", "{of_one}");
    let so_far = preview("urn:hessra", false);
    assert_eq!(
        so_far["silenced"].as_array().map(Vec::len),
        Some(0),
        "{so_far}"
    );
}
