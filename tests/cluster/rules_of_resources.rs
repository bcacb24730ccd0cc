//! Rules of resources, which the policy demands beside the right itself: signatures of several parties, and tokens
//! limited before they are sent.

use std::time::{Duration, Instant};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hessra_revocation::UnixSeconds;
use hessra_sdk_core::limit_just_in_time;
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
async fn asked(
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
async fn cluster_key(client: &Https) -> String {
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
