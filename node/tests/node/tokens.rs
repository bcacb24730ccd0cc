//! Requests for tokens and their answers, as published clients make them.

use biscuit_auth::{Biscuit, PublicKey};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::running::{Running, answer, shared};

async fn identity(running: &Running, name: &str, identifier: Value) -> (StatusCode, Value) {
    let request = running
        .client(Some(name))
        .post(running.url("/request_identity_token"));
    answer(request.json(&json!({ "identifier": identifier }))).await
}

async fn token_of(running: &Running, name: &str) -> String {
    identity(running, name, Value::Null).await.1["token"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn authorize(
    running: &Running,
    who: Who<'_>,
    resource: &str,
    operation: &str,
) -> (StatusCode, Value) {
    let body = json!({ "resource": resource, "operation": operation });
    let request = running
        .client(who.certificate)
        .post(running.url("/request_token"))
        .json(&body);
    answer(match who.bearer {
        Some(token) => request.header("Authorization", format!("Bearer {token}")),
        None => request,
    })
    .await
}

#[derive(Clone, Copy, Default)]
struct Who<'a> {
    certificate: Option<&'a str>,
    bearer: Option<&'a str>,
}

async fn public_key(running: &Running) -> PublicKey {
    let (_, body) = answer(running.client(None).get(running.url("/public_key"))).await;
    PublicKey::from_pem(body["public_key"].as_str().unwrap()).unwrap()
}

fn reason((status, body): &(StatusCode, Value)) -> (u16, &str) {
    assert!(
        body["token"].is_null() && body["response_msg"].is_string(),
        "{body}"
    );
    (status.as_u16(), body["reason"].as_str().unwrap())
}

#[tokio::test]
async fn an_identity_token_has_the_published_shape_and_our_facts() {
    let running = shared();
    let (status, body) = identity(&running, "alice", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["identity"], "urn:hessra:alice");
    assert_eq!(body["expires_in"], 28_800);
    let key = public_key(&running).await;
    let token = Biscuit::from_base64(body["token"].as_str().unwrap(), key).unwrap();
    assert_eq!(token.root_key_id(), Some(1));
    let printed = token.print_block_source(0).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "subject(\"urn:hessra:alice\");", "{printed}");
    let place = |start: &str| {
        lines
            .iter()
            .position(|line| line.starts_with(start))
            .expect(start)
    };
    assert!(
        place("check if actor($a)") < place("check if time($time), $time < "),
        "{printed}"
    );
    for fact in ["rev(", "iat(", "exp(", "cert("] {
        place(fact);
    }
}

#[tokio::test]
async fn digits_as_identifier_are_a_wish_for_a_lifetime_within_what_is_granted() {
    let running = shared();
    assert_eq!(
        identity(&running, "alice", json!("600")).await.1["expires_in"],
        600
    );
    assert_eq!(
        identity(&running, "alice", json!("99999999999999999999999"))
            .await
            .1["expires_in"],
        28_800
    );
    assert_eq!(
        reason(&identity(&running, "alice", json!("0")).await),
        (422, "invalid_ttl")
    );
    assert_eq!(
        identity(&running, "alice", json!("uri:urn:hessra:alice"))
            .await
            .0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn another_identity_than_the_certificates_is_a_mismatch() {
    let running = shared();
    let refused = identity(&running, "alice", json!("urn:hessra:operator")).await;
    assert_eq!(reason(&refused), (401, "identity_mismatch"));
    assert!(
        refused.1["response_msg"]
            .as_str()
            .unwrap()
            .starts_with("Identity mismatch")
    );
}

#[tokio::test]
async fn who_is_not_a_client_gets_no_identity_and_who_shows_nothing_neither() {
    let running = shared();
    assert_eq!(
        reason(&identity(&running, "operator", Value::Null).await),
        (401, "unknown_client")
    );
    let request = running
        .client(None)
        .post(running.url("/request_identity_token"))
        .json(&json!({}));
    assert_eq!(reason(&answer(request).await), (401, "unauthenticated"));
}

#[tokio::test]
async fn a_certificate_and_an_identity_token_give_the_same_authorization() {
    let running = shared();
    let token = token_of(&running, "alice").await;
    let key = public_key(&running).await;
    for who in [
        Who {
            certificate: Some("alice"),
            bearer: None,
        },
        Who {
            certificate: None,
            bearer: Some(&token),
        },
        Who {
            certificate: Some("alice"),
            bearer: Some(&token),
        },
    ] {
        let (status, body) = authorize(&running, who, "database", "write").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let printed = Biscuit::from_base64(body["token"].as_str().unwrap(), key)
            .unwrap()
            .print_block_source(0)
            .unwrap();
        assert!(
            printed.starts_with("right(\"urn:hessra:alice\", \"database\", \"write\");"),
            "{printed}"
        );
        assert_eq!(
            printed.contains("parent("),
            who.bearer.is_some(),
            "{printed}"
        );
        assert!(printed.contains("cert("), "{printed}");
    }
}

#[tokio::test]
async fn a_token_and_another_ones_certificate_are_a_mismatch() {
    let running = shared();
    let token = token_of(&running, "alice").await;
    let both = Who {
        certificate: Some("gateway"),
        bearer: Some(&token),
    };
    assert_eq!(
        reason(&authorize(&running, both, "api", "read").await),
        (401, "identity_mismatch")
    );
}

#[tokio::test]
async fn a_delegate_gets_what_its_own_entry_allows_and_no_more() {
    use hessra_revocation::{Identity, UnixSeconds};
    use hessra_sdk_core::{Delegation, Keyring, delegate};
    let running = shared();
    let token = token_of(&running, "alice").await;
    let (_, body) = answer(running.client(None).get(running.url("/public_key"))).await;
    let keyring = Keyring::from_pem(body["public_key"].as_str().unwrap()).unwrap();
    let now = UnixSeconds(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs());
    let below = |name: &str| {
        let child = Identity::parse(name).unwrap();
        let delegation = Delegation {
            child,
            expires_at: UnixSeconds(now.0 + 60),
            checks: None,
        };
        delegate(&token, &keyring, &delegation, now, &mut rand::rngs::OsRng)
            .unwrap()
            .token
    };
    let agent = below("urn:hessra:alice:agent");
    let as_agent = Who {
        certificate: None,
        bearer: Some(&agent),
    };
    assert_eq!(
        authorize(&running, as_agent, "api", "read").await.0,
        StatusCode::OK
    );
    assert_eq!(
        reason(&authorize(&running, as_agent, "api", "write").await),
        (403, "not_permitted")
    );
    let stranger = below("urn:hessra:alice:stranger");
    let as_stranger = Who {
        certificate: None,
        bearer: Some(&stranger),
    };
    assert_eq!(
        reason(&authorize(&running, as_stranger, "api", "read").await),
        (401, "unknown_client")
    );
}

#[tokio::test]
async fn an_authorization_is_no_identity_and_a_changed_token_is_none() {
    let running = shared();
    let who = Who {
        certificate: Some("alice"),
        bearer: None,
    };
    let authorization = authorize(&running, who, "api", "read").await.1["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let with = |token| Who {
        certificate: None,
        bearer: Some(token),
    };
    assert_eq!(
        reason(&authorize(&running, with(&authorization), "api", "read").await),
        (401, "wrong_class")
    );
    let mut changed = token_of(&running, "alice").await;
    let middle = changed.len() / 2;
    let other = if &changed[middle..=middle] == "A" {
        "B"
    } else {
        "A"
    };
    changed.replace_range(middle..=middle, other);
    assert_eq!(
        authorize(&running, with(&changed), "api", "read").await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        reason(&authorize(&running, with("garbage"), "api", "read").await),
        (401, "malformed")
    );
}

#[tokio::test]
async fn what_is_not_permitted_is_denied() {
    let running = shared();
    let gateway = Who {
        certificate: Some("gateway"),
        bearer: None,
    };
    assert_eq!(
        reason(&authorize(&running, gateway, "database", "read").await),
        (403, "not_permitted")
    );
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused_as_json() {
    let running = shared();
    let client = running.client(Some("alice"));
    for body in [
        "",
        "{",
        "[]",
        "{\"resource\":1,\"operation\":\"read\"}",
        "{\"resource\":\"api\"}",
    ] {
        let refused = answer(client.post(running.url("/request_token")).body(body)).await;
        assert_eq!(reason(&refused), (422, "malformed"), "{body}");
    }
    let large = answer(
        client
            .post(running.url("/request_token"))
            .body("x".repeat(80_000)),
    )
    .await;
    assert_eq!(reason(&large), (413, "too_large"));
    let nowhere = answer(client.get(running.url("/v1/nothing"))).await;
    assert_eq!(reason(&nowhere), (404, "not_found"));
    let method = answer(client.get(running.url("/request_token"))).await;
    assert_eq!(reason(&method), (405, "method"));
}

#[tokio::test]
async fn anyone_may_read_keys_ca_and_health() {
    let running = shared();
    let client = running.client(None);
    let (_, keys) = answer(client.get(running.url("/public_key"))).await;
    assert_eq!(keys["keys"][0]["state"], "active");
    assert_eq!(keys["public_key"], keys["keys"][0]["public_key"]);
    assert_ne!(keys["feed_keys"][0]["public_key"], keys["public_key"]);
    let (_, ca) = answer(client.get(running.url("/ca_cert"))).await;
    assert!(
        ca["ca_cert_pem"]
            .as_str()
            .unwrap()
            .contains("-----BEGIN CERTIFICATE-----")
    );
    let (status, health) = answer(client.get(running.url("/health"))).await;
    assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("ok")));
}
