//! Verification of tokens for callers that hold no key; and what can be asked at all.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::running::{Running, answer, shared};

async fn authorization(running: &Running) -> String {
    let body = json!({ "resource": "api", "operation": "read" });
    let request = running
        .client(Some("alice"))
        .post(running.url("/request_token"))
        .json(&body);
    answer(request).await.1["token"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn verify(running: &Running, body: Value) -> (u16, String) {
    let request = running
        .client(None)
        .post(running.url("/verify_token"))
        .json(&body);
    let (status, body) = answer(request).await;
    assert!(body["response_msg"].is_string(), "{body}");
    let reason = body["reason"].as_str().unwrap_or("ok").to_owned();
    (status.as_u16(), reason)
}

fn claim(token: &str, subject: &str, resource: &str, operation: &str) -> Value {
    json!({ "token": token, "subject": subject, "resource": resource, "operation": operation })
}

#[tokio::test]
async fn a_token_is_good_for_what_it_was_issued_for_and_nothing_else() {
    let running = shared();
    let token = authorization(&running).await;
    let asked = |subject: &str, resource: &str, operation: &str| {
        verify(&running, claim(&token, subject, resource, operation))
    };
    let ok = (200, "ok".to_owned());
    assert_eq!(asked("urn:hessra:alice", "api", "read").await, ok);
    let not_granted = (403, "not_granted".to_owned());
    assert_eq!(asked("urn:hessra:alice", "api", "write").await, not_granted);
    assert_eq!(
        asked("urn:hessra:alice", "database", "read").await,
        not_granted
    );
    assert_eq!(
        asked("urn:hessra:gateway", "api", "read").await,
        not_granted
    );
    let (status, reason) = asked("not an identity", "api", "read").await;
    assert_eq!((status, reason.as_str()), (422, "malformed_identity"));
}

#[tokio::test]
async fn what_is_no_token_or_no_authorization_is_told_apart() {
    let running = shared();
    let garbage = claim("garbage", "urn:hessra:alice", "api", "read");
    assert_eq!(
        verify(&running, garbage).await,
        (400, "malformed".to_owned())
    );
    let huge = claim(&"A".repeat(20_000), "urn:hessra:alice", "api", "read");
    assert_eq!(verify(&running, huge).await, (400, "too_large".to_owned()));
    let request = running
        .client(Some("alice"))
        .post(running.url("/request_identity_token"))
        .json(&json!({}));
    let identity = answer(request).await.1["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let identity = claim(&identity, "urn:hessra:alice", "api", "read");
    assert_eq!(
        verify(&running, identity).await,
        (401, "wrong_class".to_owned())
    );
}

#[tokio::test]
async fn the_document_is_served_as_it_is_checked_in() {
    let running = shared();
    let request = running.client(None).get(running.url("/openapi.json"));
    let (status, served) = answer(request).await;
    assert_eq!(status, StatusCode::OK);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let checked_in: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(served, checked_in);
}
