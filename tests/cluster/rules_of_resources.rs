//! Rules of resources, which the policy demands beside the right itself: signatures of several parties, and tokens
//! limited before they are sent.

use std::time::{Duration, Instant};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hessra_revocation::UnixSeconds;
use hessra_sdk_core::{Keyring, ServiceKey, limit_just_in_time, sign_off};
use hessra_tests::Cluster;
use serde_json::{Value, json};

use crate::https::Https;

/// Applies the policy that stands, with changes.
fn apply(cluster: &Cluster, change: impl FnOnce(&mut String, &mut String)) {
    let operator = cluster.operator();
    let folder = cluster.directory().join("changed");
    let path = folder.display().to_string();
    operator.run(["policy", "show", "--out", &path]).done();
    let file = |name: &str| folder.join(name);
    let read = |name: &str| std::fs::read_to_string(file(name)).expect("a file of the policy");
    let (mut clients, mut resources) = (read("clients.toml"), read("resources.toml"));
    change(&mut clients, &mut resources);
    std::fs::write(file("clients.toml"), clients).expect("written");
    std::fs::write(file("resources.toml"), resources).expect("written");
    operator.run(["policy", "apply", &path, "--yes"]).done();
}

/// Asks until the node says this: one that lags answers by the policy before, or that it is behind.
pub(crate) async fn asked(
    request: impl AsyncFn() -> Option<(u16, Value)>,
    wanted: (u16, Option<&str>),
) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, body) = request().await.expect("an answer");
        if (status, body["reason"].as_str()) == wanted {
            return body;
        }
        assert!(Instant::now() < deadline, "not {wanted:?}: {status} {body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const YES: (u16, Option<&str>) = (200, None);

/// The key that the cluster signs tokens with, as resources name it.
pub(crate) async fn cluster_key(client: &Https) -> String {
    let (_, set) = client
        .get(1, "/.well-known/jwks.json")
        .await
        .expect("an answer");
    let text = set["keys"][0]["x"].as_str().expect("a key");
    let key = BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64");
    format!("ed25519/{}", HEXLOWER.encode(&key))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_several_parties_is_good_once_the_cluster_that_is_one_has_signed_off() {
    let cluster = Cluster::start("rules_signoff");
    let gateway = Https::new(&cluster, Some("gateway"));
    let key = cluster_key(&gateway).await;
    apply(&cluster, |clients, resources| {
        let right = r#"{ name = "payments", operations = ["pay"] },"#;
        let more = format!("{right}\n    {{ name = \"transfer\", operations = [\"send\"] }},");
        *clients = clients.replacen(right, &more, 1);
        resources.push_str(&format!(
            "\n[resources.transfer]\ntype = \"multi_party\"\nsigners = [\n    {{ component = \"authority\", \
             authorization_service = \"localhost:443\", public_key = \"{key}\" }},\n]\n"
        ));
    });
    let wanted = json!({ "resource": "transfer", "operation": "send" });
    let issued = asked(
        async || gateway.post(2, "/request_token", &wanted).await,
        YES,
    )
    .await;
    assert_eq!(issued["pending_signoffs"][0]["component"], "authority");
    assert_eq!(issued["pending_signoffs"][0]["public_key"], json!(key));
    let claim = |token: &Value| json!({ "token": token, "subject": "urn:hessra:gateway", "resource": "transfer", "operation": "send" });
    let unsigned = claim(&issued["token"]);
    let unsigned_off = (401, Some("signoff_missing"));
    asked(
        async || gateway.post(1, "/verify_token", &unsigned).await,
        unsigned_off,
    )
    .await;

    let request = json!({ "token": issued["token"], "resource": "transfer", "operation": "send" });
    let alice = Https::new(&cluster, Some("alice"));
    let not_permitted = (403, Some("not_permitted"));
    asked(
        async || alice.post(3, "/sign_token", &request).await,
        not_permitted,
    )
    .await;
    let signed = asked(async || gateway.post(3, "/sign_token", &request).await, YES).await;
    let signed = claim(&signed["signed_token"]);
    for node in [1, 2, 3] {
        asked(
            async || gateway.post(node, "/verify_token", &signed).await,
            YES,
        )
        .await;
    }
    cluster
        .operator()
        .run(["revoke", "--identity", "urn:hessra:gateway", "--yes"])
        .done();
    let revoked = (401, Some("revoked"));
    asked(
        async || gateway.post(1, "/verify_token", &signed).await,
        revoked,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_limit_its_token_before_it_is_sent_is_refused_when_it_does_not() {
    let cluster = Cluster::start("rules_just_in_time");
    apply(&cluster, |clients, _| {
        let delegable = "delegable = true\n";
        *clients = clients.replacen(delegable, "delegable = true\nrequire_jit = true\n", 1);
    });
    let alice = Https::new(&cluster, Some("alice"));
    let nothing = json!({});
    let issued = asked(
        async || alice.post(1, "/request_identity_token", &nothing).await,
        YES,
    )
    .await;
    let token = issued["token"].as_str().expect("a token");
    let service = Https::new(&cluster, None);
    let wanted = json!({ "resource": "api", "operation": "read" });
    let ask = async |token: &str| service.post_with(token, 2, "/request_token", &wanted).await;
    let unlimited = (401, Some("just_in_time_required"));
    asked(async || ask(token).await, unlimited).await;
    let limited = || {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        limit_just_in_time(token, UnixSeconds(now.as_secs()), &mut rand::rngs::OsRng)
    };
    asked(async || ask(&limited().expect("limited")).await, YES).await;
    // What our own command line sends is limited.
    let person = cluster.person("alice");
    person
        .run(["identity", "authenticate", "--save-as", "alice"])
        .done();
    person
        .run([
            "authorize",
            "request",
            "--identity-token",
            "alice",
            "--resource",
            "api",
            "--operation",
            "read",
        ])
        .done();
}

/// The key of a party, from the PKCS#8 document that its tools write.
fn party() -> ServiceKey {
    let prefix = HEXLOWER.decode(b"302e020100300506032b657004220420");
    let document = [prefix.expect("hexadecimal"), vec![9; 32]].concat();
    let text = data_encoding::BASE64.encode(&document);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    ServiceKey::from_pem(&pem).expect("a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_party_signed_is_denied_everywhere_once_its_key_is_revoked() {
    let cluster = Cluster::start("rules_signer_revoked");
    let gateway = Https::new(&cluster, Some("gateway"));
    let party = party();
    let key = party.public().to_string();
    apply(&cluster, |clients, resources| {
        let right = r#"{ name = "payments", operations = ["pay"] },"#;
        let more = format!("{right}\n    {{ name = \"transfer\", operations = [\"send\"] }},");
        *clients = clients.replacen(right, &more, 1);
        resources.push_str(&format!(
            "\n[resources.transfer]\ntype = \"multi_party\"\nsigners = [\n    {{ component = \"auditor\", \
             authorization_service = \"localhost:443\", public_key = \"{key}\" }},\n]\n"
        ));
    });
    let wanted = json!({ "resource": "transfer", "operation": "send" });
    let ask = async || gateway.post(2, "/request_token", &wanted).await;
    let issued = asked(ask, YES).await;
    let (_, keys) = gateway.get(1, "/public_key").await.expect("an answer");
    let keyring = Keyring::from_pem(keys["public_key"].as_str().expect("a key")).expect("a key");
    let signed = sign_off(
        issued["token"].as_str().expect("a token"),
        &keyring,
        "auditor",
        &party,
        UnixSeconds(
            std::time::UNIX_EPOCH
                .elapsed()
                .expect("after 1970")
                .as_secs(),
        ),
        &mut rand::rngs::OsRng,
    );
    let claim = json!({ "token": signed.expect("signed"), "subject": "urn:hessra:gateway", "resource": "transfer", "operation": "send" });
    asked(async || gateway.post(1, "/verify_token", &claim).await, YES).await;

    let operator = cluster.operator();
    let preview = operator.run(["revoke", "--signer", &key, "--yes"]).done();
    assert!(
        preview.stderr().contains("transfer"),
        "{}",
        preview.stderr()
    );
    let revoked = (401, Some("revoked"));
    for node in [1, 2, 3] {
        let verify = async || gateway.post(node, "/verify_token", &claim).await;
        asked(verify, revoked).await;
    }
    // Nothing is issued that would wait for it.
    asked(ask, (403, Some("signer_revoked"))).await;
    let listed = operator.run(["revocations", "list"]).done();
    assert!(listed.stdout().contains(&key[..20]), "{}", listed.stdout());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_or_the_clusters_own_is_refused_with_where_to_go() {
    let cluster = Cluster::start("rules_signer_refused");
    let operator = cluster.operator();
    let own = cluster_key(&Https::new(&cluster, None)).await;
    let refused = operator.run(["revoke", "--signer", &own, "--yes"]);
    assert_ne!(refused.code(), 0);
    assert!(
        refused.stderr().contains("hessra keys revoke"),
        "{}",
        refused.stderr()
    );
    let no_point = format!("secp256r1/02{}", "ff".repeat(32));
    for wrong in ["7", "ed25519/00", &no_point] {
        let refused = operator
            .run(["revoke", "--signer", wrong, "--yes"])
            .exits(2);
        assert!(
            refused.stderr().contains("as the policy"),
            "{}",
            refused.stderr()
        );
    }
}
