//! Names, lifetimes, revisions and keys: one name has one spelling, nothing outlives what was shown for it, and what is
//! revoked by mistake of typing is said.

use std::time::Duration;

use hessra_revocation::UnixSeconds;
use hessra_sdk_core::{Limits, Token, limit_just_in_time};
use hessra_tests::{Cluster, Layout, until};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use serde_json::{Value, json};

use crate::https::Https;
use crate::rules_of_resources::{asked, cluster_key};

const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster whose policy also knows the hosts of `svc.example`.
fn cluster(name: &'static str) -> Cluster {
    let mut cluster = Layout::new(name).prepare();
    let path = cluster.directory().join("clients.toml");
    let policy = std::fs::read_to_string(&path).expect("a policy");
    let hosts = "\n[[clients]]\nidentifier = { type = \"san_dns\", value = \"*.Svc.example\" }\n\
        identity_token_enabled = true\nresources = [{ name = \"api\", operations = [\"read\"] }]\n";
    std::fs::write(&path, policy + hosts).expect("written");
    cluster.start_all();
    cluster
}

/// Writes a client certificate that lives for so many seconds from now on.
fn issue(cluster: &Cluster, file: &str, name: SanType, seconds: u64) {
    let directory = cluster.directory();
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("the CA");
    let key = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let ca = Issuer::from_ca_cert_pem(&read("ca.crt"), key).expect("a CA");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![name];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let end = now().0 + seconds;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &ca).expect("signed");
    let write = |kind: &str, text: String| {
        std::fs::write(directory.join(format!("clients/{file}.{kind}")), text).expect("written");
    };
    write("crt", certificate.pem());
    write("key", key.serialize_pem());
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a DNS name"))
}

fn now() -> UnixSeconds {
    UnixSeconds(
        std::time::UNIX_EPOCH
            .elapsed()
            .expect("after 1970")
            .as_secs(),
    )
}

async fn ok(answer: impl Future<Output = Option<(u16, Value)>>) -> Value {
    let (status, body) = answer.await.expect("an answer");
    assert_eq!(status, 200, "{body}");
    body
}

fn token(body: &Value) -> String {
    body["token"].as_str().expect("a token").to_owned()
}

fn limited(token: &str) -> String {
    limit_just_in_time(token, now(), &mut rand::rngs::OsRng).expect("limited")
}

/// Seconds from now to the end of a token, as its authority block records it.
fn left(token: &str) -> u64 {
    let facts = Token::parse(token, &Limits::default()).and_then(|token| token.facts());
    let end = facts.expect("a token of ours").expires_at.expect("an end");
    end.0.saturating_sub(now().0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_one_name_in_every_case_from_the_door_to_revocation_and_audit() {
    let cluster = cluster("names_host");
    for (file, name) in [("upper", "HOST.svc.example"), ("mixed", "host.SVC.Example")] {
        issue(&cluster, file, dns(name), 86_400);
    }
    let upper = Https::new(&cluster, Some("upper"));
    let mixed = Https::new(&cluster, Some("mixed"));
    let identity = |client: &Https| {
        let client = client.clone();
        async move { client.post(1, "/request_identity_token", &json!({})).await }
    };
    let issued = ok(identity(&upper)).await;
    assert_eq!(issued["identity"], "host.svc.example");
    // A single host is not near the root: nothing has to be forced at night.
    let operator = cluster.operator();
    let preview = operator
        .run(["revoke", "HOST.svc.example", "--dry-run", "-o", "json"])
        .done()
        .json();
    assert_eq!(
        preview["items"][0]["target"], "host.svc.example",
        "{preview}"
    );
    assert_eq!(preview["items"][0]["known"], true, "{preview}");
    assert_eq!(preview["items"][0]["resources"], json!(["api:read"]));
    operator
        .run(["revoke", "Host.Svc.EXAMPLE", "--permanent", "--yes"])
        .done();
    let revoked = (401, Some("revoked"));
    for client in [&upper, &mixed] {
        asked(async || identity(client).await, revoked).await;
    }
    let bearer = Https::new(&cluster, None);
    let wanted = json!({ "resource": "api", "operation": "read" });
    let shown = token(&issued);
    let ask = async || bearer.post_with(&shown, 1, "/request_token", &wanted).await;
    asked(ask, revoked).await;
    for spelled in [
        "HOST.svc.example",
        "host.svc.example",
        "uri:Host.svc.example",
    ] {
        let subject = format!("subject={spelled}");
        let found = operator
            .run([
                "audit",
                "search",
                &subject,
                "event=identity.issued",
                "-o",
                "json",
            ])
            .done()
            .json();
        let records = found["records"].as_array().expect("records");
        assert_eq!(records.len(), 1, "{spelled}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_token_that_its_holder_limited() {
    let cluster = Cluster::start("ends_limited");
    let bearer = Https::new(&cluster, None);
    let company = Https::new(&cluster, None);
    let of = async |name: &str| {
        issue(
            &cluster,
            name,
            SanType::URI(
                format!("urn:hessra:{name}")
                    .as_str()
                    .try_into()
                    .expect("a URI"),
            ),
            86_400,
        );
        let client = Https::new(&cluster, Some(name));
        token(&ok(client.post(1, "/request_identity_token", &json!({}))).await)
    };
    let (realm, gateway) = (of("mycompany").await, of("gateway").await);
    let member = json!({ "subject": "urn:hessra:mycompany:bob", "duration": 3_600 });
    let right = json!({ "resource": "api", "operation": "read" });
    let stub = json!({ "target_identity": "urn:hessra:alice", "resource": "api", "operation": "read",
        "prefix_attenuator_key": cluster_key(&bearer).await, "duration": 60 });
    let session = json!({ "duration": 86_400 });
    for (asking, path, body) in [
        (&realm, "/mint_identity_token", &member),
        (&realm, "/request_context", &session),
        (&gateway, "/request_token", &right),
        (&gateway, "/request_capability", &right),
        (&gateway, "/request_stub", &stub),
    ] {
        let whole = ok(bearer.post_with(asking, 1, path, body)).await;
        let issued = ok(company.post_with(&limited(asking), 1, path, body)).await;
        let said = issued["expires_in"].as_u64().expect("seconds");
        assert!(said <= 5 && left(&token(&issued)) <= 5, "{path}: {issued}");
        assert!(whole["expires_in"].as_u64() > Some(5), "{path}: {whole}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_the_certificate_that_it_was_issued_over_not_even_by_refreshing() {
    let cluster = Cluster::start("ends_certificate");
    let alice = SanType::URI("urn:hessra:alice".try_into().expect("a URI"));
    issue(&cluster, "brief", alice, 600);
    let brief = Https::new(&cluster, Some("brief"));
    let nobody = Https::new(&cluster, None);
    let identity = ok(brief.post(1, "/request_identity_token", &json!({}))).await;
    let first = token(&identity);
    assert!(identity["expires_in"].as_u64() <= Some(600), "{identity}");
    let refresh = json!({ "current_token": first });
    let refreshed = ok(nobody.post(1, "/refresh_identity_token", &refresh)).await;
    let again = json!({ "current_token": token(&refreshed) });
    let again = ok(nobody.post(2, "/refresh_identity_token", &again)).await;
    let session = json!({ "duration": 86_400 });
    let over_it = ok(brief.post(1, "/request_context", &session)).await;
    let for_it = ok(nobody.post_with(&first, 1, "/request_context", &session)).await;
    for issued in [&identity, &refreshed, &again, &over_it, &for_it] {
        assert!(left(&token(issued)) <= 600, "{issued}");
    }
}

#[test]
fn a_shortened_token_id_is_refused_with_the_whole_one() {
    let cluster = Cluster::start("ids_shortened");
    let alice = cluster.person("alice");
    let token = alice
        .run(["identity", "authenticate", "--token-only"])
        .done()
        .stdout();
    let parsed = Token::parse(token.trim(), &Limits::default()).expect("a token");
    let id = parsed.revocation_ids()[0].to_string();
    let operator = cluster.operator();
    for options in [
        &["--yes"][..],
        &["--yes", "--no-input"],
        &["--yes", "--force"],
    ] {
        let mut line = vec!["revoke", "--token-id", &id[..12]];
        line.extend(options);
        let refused = operator.run(line).exits(2);
        assert!(refused.stderr().contains(&id), "{}", refused.stderr());
    }
    let none = operator.run(["revocations", "list", "-o", "json"]).done();
    assert_eq!(none.json()["revocations"], json!([]), "{}", none.stdout());
    operator.run(["revoke", "--token-id", &id, "--yes"]).done();
}

#[test]
fn a_name_that_nothing_has_is_not_revoked_without_a_word() {
    let cluster = Cluster::start("names_unknown");
    let operator = cluster.operator();
    let typo = "urn:hessra:galeway";
    for line in [
        &["revoke", typo, "--yes"][..],
        &["revoke", typo, "--yes", "--no-input", "-o", "json"],
        &["revoke", "--identity", typo, "--confirm", "galeway"],
        &["revoke", typo, "--until", "1h", "--yes"],
    ] {
        let refused = operator.run(line.iter().copied()).exits(6);
        assert!(
            refused.stderr().contains("urn:hessra:gateway"),
            "the nearest name is said: {}",
            refused.stderr()
        );
    }
    let preview = operator
        .run(["revoke", typo, "--dry-run", "-o", "json"])
        .done()
        .json();
    assert_eq!(preview["items"][0]["known"], false, "{preview}");
    assert_eq!(
        preview["items"][0]["nearest"], "urn:hessra:gateway",
        "{preview}"
    );
    // What lies below a client or a realm is as good as known, and what is meant can be said.
    for known in [
        "urn:hessra:alice:new:task",
        "urn:hessra:mycompany:carol",
        "urn:hessra:operator",
    ] {
        operator
            .run(["revoke", known, "--yes", "--wait", "commit"])
            .done();
    }
    operator
        .run(["revoke", typo, "--yes", "--force", "--wait", "commit"])
        .done();
    // It was revoked before: that is known now.
    operator
        .run(["revoke", typo, "--yes", "--wait", "commit"])
        .done();
}

#[test]
fn offline_denies_what_this_computer_knows_to_be_revoked() {
    let cluster = Cluster::start("offline_known");
    let (alice, operator) = (cluster.person("alice"), cluster.operator());
    alice
        .run(["identity", "authenticate", "--save-as", "own"])
        .done();
    let verify = |options: &[&str]| {
        let line = ["identity", "verify", "--token-name", "own"];
        alice.run(line.iter().chain(options).copied())
    };
    verify(&[]).done();
    verify(&["--offline"]).done();
    operator.run(["revoke", "urn:hessra:alice", "--yes"]).done();
    until("the feed has told alice", PATIENCE, || {
        (verify(&[]).code() == 3).then_some(())
    });
    let denied = verify(&["--offline", "-o", "json"]).exits(3);
    assert_eq!(denied.json()["reason"], "revoked");
    // The same holds for a key.
    alice
        .run(["identity", "authenticate", "--save-as", "own"])
        .done();
    verify(&["--offline"]).done();
    operator
        .run(["keys", "rotate", "--emergency", "--yes"])
        .done();
    until("the feed has told alice", PATIENCE, || {
        (verify(&[]).code() == 3).then_some(())
    });
    let denied = verify(&["--offline", "-o", "json"]).exits(3);
    assert_eq!(denied.json()["reason"], "key_revoked");
}

#[test]
fn a_computer_knows_at_once_what_was_revoked_from_it() {
    let cluster = Cluster::start("offline_own");
    let (alice, operator) = (cluster.person("alice"), cluster.operator());
    let token = |kind: &str| {
        let path = cluster.directory().join(kind);
        let made = alice
            .run(["identity", "authenticate", "--token-only"])
            .done();
        std::fs::write(&path, made.stdout()).expect("written");
        path.display().to_string()
    };
    let verify = |file: &str, options: &[&str]| {
        let line = ["identity", "verify", "--token-file", file];
        operator.run(line.iter().chain(options).copied())
    };
    let (first, last) = (token("first"), token("last"));
    verify(&first, &[]).done();
    verify(&first, &["--offline"]).done();
    let id = {
        let text = std::fs::read_to_string(&first).expect("a token");
        let parsed = Token::parse(text.trim(), &Limits::default()).expect("a token");
        parsed.revocation_ids()[0].to_string()
    };
    operator
        .run(["revoke", "--token-id", &id, "--yes", "--wait", "commit"])
        .done();
    verify(&first, &["--offline"]).exits(3);
    verify(&last, &["--offline"]).done();
    operator
        .run(["keys", "rotate", "--emergency", "--yes"])
        .done();
    verify(&last, &["--offline"]).exits(3);
}

#[test]
fn a_verifier_that_was_away_believes_no_revoked_feed_key_and_says_what_to_do() {
    let cluster = Layout::new("feed_key_revoked")
        .set("feed", "fresh_for", "2s")
        .start();
    let operator = cluster.operator();
    let token = cluster
        .person("gateway")
        .run(["identity", "authenticate", "--token-only"])
        .done()
        .stdout();
    let actor = "urn:hessra:gateway";
    let mut away = cluster.probe("orders-away", &[1]);
    until("it is fresh", PATIENCE, || {
        (away.check(token.trim(), actor).verdict == "allow").then_some(())
    });
    away.stop();
    operator
        .run([
            "keys",
            "rotate",
            "--purpose",
            "feed",
            "--emergency",
            "--yes",
        ])
        .done();
    let mut back = cluster.probe("orders-away", &[1, 2, 3]);
    let alarm = until("it is alarmed", PATIENCE, || {
        assert_ne!(back.check(token.trim(), actor).verdict, "allow");
        back.status()["alarm"].as_str().map(str::to_owned)
    });
    assert!(alarm.contains("is not known to this verifier"), "{alarm}");
    assert!(alarm.contains("pin"), "{alarm}");
    // One that starts anew follows.
    let mut anew = cluster.probe("orders-anew", &[1, 2, 3]);
    until("it is fresh", PATIENCE, || {
        (anew.check(token.trim(), actor).verdict == "allow").then_some(())
    });
}
