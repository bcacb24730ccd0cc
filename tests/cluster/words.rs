//! Words of the command line: what happened, to what, and what to do next.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use hessra_tests::{Cluster, Finished};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use serde_json::Value;

use crate::walk_through::delegate;

const AGENT: &str = "urn:hessra:alice:agent";
const ID: &str = "00112233445566778899aabbccddeeff";

fn revoke<'a>(target: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let command = [
        "revoke",
        "--subtree",
        target,
        "--yes",
        "--force",
        "--wait",
        "none",
    ];
    [&command[..], more].concat()
}

fn error(finished: &Finished) -> Value {
    let said = finished.stderr();
    let last = said.lines().last().expect("an object");
    let said: Value = serde_json::from_str(last).expect("an object");
    said["error"].clone()
}

#[test]
fn a_change_is_asked_for_again_under_its_id_and_has_one_effect() {
    let cluster = Cluster::start("again");
    let operator = cluster.operator();
    let asked = |target, id| operator.run(revoke(target, &["--request-id", id, "-o", "json"]));
    let first = asked(AGENT, ID).done().json();
    let uuid = "00112233-4455-6677-8899-AABBCCDDEEFF";
    let again = asked(AGENT, uuid).done().json();
    assert_eq!(first["revision"], again["revision"]);
    let other = asked("urn:hessra:alice:other", ID).exits(7);
    let other = error(&other);
    assert_eq!(other["request_id"], ID);
    let message = other["message"].as_str().expect("a message");
    assert!(message.contains("belongs to another request"), "{message}");
}

#[test]
fn a_revocation_whose_answer_cannot_be_printed_is_said_to_be_committed() {
    let cluster = Cluster::start("unprinted");
    let operator = cluster.operator();
    let full = OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("a full disk");
    let (reader, closed) = std::io::pipe().expect("a pipe");
    drop(reader);
    let outputs = [
        ("urn:hessra:alice:one", Stdio::from(full)),
        ("urn:hessra:alice:two", Stdio::from(closed)),
    ];
    for (target, stdout) in outputs {
        let ended = operator.run_into(revoke(target, &[]), stdout).exits(9);
        let said = ended.stderr();
        assert!(
            said.contains("is committed at revision ") && said.contains("only printing"),
            "{said}"
        );
        let known = operator.run(["revocations", "show", target]).done();
        assert!(known.stdout().contains(target));
    }
}

#[test]
fn an_explained_denial_names_the_revocation() {
    let cluster = Cluster::start("named");
    let (alice, operator) = (cluster.person("alice"), cluster.operator());
    delegate(&alice);
    let reason = ["--reason", "compromised", "--ticket", "T-1", "-o", "json"];
    let revoked = operator.run(revoke(AGENT, &reason)).done().json();
    // The home of alice with the operator's certificate: the token is hers, and who asks may read.
    let file = |kind: &str| {
        let path = cluster.directory().join(format!("clients/operator.{kind}"));
        path.display().to_string()
    };
    let both = alice
        .clone()
        .with("HESSRA_CERT", &file("crt"))
        .with("HESSRA_KEY", &file("key"));
    let explain = [
        "token",
        "explain",
        "agent",
        "--identity",
        AGENT,
        "--output",
        "json",
    ];
    let told = both.run(explain).exits(3).json();
    assert_eq!(told["revoked"]["asked"], true, "{told}");
    let named = &told["revoked"]["by"][0];
    assert_eq!(named["revision"], revoked["revision"], "{told}");
    assert_eq!(named["reason"], "compromised");
    assert_eq!(named["ticket"], "T-1");
    // Alice may not ask: she hears that it is revoked, and why no more is said.
    let told = alice.run(explain).exits(3).json();
    assert_eq!(told["revoked"]["asked"], false, "{told}");
    assert!(
        told["revoked"]["why"]
            .as_str()
            .is_some_and(|why| why.contains("could not be asked"))
    );
    let offline = [&explain[..], &["--offline"]].concat();
    let told = both.run(offline).exits(3).json();
    assert!(
        told["revoked"]["why"]
            .as_str()
            .is_some_and(|why| why.contains("was not asked"))
    );
}

#[test]
fn a_certificate_that_has_ended_is_named_with_its_end() {
    let cluster = Cluster::start("ended");
    let directory = cluster.directory();
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("the CA");
    let key = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let ca = Issuer::from_ca_cert_pem(&read("ca.crt"), key).expect("a CA");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(
        "urn:hessra:operator".try_into().expect("a URI"),
    )];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &ca).expect("signed");
    let path = |kind: &str| directory.join(format!("clients/gone.{kind}"));
    std::fs::write(path("crt"), certificate.pem()).expect("written");
    std::fs::write(path("key"), key.serialize_pem()).expect("written");
    let private = File::open(path("key")).expect("the key");
    private
        .set_permissions(Permissions::from_mode(0o600))
        .expect("set");
    let gone = cluster.person("gone");
    let commands = [
        vec!["status"],
        vec!["identity", "authenticate"],
        revoke(AGENT, &[]),
    ];
    for command in commands {
        let said = gone.run(&command).exits(4).stderr();
        let file = path("crt").display().to_string();
        assert!(
            said.contains(&file) && said.contains("ended at 2020-01-01T00:00:00Z"),
            "{command:?}: {said}"
        );
        assert!(said.contains("hint: Get a new one"), "{command:?}: {said}");
    }
}
