//! `config check`, `config show`, `keygen`, and what `run` refuses.

use std::path::Path;
use std::process::Output;

use super::running::{binary, said};

fn run(arguments: &[&str]) -> Output {
    binary()
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

#[test]
fn the_settings_shown_are_a_file_that_explains_itself() {
    let output = run(&["config", "show"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("[listen]\n# Clients, verifiers and operators: HTTPS and gRPC.\npublic = "),
        "{text}"
    );
    toml::from_str::<toml::Table>(&text).unwrap();
}

#[test]
fn a_typo_is_refused_with_its_line_and_the_nearest_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    std::fs::write(&path, "[cluster]\nname = \"a\"\nnode_idd = 1\n").unwrap();
    for command in [["config", "check"].as_slice(), &["run"]] {
        let output = run(&[command, &["--config", path.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        assert!(
            said.contains("unknown key `node_idd`. Did you mean `node_id`?")
                && said.contains(":3:1"),
            "{said}"
        );
    }
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let said = said(&run(&["run", "--config", "/nowhere/node.toml"]));
    assert!(
        said.contains("/nowhere/node.toml") && said.contains("--config"),
        "{said}"
    );
}

#[test]
fn keygen_makes_one_private_file_and_never_replaces_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    let path = path.to_str().unwrap();
    assert!(run(&["keygen", path]).status.success());
    let before = std::fs::read(path).unwrap();
    let again = run(&["keygen", path]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        said(&again).contains("never overwritten"),
        "{}",
        said(&again)
    );
    assert_eq!(std::fs::read(path).unwrap(), before);
    assert!(!said(&again).contains(String::from_utf8(before).unwrap().trim()));
}

/// The files of a dev directory, without running it: the node is given files that do not fit.
#[test]
fn a_node_with_another_nodes_certificate_is_refused() {
    let running = super::running::Running::start();
    let directory = running.directory().to_owned();
    let settings = directory.join("node-1/node.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let other = directory.join("node-1/other.toml");
    std::fs::write(
        &other,
        text.replace("node_id = 1", "node_id = 2")
            .replace("{ id = 1", "{ id = 2"),
    )
    .unwrap();
    let refused = check(&other);
    assert!(
        refused.contains("urn:hessra:node:dev:1") && refused.contains("not of node 2"),
        "{refused}"
    );

    std::fs::write(
        &other,
        text.replace("peer.crt", "server.crt")
            .replace("peer.key", "server.key"),
    )
    .unwrap();
    let refused = check(&other);
    assert!(refused.contains("no node"), "{refused}");
}

fn check(path: &Path) -> String {
    let output = run(&["config", "check", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    said(&output)
}
