//! Every endpoint beside the first two, and the one gate before all of them.

use hessra_revocation::{Identity, UnixSeconds};
use hessra_sdk_core::{Delegation, Keyring, delegate};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::running::{Running, answer, shared};

const CHAIN: &str = "order_service";

/// Sender of a request: the holder of a certificate, of a token, or nobody.
#[derive(Clone, Copy)]
enum As<'a> {
    Certificate(&'a str),
    Bearer(&'a str),
    Nobody,
}

async fn ask(running: &Running, who: As<'_>, path: &str, body: Value) -> (u16, Value) {
    let name = match who {
        As::Certificate(name) => Some(name),
        As::Bearer(_) | As::Nobody => None,
    };
    let request = running.client(name).post(running.url(path)).json(&body);
    let (status, body) = answer(match who {
        As::Bearer(token) => request.header("Authorization", format!("Bearer {token}")),
        _ => request,
    })
    .await;
    assert!(body["response_msg"].is_string(), "{path}: {body}");
    assert_eq!(
        status.is_success(),
        body["reason"].is_null(),
        "{path}: {body}"
    );
    (status.as_u16(), body)
}

/// Status and reason of a refusal.
async fn refusal(running: &Running, who: As<'_>, path: &str, body: Value) -> (u16, String) {
    let (status, body) = ask(running, who, path, body).await;
    assert!(body["token"].is_null(), "{body}");
    let reason = body["reason"].as_str().unwrap_or("none");
    (status, reason.to_owned())
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

fn token(body: &Value) -> String {
    body["token"].as_str().expect("a token").to_owned()
}

async fn identity(running: &Running, name: &str) -> String {
    let who = As::Certificate(name);
    token(
        &ask(running, who, "/request_identity_token", json!({}))
            .await
            .1,
    )
}

async fn keyring(running: &Running) -> Keyring {
    let (_, body) = answer(running.client(None).get(running.url("/public_key"))).await;
    Keyring::from_pem(body["public_key"].as_str().unwrap()).unwrap()
}

async fn delegated(running: &Running, parent: &str, child: &str) -> String {
    let now = UnixSeconds(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs());
    let delegation = Delegation {
        child: Identity::parse(child).unwrap(),
        expires_at: UnixSeconds(now.0 + 60),
        checks: None,
    };
    let keyring = keyring(running).await;
    delegate(parent, &keyring, &delegation, now, &mut rand::rngs::OsRng)
        .unwrap()
        .token
}

#[tokio::test]
async fn a_token_is_refreshed_for_nothing_but_itself_until_refreshing_ends() {
    let running = shared();
    let mut current = identity(&running, "alice").await;
    let refresh = |token: &str| json!({ "current_token": token, "identifier": null });
    let mut refreshed = 0;
    loop {
        let (status, body) = ask(
            &running,
            As::Nobody,
            "/refresh_identity_token",
            refresh(&current),
        )
        .await;
        if status != 200 {
            assert_eq!((status, &body["reason"]), (403, &json!("refresh_ended")));
            break;
        }
        assert_eq!(body["identity"], "urn:hessra:alice");
        assert_eq!(body["expires_in"], 28_800);
        current = token(&body);
        refreshed += 1;
        assert!(refreshed <= 16, "it must end");
    }
    assert!(refreshed > 1, "{refreshed}");
    // The last of them is as good as the first.
    let wanted = json!({ "resource": "api", "operation": "read" });
    let (status, body) = ask(&running, As::Bearer(&current), "/request_token", wanted).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn what_was_delegated_or_is_of_somebody_else_is_not_refreshed() {
    let running = shared();
    let path = "/refresh_identity_token";
    let parent = identity(&running, "alice").await;
    let agent = delegated(&running, &parent, "urn:hessra:alice:agent").await;
    let of = |token: &str, identifier: Value| json!({ "current_token": token, "identifier": identifier });
    for who in [As::Nobody, As::Certificate("alice")] {
        for identifier in [Value::Null, json!("urn:hessra:alice")] {
            let refused = refusal(&running, who, path, of(&agent, identifier)).await;
            assert_eq!(refused, is(401, "attenuated"));
        }
    }
    let mismatch = is(401, "identity_mismatch");
    let named = of(&parent, json!("urn:hessra:gateway"));
    assert_eq!(refusal(&running, As::Nobody, path, named).await, mismatch);
    let shown = As::Certificate("gateway");
    assert_eq!(
        refusal(&running, shown, path, of(&parent, Value::Null)).await,
        mismatch
    );
    let garbage = of("garbage", Value::Null);
    assert_eq!(
        refusal(&running, As::Nobody, path, garbage).await,
        is(401, "malformed")
    );
}

#[tokio::test]
async fn a_realm_mints_for_its_members_and_nobody_else_does() {
    let running = shared();
    let path = "/mint_identity_token";
    let wanted = |subject: &str| json!({ "subject": subject, "duration": 120 });
    let member = "urn:hessra:mycompany:user1";
    let realm = identity(&running, "mycompany").await;
    for who in [As::Certificate("mycompany"), As::Bearer(&realm)] {
        let (status, body) = ask(&running, who, path, wanted(member)).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(
            (&body["identity"], &body["expires_in"]),
            (&json!(member), &json!(120))
        );
    }
    let mint = |who, subject| refusal(&running, who, path, wanted(subject));
    let outside = is(403, "outside_realm");
    assert_eq!(
        mint(As::Certificate("mycompany"), "urn:hessra:alice:x").await,
        outside
    );
    assert_eq!(
        mint(As::Certificate("mycompany"), "urn:hessra:mycompany").await,
        outside
    );
    let no_realm = is(403, "not_a_realm");
    assert_eq!(
        mint(As::Certificate("alice"), "urn:hessra:alice:x").await,
        no_realm
    );
    // Neither a delegate of the realm nor a member that it minted for is the realm.
    let below = delegated(&running, &realm, "urn:hessra:mycompany:robot").await;
    let (status, _) = mint(As::Bearer(&below), "urn:hessra:mycompany:robot:x").await;
    assert!([401, 403].contains(&status), "{status}");
    let (_, minted) = ask(&running, As::Certificate("mycompany"), path, wanted(member)).await;
    let minted = token(&minted);
    let (status, _) = mint(As::Bearer(&minted), "urn:hessra:mycompany:user1:x").await;
    assert!([401, 403].contains(&status), "{status}");
    assert_eq!(mint(As::Nobody, member).await, is(401, "unauthenticated"));
}

#[tokio::test]
async fn a_member_has_what_its_role_gives_in_its_realm_and_in_no_other() {
    let running = shared();
    let wanted = json!({ "subject": "urn:hessra:mycompany:user1", "duration": null });
    let (_, body) = ask(
        &running,
        As::Certificate("mycompany"),
        "/mint_identity_token",
        wanted,
    )
    .await;
    let member = token(&body);
    let request = |operation: &str, domain: Option<&str>| {
        let mut wanted = json!({ "resource": "api", "operation": operation });
        if let Some(domain) = domain {
            wanted["domain"] = json!(domain);
        }
        wanted
    };
    let who = As::Bearer(&member);
    for domain in [
        None,
        Some("urn:hessra:mycompany"),
        Some("uri:urn:hessra:mycompany"),
    ] {
        let (status, body) = ask(&running, who, "/request_token", request("read", domain)).await;
        assert_eq!(status, 200, "{domain:?}: {body}");
    }
    let other = request("read", Some("urn:hessra:yourcompany"));
    let (status, body) = ask(&running, who, "/request_token", other).await;
    assert_eq!((status, &body["reason"]), (403, &json!("wrong_domain")));
    let said = body["response_msg"].as_str().unwrap();
    assert!(
        said.contains("did you mean `urn:hessra:mycompany`?"),
        "{said}"
    );
    let more = refusal(&running, who, "/request_token", request("write", None)).await;
    assert_eq!(more, is(403, "not_permitted"));
}

#[tokio::test]
async fn a_typo_gets_a_word_that_the_caller_may_use_and_no_other() {
    let running = shared();
    let said = async |name: &str, resource: &str, operation: &str| {
        let wanted = json!({ "resource": resource, "operation": operation });
        let (status, body) = ask(&running, As::Certificate(name), "/request_token", wanted).await;
        assert_eq!(status, 403);
        body["response_msg"].as_str().unwrap().to_owned()
    };
    assert!(
        said("alice", "databse", "write")
            .await
            .ends_with("did you mean resource `database`?")
    );
    assert!(
        said("alice", "api", "raed")
            .await
            .ends_with("did you mean operation `read`?")
    );
    // The gateway has no right to the database, so it is not told that there is one.
    assert!(
        !said("gateway", "databse", "write")
            .await
            .contains("database`?")
    );
}

#[tokio::test]
async fn a_chain_is_asked_service_by_service_and_told_to_holders_alone() {
    let running = shared();
    let wanted = json!({ "resource": CHAIN, "operation": "create" });
    let (status, body) = ask(
        &running,
        As::Certificate("gateway"),
        "/request_token",
        wanted,
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let chain = token(&body);
    let claim = |token: &str, resource: &str, component: Option<&str>| json!({ "token": token, "subject": "urn:hessra:gateway", "resource": resource, "component": component });
    let path = "/verify_service_chain_token";
    let (status, body) = ask(
        &running,
        As::Nobody,
        path,
        claim(&chain, CHAIN, Some("edge")),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let late = refusal(
        &running,
        As::Nobody,
        path,
        claim(&chain, CHAIN, Some("middleware")),
    )
    .await;
    assert_eq!(late.0, 401, "{late:?}");
    let all = refusal(&running, As::Nobody, path, claim(&chain, CHAIN, None)).await;
    assert_eq!(all.0, 401, "{all:?}");
    let (status, body) = ask(
        &running,
        As::Nobody,
        path,
        claim(&chain, CHAIN, Some("nowhere")),
    )
    .await;
    let said = "Invalid service chain token: Component 'nowhere' not found in service chain";
    assert_eq!((status, body["response_msg"].as_str()), (401, Some(said)));
    // Who has no good token hears of the token, not of the chain.
    let stranger = refusal(
        &running,
        As::Nobody,
        path,
        claim("garbage", CHAIN, Some("nowhere")),
    )
    .await;
    assert_eq!(stranger, is(400, "malformed"));
    let wanted = json!({ "resource": "api", "operation": "read" });
    let (_, body) = ask(
        &running,
        As::Certificate("gateway"),
        "/request_token",
        wanted,
    )
    .await;
    let plain = claim(&token(&body), "api", Some("edge"));
    assert_eq!(
        refusal(&running, As::Nobody, path, plain).await,
        is(404, "unknown_resource")
    );
}

#[tokio::test]
async fn a_stub_is_for_whom_the_policy_says_and_of_no_use_yet() {
    let running = shared();
    let wanted = |target: &str| {
        json!({
            "target_identity": target, "resource": "api", "operation": "read",
            "prefix_attenuator_key": format!("ed25519/58{}", "66".repeat(31)), "duration": 60,
        })
    };
    let (status, body) = ask(
        &running,
        As::Certificate("gateway"),
        "/request_stub",
        wanted("urn:hessra:alice"),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["target_identity"], "urn:hessra:alice");
    let claim = json!({ "token": token(&body), "subject": "urn:hessra:alice", "resource": "api", "operation": "read" });
    let refused = refusal(&running, As::Nobody, "/verify_token", claim).await;
    assert_eq!(refused, is(401, "prefix_missing"));
    let other = refusal(
        &running,
        As::Certificate("gateway"),
        "/request_stub",
        wanted("urn:hessra:mycompany"),
    )
    .await;
    assert_eq!(other, is(403, "not_permitted"));
    let nobody = refusal(
        &running,
        As::Certificate("alice"),
        "/request_stub",
        wanted("urn:hessra:alice:x"),
    )
    .await;
    assert_eq!(nobody, is(403, "not_permitted"));
}

#[tokio::test]
async fn what_is_good_once_is_asked_for_as_a_capability_and_spent_once() {
    let running = shared();
    let wanted = json!({ "resource": "payments", "operation": "pay" });
    let who = As::Certificate("gateway");
    let plain = refusal(&running, who, "/request_token", wanted.clone()).await;
    assert_eq!(plain, is(403, "capability_required"));
    let (status, body) = ask(&running, who, "/request_capability", wanted).await;
    assert_eq!((status, &body["single_use"]), (200, &json!(true)), "{body}");
    let capability = token(&body);
    let claim = |operation: &str| json!({ "token": capability, "resource": "payments", "operation": operation });
    let path = "/spend_capability";
    let other = refusal(&running, As::Nobody, path, claim("refund")).await;
    assert_eq!(other, is(403, "not_granted"), "and it is not used up by it");
    let (status, body) = ask(&running, As::Nobody, path, claim("pay")).await;
    assert_eq!((status, &body["spent"]), (200, &json!(1)), "{body}");
    assert_eq!(
        refusal(&running, As::Nobody, path, claim("pay")).await,
        is(403, "already_spent")
    );
    // Elsewhere nobody can know whether it was used.
    let verify = json!({ "token": capability, "subject": "urn:hessra:gateway", "resource": "payments", "operation": "pay" });
    assert_eq!(
        refusal(&running, As::Nobody, "/verify_token", verify).await,
        is(401, "single_use")
    );
}

#[tokio::test]
async fn a_session_that_saw_something_is_kept_from_what_it_must_not_reach_and_cannot_go_back() {
    let running = shared();
    let alice = As::Certificate("alice");
    let files = |context: Option<&str>| json!({ "resource": "files", "operation": "read", "context": context });
    let mail =
        |context: &str| json!({ "resource": "mail", "operation": "send", "context": context });
    let path = "/request_capability";
    let without = refusal(&running, alice, path, files(None)).await;
    assert_eq!(without, is(403, "context_required"));
    let (status, body) = ask(&running, alice, "/request_context", json!({})).await;
    assert_eq!(status, 200, "{body}");
    let fresh = token(&body);
    let (status, body) = ask(&running, alice, path, mail(&fresh)).await;
    assert_eq!(status, 200, "nothing was seen yet: {body}");
    let (status, body) = ask(&running, alice, path, files(Some(&fresh))).await;
    assert_eq!(status, 200, "{body}");
    let exposed = body["context"]
        .as_str()
        .expect("the session has grown")
        .to_owned();
    assert_eq!(
        refusal(&running, alice, path, mail(&exposed)).await,
        is(403, "exposed")
    );
    // Back to before it saw anything? And as somebody else?
    assert_eq!(
        refusal(&running, alice, path, mail(&fresh)).await,
        is(403, "context_outdated")
    );
    let gateway = As::Certificate("gateway");
    let extend = json!({ "context": exposed, "exposures": ["x"] });
    assert_eq!(
        refusal(&running, gateway, "/extend_context", extend).await,
        is(403, "not_granted")
    );
    let extend = |context: &str, label: &str| json!({ "context": context, "exposures": [label] });
    let (status, body) = ask(
        &running,
        alice,
        "/extend_context",
        extend(&exposed, "secret"),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let (status, again) = ask(
        &running,
        alice,
        "/extend_context",
        extend(&exposed, "secret"),
    )
    .await;
    assert_eq!(status, 200, "whoever lost the answer asks again: {again}");
    let other = refusal(&running, alice, "/extend_context", extend(&exposed, "less")).await;
    assert_eq!(other, is(403, "context_outdated"));
    let known = refusal(
        &running,
        alice,
        "/extend_context",
        extend(&token(&again), "secret"),
    )
    .await;
    assert_eq!(known, is(422, "nothing_new"));
}

#[tokio::test]
async fn a_latent_capability_is_activated_by_somebody_else_who_may_do_the_same() {
    let running = shared();
    let wanted = json!({ "resource": "api", "operation": "read", "activator_key": "authority" });
    let (status, body) = ask(
        &running,
        As::Certificate("alice"),
        "/request_capability",
        wanted,
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let latent = token(&body);
    let verify = |token: &str| json!({ "token": token, "subject": "urn:hessra:alice", "resource": "api", "operation": "read" });
    let refused = refusal(&running, As::Nobody, "/verify_token", verify(&latent)).await;
    assert_eq!(refused, is(401, "not_activated"));
    let request = json!({ "token": latent, "resource": "api", "operation": "read" });
    let path = "/activate_capability";
    let own = refusal(&running, As::Certificate("alice"), path, request.clone()).await;
    assert_eq!(own, is(403, "own_capability"));
    let (status, body) = ask(&running, As::Certificate("gateway"), path, request).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = ask(&running, As::Nobody, "/verify_token", verify(&token(&body))).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn who_is_no_party_does_not_sign() {
    let running = shared();
    let wanted = json!({ "resource": "api", "operation": "read" });
    let (_, body) = ask(&running, As::Certificate("alice"), "/request_token", wanted).await;
    let request = json!({ "token": token(&body), "resource": "api", "operation": "read" });
    let refused = refusal(
        &running,
        As::Certificate("alice"),
        "/sign_token",
        request.clone(),
    )
    .await;
    assert_eq!(refused, is(403, "not_a_party"));
    let other = refusal(&running, As::Certificate("gateway"), "/sign_token", request).await;
    assert_eq!(other, is(403, "not_granted"));
}

/// Request to each endpoint in the tests of the gate, by somebody of the policy.
fn every_request(identity: &str) -> Vec<(&'static str, Value)> {
    let wanted = json!({ "resource": "api", "operation": "read" });
    vec![
        ("/request_identity_token", json!({})),
        (
            "/refresh_identity_token",
            json!({ "current_token": identity }),
        ),
        ("/request_token", wanted.clone()),
        ("/request_capability", wanted),
        ("/request_context", json!({})),
    ]
}

#[tokio::test]
async fn nothing_is_issued_to_whom_a_permanent_revocation_covers_at_any_endpoint() {
    let running = Running::start();
    let identity = identity(&running, "alice").await;
    for (path, body) in every_request(&identity) {
        let (status, said) = ask(&running, As::Certificate("alice"), path, body).await;
        assert_eq!(status, StatusCode::OK.as_u16(), "{path}: {said}");
    }
    super::revoking::revoke_permanently(&running, "urn:hessra:alice").await;
    for (path, body) in every_request(&identity) {
        let refused = refusal(&running, As::Certificate("alice"), path, body.clone()).await;
        assert_eq!(refused, is(401, "revoked"), "{path} over the certificate");
        if path == "/request_identity_token" {
            continue;
        }
        let refused = refusal(&running, As::Bearer(&identity), path, body).await;
        assert_eq!(refused, is(401, "revoked"), "{path} with the token");
    }
}
