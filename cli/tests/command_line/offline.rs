//! Tokens without a cluster: stored, inspected, delegated, verified.

use std::os::unix::fs::PermissionsExt;

use ed25519_dalek::SigningKey;
use hessra_sdk_rust::token::keyring::public_key_to_pem;

use super::Home;
use super::material::{AGENT, ALICE, alice, alice_between, now, permission};

#[test]
fn a_name_that_could_leave_the_store_is_refused() {
    let home = Home::new();
    for name in ["../x", "a/b", "", "a b"] {
        home.run_with(&["identity", "inspect", "--token-name", name], &[], "")
            .exits(2);
        home.run_with(&["identity", "delete", name], &[], "")
            .exits(2);
    }
}

#[test]
fn a_token_that_is_not_stored_is_not_found() {
    let home = Home::new();
    let ended = home.run("identity inspect --token-name nobody").exits(6);
    assert!(ended.stderr.contains("`nobody`"), "{}", ended.stderr);
    home.run("identity delegate --from-token nobody --identity urn:h:a:b")
        .exits(6);
}

#[test]
fn an_empty_store_is_an_empty_list() {
    let home = Home::new();
    assert_eq!(home.run("identity list").exits(0).stdout, "");
    assert_eq!(home.run("identity list --json").exits(0).json()["count"], 0);
}

fn delegate(home: &Home, from: &str, to: &str) -> super::Ended {
    let line = [
        "identity",
        "delegate",
        "--public-key-file",
        "key.pem",
        "--from-token",
        from,
        "--identity",
        to,
    ];
    home.run_with(&line, &[], "")
}

fn verify(home: &Home, rest: &str) -> super::Ended {
    home.run(&format!(
        "identity verify --offline --public-key-file key.pem {rest}"
    ))
}

#[test]
fn a_delegated_token_is_alone_on_stdout_and_proves_its_identity() {
    let (home, _) = alice(3600);
    let made = delegate(&home, "default", AGENT).exits(0);
    assert!(
        !made.stdout.contains(char::is_whitespace),
        "the token alone: {}",
        made.stdout
    );
    home.write("agent", &made.stdout);
    let value = verify(
        &home,
        &format!("--token-file agent --identity {AGENT} --json"),
    )
    .exits(0)
    .json();
    assert_eq!(
        (value["valid"].as_bool(), value["identity"].as_str()),
        (Some(true), Some(AGENT))
    );
    assert_eq!(value["chain"], serde_json::json!([ALICE, AGENT]));
    assert_eq!(value["revocation"]["checked"], false);
}

#[test]
fn offline_says_in_words_what_was_not_checked() {
    let (home, _) = alice(3600);
    let ended = verify(&home, &format!("--identity {ALICE}")).exits(0);
    assert!(
        ended.stderr.contains("Revocation was not checked"),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stdout
            .starts_with("✓ Valid: urn:hessra:alice (expires in "),
        "{}",
        ended.stdout
    );
}

#[test]
fn without_anybody_to_ask_about_revocation_nobody_can_tell() {
    let (home, _) = alice(3600);
    let line = format!("identity verify --public-key-file key.pem --identity {ALICE} -o json");
    let ended = home.run(&line).exits(10);
    assert_eq!(ended.json()["valid"], serde_json::Value::Null);
    assert_eq!(ended.error()["exit_code"], 10);
    home.write_certificate();
    let ended = home
        .run(&format!("{line} -s localhost:1 --ca ca.crt --timeout 1s"))
        .exits(10);
    assert_eq!(ended.error()["reason"], "stale");
}

#[test]
fn a_token_is_taken_from_a_name_a_file_stdin_the_environment_or_as_it_is() {
    let (home, token) = alice(3600);
    home.write("file", &format!("{token}\n"));
    let base = [
        "identity",
        "delegate",
        "--public-key-file",
        "key.pem",
        "--identity",
        AGENT,
    ];
    for from in ["default", "@file", "-", token.as_str()] {
        let arguments: Vec<&str> = base.iter().copied().chain(["--from-token", from]).collect();
        home.run_with(&arguments, &[], &token).exits(0);
    }
    let empty = Home::new();
    std::fs::copy(home.path("key.pem"), empty.path("key.pem")).expect("copied");
    empty
        .run_with(&base, &[("HESSRA_IDENTITY", &token)], "")
        .exits(0);
    empty.run_with(&base, &[], "").exits(6);
}

#[test]
fn saved_tokens_are_private_and_listed() {
    let (home, _) = alice(3600);
    let line = format!(
        "identity delegate --public-key-file key.pem --identity {AGENT} --save-as agent --json"
    );
    let value = home.run(&line).exits(0).json();
    assert_eq!(
        (value["saved"].as_bool(), value["saved_as"].as_str()),
        (Some(true), Some("agent"))
    );
    let path = std::path::PathBuf::from(value["token_path"].as_str().expect("a path"));
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        home.run("identity list").exits(0).stdout,
        "agent\ndefault\n"
    );
    let listed = home.run("identity list --details --json").exits(0).json();
    assert_eq!(listed["tokens"][0]["identity"], AGENT);
    assert_eq!(listed["tokens"][0]["status"], "valid");
    home.run("identity delete agent").exits(0);
    assert_eq!(home.run("identity list").exits(0).stdout, "default\n");
}

#[test]
fn the_token_folder_can_be_chosen() {
    let (home, token) = alice(3600);
    let line = [
        "identity",
        "delegate",
        "--public-key-file",
        "key.pem",
        "--identity",
        AGENT,
        "--from-token",
        &token,
        "--save-as",
        "a",
    ];
    home.run_with(&line, &[("HESSRA_TOKEN_DIR", "elsewhere")], "")
        .exits(0);
    assert!(home.path("elsewhere/a.token").exists());
}

#[test]
fn only_identities_below_can_be_delegated_to() {
    let (home, _) = alice(3600);
    for other in [
        "urn:hessra:bob",
        "urn:hessra:alice",
        "urn:hessra:alicebob",
        "urn:hessra:alice:",
        "urn:hessra:alice::x",
    ] {
        let ended = delegate(&home, "default", other).exits(2);
        assert!(ended.stdout.is_empty(), "{other}");
    }
}

#[test]
fn no_is_3_with_the_reason() {
    let (home, token) = alice(3600);
    let tampered = token.replacen(
        &token[40..41],
        if &token[40..41] == "A" { "B" } else { "A" },
        1,
    );
    home.write("tampered", &tampered);
    home.write("garbage", "no token at all");
    let agent = delegate(&home, "default", AGENT).exits(0);
    home.write("agent", &agent.stdout);
    for (rest, reasons) in [
        ("--token-file tampered", &["bad_signature", "malformed"][..]),
        ("--token-file garbage", &["malformed"]),
        (
            "--token-file agent --identity urn:hessra:alice:agent2",
            &["actor_mismatch"],
        ),
        (
            "--token-file agent --identity urn:hessra:alice",
            &["actor_mismatch"],
        ),
        ("--check-expiry --min-ttl 2h", &["expires_soon"]),
    ] {
        let ended = verify(&home, &format!("{rest} -o json")).exits(3);
        let error = ended.error();
        let reason = error["reason"].as_str().expect("a reason");
        assert!(reasons.contains(&reason), "{rest}: {reason}");
        assert_eq!(ended.json()["valid"], false, "{rest}");
    }
}

#[test]
fn an_expired_token_is_refused_without_asking_anybody() {
    let (home, _) = alice_between(now() - 100, now() - 50);
    let line = format!(
        "identity verify --public-key-file key.pem --identity {ALICE} -s localhost:1 -o json"
    );
    assert_eq!(home.run(&line).exits(3).error()["reason"], "expired");
}

#[test]
fn a_token_of_another_authority_is_refused() {
    let (home, _) = alice(3600);
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
    home.write("key.pem", &public_key_to_pem(&other).expect("a key"));
    assert_eq!(
        verify(&home, "-o json").exits(3).error()["reason"],
        "bad_signature"
    );
    home.write("key.pem", "no key");
    verify(&home, "").exits(2);
}

#[test]
fn inspecting_shows_the_actor_and_proves_nothing() {
    let (home, _) = alice(3600);
    let agent = delegate(&home, "default", AGENT).exits(0);
    let ended = home
        .run_with(
            &["identity", "inspect", "-", "--json", "--verbose"],
            &[],
            &agent.stdout,
        )
        .exits(0);
    let value = ended.json();
    assert_eq!(value["identity"], AGENT);
    assert_eq!(
        (value["status"].as_str(), value["verified"].as_bool()),
        (Some("valid"), Some(false))
    );
    assert_eq!(value["revocation_ids"].as_array().map(Vec::len), Some(2));
    assert!(
        value["content"]
            .as_str()
            .is_some_and(|content| content.contains("subject(\"urn:hessra:alice\")"))
    );
    assert!(
        !ended.stdout.contains(&agent.stdout),
        "the token itself is not repeated"
    );
}

#[test]
fn the_key_learnt_before_is_used_without_a_server() {
    let (home, _) = alice(3600);
    let pem = std::fs::read_to_string(home.path("key.pem")).expect("a key");
    home.write("home/servers/localhost_7401/public_key.pem", &pem);
    home.run(&format!("identity delegate --identity {AGENT}"))
        .exits(0);
    home.run("identity verify --offline").exits(0);
}

#[test]
fn an_authorization_permits_exactly_what_it_says() {
    let home = Home::new();
    let token = permission(&home, 300);
    let verify = |subject: &str, resource: &str, operation: &str| {
        let line = [
            "authorize",
            "verify",
            "--offline",
            "--public-key-file",
            "key.pem",
            "--json",
        ];
        let rest = ["-s", subject, "-r", resource, "-o", operation];
        home.run_with(&[&line[..], &rest].concat(), &[], &token)
    };
    assert_eq!(
        verify(ALICE, "api", "read").exits(0).json()["success"],
        true
    );
    for (subject, resource, operation) in [
        ("urn:hessra:bob", "api", "read"),
        (ALICE, "database", "read"),
        (ALICE, "api", "write"),
    ] {
        let ended = verify(subject, resource, operation).exits(3);
        assert_eq!(ended.json()["success"], false);
    }
}

#[test]
fn an_identity_is_no_authorization_and_the_other_way_round() {
    let (home, identity) = alice(3600);
    let line = "authorize verify --offline --public-key-file key.pem -s urn:hessra:alice -r api -o read --json";
    let arguments: Vec<&str> = line.split(' ').collect();
    home.run_with(&arguments, &[], &identity).exits(3);
    home.write("permission", &permission(&home, 300));
    verify(&home, "--token-file permission").exits(3);
}
