//! The commands run and print their tables. No figure is looked at: that is for a quiet machine and a person.

use std::process::Command;

fn bench(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .output()
        .expect("bench can be run");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "bench {arguments:?} failed\nstdout: {stdout}\nstderr: {stderr}"
    );
    stdout.into_owned()
}

/// The cells of the first row whose first cell contains `name`.
fn row(text: &str, name: &str) -> Vec<String> {
    let rows = text.lines().map(|line| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
    });
    let found = rows
        .map(Vec::from_iter)
        .find(|cells| cells.len() > 1 && cells[0].contains(name));
    found.unwrap_or_else(|| panic!("no row of `{name}` in\n{text}"))
}

#[test]
fn revokes_are_measured_and_none_of_them_fails() {
    let text = bench(&["revoke", "--short"]);
    let cells = row(&text, "hessra");
    assert!(
        !cells[1].starts_with("0 "),
        "no revoke was answered: {cells:?}"
    );
    assert_eq!(cells[5], "0", "revokes failed: {cells:?}");
}

#[test]
fn propagation_is_measured_to_the_last_verifier_and_no_revoked_token_is_allowed() {
    let text = bench(&["propagation", "--short"]);
    let cells = row(&text, "hessra");
    assert_eq!(cells[6], "0", "writes were lost: {cells:?}");
    assert!(text.contains("still allowed afterwards: 0"), "{text}");
    assert!(
        text.lines()
            .any(|line| line.contains("hessra") && line.contains("token denied")),
        "{text}"
    );
}

#[test]
fn checks_are_measured_beside_biscuit() {
    let text = bench(&["verify", "--short"]);
    assert_eq!(
        row(&text, "biscuit-auth alone").last().map(String::as_str),
        Some("1.000 (1.000-1.000)")
    );
    assert_eq!(row(&text, "hessra, no rules").len(), 5);
    assert_eq!(row(&text, "the most expensive").len(), 5);
}

#[test]
fn a_ratio_that_got_worse_is_named_and_fails_the_command() {
    let folder = tempfile::tempdir().expect("a directory");
    let kept = folder.path().join("ratios.toml");
    let kept = kept.to_str().expect("a path");
    bench(&["verify", "--short", "--save", "--ratios", kept]);
    let saved = std::fs::read_to_string(kept).expect("the table");
    let ratio = "verify: 3 delegations, hessra, 100000 rules, verified before";
    assert!(saved.contains(ratio), "{saved}");
    // As if it had been a thousand times faster, which no noise is.
    let faster = format!("[\"{ratio}\"]\nratio = 0.0000001\nbetter = \"lower\"\n");
    std::fs::write(kept, faster).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["verify", "--short", "--check", "--ratios", kept])
        .output()
        .expect("bench can be run");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(ratio) && said.contains("instead of"),
        "{said}"
    );
}

#[test]
fn every_endpoint_that_issues_is_measured_and_none_of_its_answers_is_a_refusal() {
    let text = bench(&["issue", "--short"]);
    for kind in ["identity", "authorization", "capability"] {
        assert_eq!(row(&text, kind).len(), 5, "{text}");
    }
    for endpoint in [
        "/request_identity_token",
        "/refresh_identity_token",
        "/mint_identity_token",
        "/request_token",
        "/request_capability",
        "/request_stub",
        "/verify_token",
    ] {
        let cells = row(&text, endpoint);
        assert!(!cells[1].starts_with("0 "), "no answer: {cells:?}");
        assert_eq!(cells[4], "0", "refused: {text}");
    }
}
