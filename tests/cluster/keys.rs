//! The life of keys, through the command line and the endpoints.

use std::time::Duration;

use hessra_tests::{Cli, Cluster, Layout, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn keys(cli: &Cli) -> Vec<Value> {
    let list = cli.run(["keys", "list", "-o", "json"]).done().json();
    list["keys"].as_array().expect("keys").clone()
}

fn active(cli: &Cli, purpose: &str) -> u64 {
    let keys = keys(cli);
    let mut signing = keys
        .iter()
        .filter(|key| key["purpose"] == purpose && key["state"] == "active");
    let id = signing.next().and_then(|key| key["kid"].as_u64());
    assert!(signing.next().is_none(), "one key signs: {keys:?}");
    id.expect("a key signs")
}

fn state(cli: &Cli, id: u64) -> String {
    let keys = keys(cli);
    let key = keys.iter().find(|key| key["kid"] == id).expect("a key");
    key["state"].as_str().expect("a state").to_owned()
}

fn token(cluster: &Cluster) -> String {
    let finished = cluster
        .person("gateway")
        .run(["identity", "authenticate", "--token-only"])
        .done();
    finished.stdout().trim().to_owned()
}

const ACTOR: &str = "urn:hessra:gateway";

#[test]
fn a_prepared_key_signs_only_once_it_has_been_published_for_long_enough() {
    let cluster = Layout::new("prepared")
        .set("feed", "fresh_for", "5m")
        .start();
    let operator = cluster.operator();
    let prepared = operator
        .run(["keys", "prepare", "-o", "json"])
        .done()
        .json();
    assert_eq!(prepared["state"], "prepared");
    let id = prepared["id"].to_string();
    let refused = operator.run(["keys", "activate", &id]).exits(7);
    assert!(
        refused.stderr().contains("has been published for"),
        "{}",
        refused.stderr()
    );
    assert_eq!(active(&operator, "token"), 1);
    let forced = operator.run(["keys", "activate", &id, "--force"]).done();
    assert!(
        forced.stderr().contains("verifiers that have not heard"),
        "{}",
        forced.stderr()
    );
    assert_eq!(active(&operator, "token").to_string(), id);
    assert_eq!(state(&operator, 1), "retired");
    operator.run(["keys", "activate", "1"]).exits(7);
    operator.run(["keys", "activate", "77"]).exits(6);
}

#[test]
fn after_a_rotation_old_and_new_tokens_verify_and_after_an_emergency_only_new_ones() {
    let cluster = Layout::new("orders-rotated")
        .set("feed", "fresh_for", "2s")
        .start();
    let operator = cluster.operator();
    let mut probe = cluster.probe("orders-rotated", &[1, 2, 3]);
    let old = token(&cluster);
    until("the old token is allowed", PATIENCE, || {
        (probe.check(&old, ACTOR).verdict == "allow").then_some(())
    });
    let rotated = operator.run(["keys", "rotate", "-o", "json"]).done().json();
    assert_eq!(rotated["state"], "active");
    let new = token(&cluster);
    for (what, token) in [("of the retired key", &old), ("of the new key", &new)] {
        until(&format!("a token {what} is allowed"), PATIENCE, || {
            let answer = probe.check(token, ACTOR);
            assert_ne!(answer.verdict, "deny", "a token {what}: {answer:?}");
            (answer.verdict == "allow").then_some(())
        });
    }
    operator
        .run(["keys", "rotate", "--emergency", "--yes"])
        .done();
    for stolen in [&old, &new] {
        let verdict = if stolen == &new { "deny" } else { "allow" };
        until("a revoked key's tokens are denied", PATIENCE, || {
            (probe.check(stolen, ACTOR).verdict == verdict).then_some(())
        });
    }
    let fresh = token(&cluster);
    until("a token of the newest key is allowed", PATIENCE, || {
        (probe.check(&fresh, ACTOR).verdict == "allow").then_some(())
    });
}

#[test]
fn a_verifier_follows_rotations_of_feed_keys_also_those_that_it_missed() {
    let cluster = Layout::new("feed_keys")
        .set("feed", "fresh_for", "2s")
        .start();
    let operator = cluster.operator();
    let token = token(&cluster);
    let mut online = cluster.probe("orders-online", &[1, 2, 3]);
    let away = {
        let mut probe = cluster.probe("orders-away", &[1]);
        until("it is fresh", PATIENCE, || {
            (probe.check(&token, ACTOR).verdict == "allow").then_some(())
        });
        probe
    };
    away.stop();
    for round in 0..3 {
        operator.run(["keys", "rotate", "--purpose", "feed"]).done();
        let target = format!("urn:hessra:test:round{round}");
        operator
            .run(["revoke", &target, "--yes", "--wait", "commit"])
            .done();
    }
    operator
        .run(["revoke", ACTOR, "--permanent", "--yes", "--wait", "commit"])
        .done();
    until("who was there follows", PATIENCE, || {
        (online.check(&token, ACTOR).verdict == "deny").then_some(())
    });
    let mut back = cluster.probe("orders-away", &[2]);
    until("who was away follows too", PATIENCE, || {
        (back.check(&token, ACTOR).verdict == "deny").then_some(())
    });
    operator
        .run(["keys", "rotate", "--purpose", "audit", "-o", "json"])
        .done();
}

#[test]
fn keys_are_exported_as_the_nodes_publish_them() {
    let cluster = Cluster::start("exported");
    let operator = cluster.operator();
    operator.run(["keys", "prepare"]).done();
    operator
        .run(["keys", "prepare", "--purpose", "feed"])
        .done();
    let exported = operator
        .run(["keys", "export", "--format", "jwks"])
        .done()
        .json();
    let published: Value =
        serde_json::from_str(&get(&cluster, "/.well-known/jwks.json")).expect("JSON");
    assert_eq!(exported, published);
    let kids: Vec<&Value> = published["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| &key["kid"])
        .collect();
    assert_eq!(
        kids,
        ["1", "4"],
        "token keys that are believed: {published}"
    );
    let pem = operator
        .run(["keys", "export", "--format", "pem"])
        .done()
        .stdout();
    let answer: Value = serde_json::from_str(&get(&cluster, "/public_key")).expect("JSON");
    assert_eq!(
        answer["public_key"].as_str().map(str::trim),
        Some(pem.trim())
    );
}

#[test]
fn keys_are_replaced_by_schedule() {
    let cluster = Layout::new("orders-schedule")
        .set("feed", "fresh_for", "2s")
        .set("keys", "rotate_every", "1m")
        .start();
    let operator = cluster.operator();
    // The shortest schedule there is; the wait is for a condition.
    until(
        "every key has a successor that signs",
        Duration::from_secs(150),
        || {
            let all = ["token", "feed", "audit"].map(|purpose| active(&operator, purpose));
            all.iter().all(|id| *id > 3).then_some(())
        },
    );
    let mut probe = cluster.probe("orders-schedule", &[1, 2, 3]);
    let token = token(&cluster);
    until("tokens are allowed", PATIENCE, || {
        (probe.check(&token, ACTOR).verdict == "allow").then_some(())
    });
}

/// Body of a node's answer to a GET.
fn get(cluster: &Cluster, path: &str) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = std::fs::read(cluster.directory().join("ca.crt")).expect("a CA");
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca).expect("a CA")])
        .build()
        .expect("a client");
    let public = &cluster.node(1).public;
    let port = public.rsplit(':').next().expect("a port");
    let url = format!("https://localhost:{port}{path}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let answer = client.get(url).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.text().await.expect("a body")
    })
}
