//! A token that waits for something is of use once it has come, and every shortcut is refused.

use biscuit_auth::macros::block;
use biscuit_auth::{Biscuit, BlockBuilder, KeyPair, PrivateKey, PublicKey};

use hessra_sdk_core::*;

use crate::fixture::*;

fn code(token: &str, evidence: Evidence) -> &'static str {
    let request = Request::authorization(name("urn:h:alice"), "ledger", "read").with(evidence);
    Feed::new().verify(token, &request).code()
}

fn plain(token: &str) -> &'static str {
    code(token, Evidence::default())
}

fn service(seed: u8) -> Key {
    Key::new(0, seed)
}

fn attested(token: &str, seed: u8) -> String {
    attest_service(token, &keyring(), &service(seed), NOW, &mut rng()).unwrap()
}

fn signed(token: &str, component: &str, seed: u8) -> String {
    sign_off(
        token,
        &keyring(),
        component,
        &service(seed),
        NOW,
        &mut rng(),
    )
    .unwrap()
}

/// Appends any block at all, signed with any key or none, as a holder can that keeps to no rule.
fn forced(token: &str, block: BlockBuilder, seed: Option<u8>) -> String {
    let root = PublicKey::from_bytes(&key().public_key(), biscuit_auth::Algorithm::Ed25519);
    let biscuit = Biscuit::from_base64(token, root.unwrap()).unwrap();
    let appended = match seed {
        None => biscuit.append(block),
        Some(seed) => {
            let private = PrivateKey::from_bytes(&[seed; 32], biscuit_auth::Algorithm::Ed25519);
            let keys = KeyPair::from(&private.unwrap());
            let request = biscuit.third_party_request().unwrap();
            let block = request.create_block(&keys.private(), block).unwrap();
            biscuit.append_third_party(keys.public(), block)
        }
    };
    appended.unwrap().to_base64().unwrap()
}

fn asking(component: &str) -> Evidence {
    Evidence {
        component: Some(component.into()),
        ..Evidence::default()
    }
}

fn at(path: &str) -> Evidence {
    Evidence {
        path: Some(path.into()),
        ..Evidence::default()
    }
}

#[test]
fn a_service_accepts_once_those_before_it_have_attested() {
    let (none, one) = (service_chain(), attested(&service_chain(), 31));
    let both = attested(&one, 32);
    assert_eq!(code(&none, asking("gateway")), "allow");
    assert_eq!(code(&none, asking("orders")), "chain_incomplete");
    assert_eq!(code(&one, asking("orders")), "allow");
    assert_eq!(code(&one, asking("elsewhere")), "not_in_chain");
    assert_eq!(
        (plain(&none), plain(&one), plain(&both)),
        ("chain_incomplete", "chain_incomplete", "allow")
    );
    let request = Request::capability("ledger", "read");
    let Verdict::Allow(verified) = Feed::new().verify(&both, &request) else {
        panic!("refused")
    };
    assert_eq!(verified.attested(), ["gateway", "orders"]);
}

#[test]
fn services_out_of_turn_are_refused_even_when_all_have_attested() {
    let service = || block!(r#"service("ledger")"#);
    let swapped = forced(
        &forced(&service_chain(), service(), Some(32)),
        service(),
        Some(31),
    );
    let twice = forced(&attested(&service_chain(), 31), service(), Some(31));
    for token in [&swapped, &twice] {
        assert_eq!(plain(token), "chain_order");
        assert_eq!(code(token, asking("gateway")), "chain_order");
    }
    let other = forced(&service_chain(), block!(r#"service("orders")"#), Some(31));
    assert_eq!(code(&other, asking("orders")), "chain_order");
}

#[test]
fn a_chain_that_is_configured_otherwise_is_refused() {
    let token = attested(&attested(&service_chain(), 31), 32);
    let known = |nodes: Vec<ServiceNode>| Evidence {
        nodes: Some(nodes),
        ..Evidence::default()
    };
    let (gateway, orders) = (node("gateway", 31), node("orders", 32));
    assert_eq!(
        code(&token, known(vec![gateway.clone(), orders.clone()])),
        "allow"
    );
    assert_eq!(
        code(&token, known(vec![orders, gateway.clone()])),
        "chain_differs"
    );
    assert_eq!(
        code(&token, known(vec![gateway, node("orders", 33)])),
        "chain_differs"
    );
    let no_chain = mint_authorization(&key(), &authorization_parameters("urn:h:alice"), &mut rng());
    let no_chain = no_chain.unwrap().token;
    assert_eq!(
        code(&no_chain, known(vec![node("gateway", 31)])),
        "chain_differs"
    );
    assert_eq!(code(&no_chain, asking("gateway")), "not_in_chain");
}

#[test]
fn every_party_must_sign_with_its_own_key() {
    let token = multi_party();
    assert_eq!(plain(&token), "signoff_missing");
    let one = signed(&token, "approvals", 21);
    assert_eq!(plain(&one), "signoff_missing");
    assert_eq!(plain(&signed(&one, "audit", 22)), "allow");
    // One party that signs in the name of both.
    let for_both = forced(&one, block!(r#"namespace("audit")"#), Some(21));
    assert_eq!(plain(&for_both), "signoff_missing");
    // Facts that the holder adds, with and without a key of its own.
    for seed in [None, Some(99)] {
        let hostile = forced(&one, block!(r#"namespace("audit")"#), seed);
        assert_eq!(plain(&hostile), "unsupported_shape");
    }
}

#[test]
fn a_stub_is_good_under_its_prefix_segment_by_segment() {
    let attestor = service(41);
    let attest = |token: &str, prefix: &str| {
        attest_prefix(token, &keyring(), prefix, &attestor, NOW, &mut rng()).unwrap()
    };
    assert_eq!(code(&stub(), at("users/alice")), "prefix_missing");
    let token = attest(&stub(), "users/alice");
    assert_eq!(plain(&token), "outside_prefix");
    for (path, expected) in [
        ("users/alice", "allow"),
        ("users/alice/photo.jpg", "allow"),
        ("users/alice2/photo.jpg", "outside_prefix"),
        ("users/alice/../bob", "outside_prefix"),
        ("users/alice/%2e%2e/bob", "outside_prefix"),
        ("users", "outside_prefix"),
    ] {
        assert_eq!(code(&token, at(path)), expected, "{path}");
    }
    let narrower = attest(&token, "users/alice/photos");
    assert_eq!(code(&narrower, at("users/alice/photos/1")), "allow");
    assert_eq!(code(&narrower, at("users/alice/mail")), "outside_prefix");
}

#[test]
fn an_attestor_that_names_no_prefix_and_a_stranger_that_does_are_refused() {
    let without = forced(&stub(), block!("prefix_added(true)"), Some(41));
    assert_eq!(code(&without, at("users/alice")), "prefix_missing");
    let stranger = block!(r#"prefix_added(true); check if prefix("users")"#);
    let stranger = forced(&stub(), stranger, Some(99));
    assert_eq!(code(&stranger, at("users/alice")), "unsupported_shape");
}

#[test]
fn a_restricted_identity_is_good_in_its_domain() {
    let token = domain_identity("urn:h:realm:bob");
    let code = |claim| {
        Feed::new()
            .verify(&token, &Request::bearer().in_domain(claim))
            .code()
    };
    assert_eq!(code(DomainClaim::Unconfirmed), "domain_required");
    assert_eq!(code(DomainClaim::Confirmed("urn:h:realm".into())), "allow");
    assert_eq!(code(DomainClaim::Required("urn:h:realm".into())), "allow");
    assert_eq!(
        code(DomainClaim::Confirmed("urn:h:other".into())),
        "domain_mismatch"
    );
    assert_eq!(code(DomainClaim::OfToken), "allow");
    let request = Request::bearer().in_domain(DomainClaim::OfToken);
    let Verdict::Allow(verified) = Feed::new().verify(&token, &request) else {
        panic!("refused")
    };
    assert_eq!(
        (verified.domain(), verified.roles()),
        (Some("urn:h:realm"), ["admin".to_owned()].as_slice())
    );
    assert!(!verified.is_delegable() && !verified.is_attenuated());
    let unrestricted = identity("urn:h:realm:bob");
    let required = Request::bearer().in_domain(DomainClaim::Required("urn:h:realm".into()));
    assert_eq!(
        Feed::new().verify(&unrestricted, &required).code(),
        "domain_mismatch"
    );
}

#[test]
fn facts_that_nobody_asked_for_are_refused_in_every_later_block() {
    let plain_token =
        mint_authorization(&key(), &authorization_parameters("urn:h:alice"), &mut rng());
    let token = plain_token.unwrap().token;
    for hostile in [
        block!(r#"right("urn:h:mallory", "ledger", "write")"#),
        block!(r#"subject("urn:h:alice")"#),
        block!(r#"designation("tenant", "t-1")"#),
        block!(r#"activation(1)"#),
        block!(r#"service("ledger")"#),
        block!(r#"right($s, $r, "write") <- right($s, $r, "read")"#),
        block!(r#"check if activation($a) or true"#),
    ] {
        for seed in [None, Some(99)] {
            let forged = forced(&token, hostile.clone(), seed);
            assert_eq!(plain(&forged), "unsupported_shape", "{hostile}");
        }
    }
}
