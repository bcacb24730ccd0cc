//! Costs that strangers may cause: a token's checks have a bounded cost, whoever asks too often is told so, and a flood of questions
//! is the questioners' refusal and nobody else's.

use std::time::Duration;

use biscuit_auth::{BlockBuilder, KeyPair, UnverifiedBiscuit};
use futures::future::join_all;
use hessra_tests::{Cluster, Layout, until};
use serde_json::{Value, json};

use crate::https::Https;

/// A token with a check that its holder added without any of our code.
fn with_check(token: &str, check: &str) -> String {
    let biscuit = UnverifiedBiscuit::from_base64(token).expect("a token");
    let block = BlockBuilder::new().code(format!("{check};"));
    let by = KeyPair::new();
    let request = biscuit.third_party_request().expect("not sealed");
    let block = request.create_block(&by.private(), block.expect("Datalog"));
    let block = block.and_then(|block| block.serialize());
    let appended = biscuit.append_third_party(&block.expect("a block"));
    let text = appended.and_then(|token| token.to_base64());
    text.expect("a token")
}

/// A regular expression that takes seconds to compile, in a check that nothing needs.
const COSTLY: &str = r#"check if true || "a".matches("(\\w{100}){100}")"#;

async fn issued(client: &Https, path: &str, wanted: &Value) -> String {
    let (status, body) = client.post(1, path, wanted).await.expect("an answer");
    assert_eq!(status, 200, "{body}");
    body["token"].as_str().expect("a token").to_owned()
}

fn reason(answer: Option<(u16, Value)>) -> (u16, String) {
    let (status, body) = answer.expect("an answer");
    (
        status,
        body["reason"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_costly_check_is_refused_by_name_at_every_door() {
    let cluster = Cluster::start("costly_checks");
    let alice = Https::new(&cluster, Some("alice"));
    let stranger = Https::new(&cluster, None);
    let right = json!({ "resource": "api", "operation": "read" });
    let identity = issued(&alice, "/request_identity_token", &json!({})).await;
    let authorization = issued(&alice, "/request_token", &right).await;

    let cheap = with_check(&identity, r#"check if resource($r), $r.starts_with("a")"#);
    let asked = stranger.post_with(&cheap, 1, "/request_token", &right);
    assert_eq!(
        asked.await.expect("an answer").0,
        200,
        "a cheap check is evaluated"
    );

    let too_costly = (401, "too_costly".to_owned());
    let identity = with_check(&identity, COSTLY);
    for path in ["/request_token", "/request_capability", "/sign_token"] {
        let body = json!({ "resource": "api", "operation": "read", "token": "" });
        let asked = stranger.post_with(&identity, 1, path, &body).await;
        assert_eq!(reason(asked), too_costly, "{path}");
    }
    let refresh = json!({ "current_token": identity });
    let asked = stranger.post(1, "/refresh_identity_token", &refresh).await;
    assert_eq!(reason(asked), too_costly);
    let claim = json!({
        "token": with_check(&authorization, COSTLY),
        "subject": "urn:hessra:alice",
        "resource": "api",
        "operation": "read",
    });
    for path in ["/verify_token", "/spend_capability"] {
        let asked = stranger.post(1, path, &claim).await;
        assert_eq!(reason(asked), too_costly, "{path}");
    }
    let search = ["audit", "search", "event=authz.denied", "-o", "json"];
    let answer = cluster.operator().run(search).done().json();
    let records = answer["records"].as_array().expect("records");
    let reasons: Vec<&Value> = records.iter().map(|record| &record["reason"]).collect();
    assert!(reasons.contains(&&json!("too_costly")), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_asks_too_often_is_told_so_before_its_token_is_looked_at() {
    let layout = Layout::new("address_limit");
    let layout = layout.set("limits", "requests_per_second_per_address", 2);
    let cluster = layout.start();
    let stranger = Https::new(&cluster, None);
    let garbage =
        json!({ "token": "garbage", "subject": "urn:a:b", "resource": "r", "operation": "o" });
    let flood = (0..40).map(|_| stranger.post(1, "/verify_token", &garbage));
    let answers: Vec<_> = join_all(flood).await.into_iter().map(reason).collect();
    let limited = (429, "rate_limited".to_owned());
    assert!(
        answers.contains(&(400, "malformed".to_owned())),
        "{answers:?}"
    );
    assert!(answers.contains(&limited), "{answers:?}");
    // Whoever shows a certificate is known by it, wherever it asks from.
    let alice = Https::new(&cluster, Some("alice"));
    for _ in 0..10 {
        issued(&alice, "/request_identity_token", &json!({})).await;
    }
    assert!(cluster.metric(1, "hessra_requests_limited_total") > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_tokens_of_a_subject_do_not_keep_it_from_its_next() {
    let layout = Layout::new("subject_limit");
    let cluster = layout.set("limits", "requests_per_second", 3).start();
    let alice = Https::new(&cluster, Some("alice"));
    let right = json!({ "resource": "api", "operation": "read" });
    let token = issued(&alice, "/request_token", &right).await;
    let claim = json!({ "token": token, "subject": "urn:hessra:alice", "resource": "api", "operation": "read" });
    let stranger = Https::new(&cluster, None);
    let ask = || stranger.post(1, "/verify_token", &claim);
    let answers: Vec<_> = join_all((0..40).map(|_| ask())).await;
    let answers: Vec<_> = answers.into_iter().map(reason).collect();
    assert!(
        answers.contains(&(429, "rate_limited".to_owned())),
        "{answers:?}"
    );
    // The flood took nothing from what alice may ask for in this second.
    issued(&alice, "/request_identity_token", &json!({})).await;
    let other = json!({ "token": with_check(&token, COSTLY), "subject": "urn:hessra:alice", "resource": "api", "operation": "read" });
    let flood = (0..40).map(|_| stranger.post(1, "/verify_token", &other));
    let answers: Vec<_> = join_all(flood).await.into_iter().map(reason).collect();
    assert!(
        answers.contains(&(429, "rate_limited".to_owned())),
        "the subject is limited before the checks of its holders are judged: {answers:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_questions_takes_no_seat_from_who_shows_a_certificate() {
    let layout = Layout::new("pools");
    let cluster = layout.set("limits", "requests_at_once_max", 4).start();
    let alice = Https::new(&cluster, Some("alice"));
    let right = json!({ "resource": "api", "operation": "read" });
    let token = issued(&alice, "/request_token", &right).await;
    let token = with_check(&token, r#"check if resource("api") or operation("x")"#);
    let claim = json!({ "token": token, "subject": "urn:hessra:alice", "resource": "api", "operation": "read" });
    let stranger = Https::new(&cluster, None);
    let mut shed = false;
    for _ in 0..50 {
        let flood = join_all((0..60).map(|_| stranger.post(1, "/verify_token", &claim)));
        let nothing = json!({});
        let asked = alice.post(1, "/request_identity_token", &nothing);
        let (answers, issued) = futures::join!(flood, asked);
        assert_eq!(issued.expect("an answer").0, 200, "issuing goes on");
        let mut answers = answers.into_iter().map(reason);
        shed |= answers.any(|answer| answer == (429, "overloaded".to_owned()));
    }
    assert!(shed, "the flood was more than its pool takes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_whose_caller_hangs_up_has_its_record() {
    use rustix::process::Signal;
    let cluster = Cluster::start("hung_up");
    let gateway = Https::new(&cluster, Some("gateway"));
    let wanted = json!({ "resource": "payments", "operation": "pay" });
    let capability = issued(&gateway, "/request_capability", &wanted).await;
    let leader = cluster.leader();
    let others: Vec<u64> = cluster
        .running()
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    let stranger = Https::new(&cluster, None);
    let claim = json!({ "token": capability, "resource": "payments", "operation": "pay" });
    for node in &others {
        cluster.signal(*node, Signal::STOP);
    }
    // Long enough to be asked, too short for an answer: nothing is committed without the others.
    let patience = Duration::from_millis(1500);
    let asked = stranger.post(leader, "/spend_capability", &claim);
    let hung_up = tokio::time::timeout(patience, asked).await.is_err();
    for node in &others {
        cluster.signal(*node, Signal::CONT);
    }
    assert!(hung_up, "it was answered without a quorum");
    let operator = cluster.operator();
    let record = until("the use has its record", Duration::from_secs(30), || {
        let search = ["audit", "search", "action=spend", "-o", "json"];
        let answer = operator.run(search).json();
        answer["records"].as_array()?.first().cloned()
    });
    assert_eq!(record["target"]["resource"], "payments", "{record}");
    assert_eq!(
        record["target"]["subject"], "urn:hessra:gateway",
        "{record}"
    );
    let again = reason(stranger.post(leader, "/spend_capability", &claim).await);
    assert_eq!(again, (403, "already_spent".to_owned()));
}
