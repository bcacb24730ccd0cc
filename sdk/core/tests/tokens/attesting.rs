//! Blocks of services, parties and attestors, read back with the code that published verifiers run.

use biscuit_auth::macros::{authorizer, check, fact};
use biscuit_auth::{AuthorizerBuilder, Biscuit, PublicKey};

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;

fn with_biscuit(token: &str) -> Biscuit {
    let key = PublicKey::from_bytes(&key().public_key(), biscuit_auth::Algorithm::Ed25519).unwrap();
    Biscuit::from_base64(token, key).unwrap()
}

/// Authorizer of `hessra-token-authz` 0.6, for alice, the ledger and reading.
fn published() -> AuthorizerBuilder {
    let time = 1_800_000_001i64;
    authorizer!(
        r#"time({time}); subject("urn:h:alice"); resource("ledger"); operation("read"); allow if true;"#
    )
}

fn passes(builder: AuthorizerBuilder, token: &str) -> bool {
    authorizes(builder, &with_biscuit(token))
}

fn service(seed: u8) -> Key {
    Key::new(0, seed)
}

fn sign(token: &str, component: &str, by: &Key) -> Result<String, AttestError> {
    sign_off(token, &keyring(), component, by, NOW, &mut rng())
}

fn attest(token: &str, by: &Key) -> Result<String, AttestError> {
    attest_service(token, &keyring(), by, NOW, &mut rng())
}

#[test]
fn a_multi_party_token_is_of_use_once_all_have_signed_in_any_order() {
    let token = multi_party();
    assert!(!passes(published(), &token));
    let one = sign(&token, "audit", &service(22)).unwrap();
    assert!(!passes(published(), &one));
    let both = sign(&one, "approvals", &service(21)).unwrap();
    assert!(passes(published(), &both));
    assert_eq!(sign(&both, "audit", &service(22)).unwrap(), both);
}

#[test]
fn only_a_named_party_signs_and_only_for_itself() {
    let token = multi_party();
    let not_asked = |result| assert!(matches!(result, Err(AttestError::NotAsked { .. })));
    not_asked(sign(&token, "audit", &service(21)));
    not_asked(sign(&token, "audit", &service(23)));
    not_asked(sign(&token, "other", &service(22)));
    let elsewhere = Keyring::from_public_key(&Key::new(KEY_ID, 2).public_key()).unwrap();
    let foreign = sign_off(&token, &elsewhere, "audit", &service(22), NOW, &mut rng());
    assert!(matches!(foreign, Err(AttestError::Refused(_))));
    let late = sign_off(&token, &keyring(), "audit", &service(22), ENDS, &mut rng());
    assert!(matches!(late, Err(AttestError::Refused(_))));
}

#[test]
fn services_attest_in_turn_and_published_verifiers_see_it() {
    let chain_check = |seed: u8, component: &str| {
        let key: PublicKey = PublicKey::from_bytes(
            &service(seed).public_key(),
            biscuit_auth::Algorithm::Ed25519,
        )
        .unwrap();
        check!(r#"check if node("ledger", {component}) trusting authority, {key}"#)
    };
    let seen = |token: &str, seed: u8, component: &str| {
        let builder = published().check(chain_check(seed, component)).unwrap();
        passes(builder, token)
    };
    let token = service_chain();
    assert!(!seen(&token, 31, "gateway"));
    let early = attest(&token, &service(32));
    assert!(
        matches!(early, Err(AttestError::OutOfOrder { .. })),
        "{early:?}"
    );
    let one = attest(&token, &service(31)).unwrap();
    assert!(seen(&one, 31, "gateway") && !seen(&one, 32, "orders"));
    assert_eq!(attest(&one, &service(31)).unwrap(), one);
    let two = attest(&one, &service(32)).unwrap();
    assert!(seen(&two, 31, "gateway") && seen(&two, 32, "orders"));
    assert!(matches!(
        attest(&two, &service(40)),
        Err(AttestError::NotAsked { .. })
    ));
}

#[test]
fn a_stub_is_of_use_under_its_prefix_only() {
    let attestor = service(41);
    let under = |prefix| attest_prefix(&stub(), &keyring(), prefix, &attestor, NOW, &mut rng());
    let token = under("users/alice").unwrap();
    let shown = |prefix: &str| {
        let builder = published().fact(fact!("prefix({prefix})")).unwrap();
        passes(builder, &token)
    };
    assert!(!passes(published(), &stub()));
    assert!(!passes(published(), &token));
    assert!(shown("users/alice") && !shown("users/alice2"));
    assert!(matches!(under("users/../bob"), Err(AttestError::Prefix(_))));
    let stranger = attest_prefix(&stub(), &keyring(), "x", &service(42), NOW, &mut rng());
    assert!(matches!(stranger, Err(AttestError::NotAsked { .. })));
}

#[test]
fn components_are_named_once_each() {
    let parameters = authorization_parameters("urn:h:alice");
    let mint = |nodes: &[ServiceNode]| mint_service_chain(&key(), &parameters, nodes, &mut rng());
    let (first, second) = (node("a", 31), node("b", 32));
    assert!(mint(&[first.clone(), second.clone()]).is_ok());
    assert!(matches!(mint(&[]), Err(MintError::Nodes(_))));
    assert!(matches!(
        mint(&[first.clone(), first.clone()]),
        Err(MintError::Nodes(_))
    ));
    let same_key = [first.clone(), node("c", 31)];
    assert!(matches!(mint(&same_key), Err(MintError::Nodes(_))));
    let many: Vec<_> = (1..=13)
        .map(|seed| node(&format!("n{seed}"), seed))
        .collect();
    assert!(matches!(mint(&many), Err(MintError::TooMany { .. })));
    assert!(matches!(mint(&[node("a\"b", 31)]), Err(MintError::Name(_))));
}

#[test]
fn third_party_keys_are_written_as_in_the_published_configuration() {
    let text = format!(
        "ed25519/{}",
        "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
    );
    let key: ThirdPartyKey = text.parse().unwrap();
    assert_eq!(key.to_string(), text);
    assert_eq!(key.to_bytes()[..4], [0, 0, 0, 0]);
    let p256 = "secp256r1/02591ab771ebbcfd6d9cb9094d106528add1a69d44c2c1f627f089ec58b9c61adf";
    let key: ThirdPartyKey = p256.parse().unwrap();
    assert_eq!(
        (key.to_string().as_str(), &key.to_bytes()[..4]),
        (p256, [0, 0, 0, 1].as_slice())
    );
    for wrong in [
        "",
        "ed25519",
        "ed25519/",
        "ed25519/00",
        "rsa/00",
        "ed25519/zz",
        &text[..70],
    ] {
        assert!(wrong.parse::<ThirdPartyKey>().is_err(), "{wrong}");
    }
}

#[test]
fn a_domain_identity_verifies_where_its_domain_is_confirmed() {
    let token = domain_identity("urn:h:realm:bob");
    let time = 1_800_000_001i64;
    let bob = || authorizer!(r#"time({time}); actor("urn:h:realm:bob"); allow if true;"#);
    assert!(!passes(bob(), &token));
    assert!(passes(
        bob().fact(fact!(r#"domain("urn:h:realm")"#)).unwrap(),
        &token
    ));
    assert!(!passes(
        bob().fact(fact!(r#"domain("urn:h:other")"#)).unwrap(),
        &token
    ));
    let outside = DomainIdentityParameters {
        subject: name("urn:h:realms:bob"),
        ..domain_parameters("urn:h:realm:bob")
    };
    let refused = mint_domain_identity(&key(), &outside, &mut rng());
    assert!(matches!(refused, Err(MintError::OutsideDomain { .. })));
}

#[test]
fn the_refresh_history_of_an_identity_is_read_back() {
    let refreshed = Refreshed {
        count: 3,
        first_issued_at: UnixSeconds(1_700_000_000),
    };
    let parents = ids(&identity("urn:h:alice"));
    let parameters = IdentityParameters {
        parents: parents.clone(),
        refreshed: Some(refreshed),
        refreshable_until: Some(UnixSeconds(1_900_000_000)),
        ..identity_parameters("urn:h:alice")
    };
    let token = mint_identity(&key(), &parameters, &mut rng())
        .unwrap()
        .token;
    let facts = Token::parse(&token, &Limits::default())
        .unwrap()
        .facts()
        .unwrap();
    assert_eq!((facts.refreshed, facts.parents), (Some(refreshed), parents));
    assert_eq!(facts.refreshable_until, Some(UnixSeconds(1_900_000_000)));
    let facts = Token::parse(&domain_identity("urn:h:realm:bob"), &Limits::default());
    assert_eq!(facts.unwrap().facts().unwrap().roles, ["admin"]);
}

#[test]
fn a_person_sees_what_was_added() {
    let token = attest_prefix(&stub(), &keyring(), "users", &service(41), NOW, &mut rng()).unwrap();
    let token = attest(&service_chain(), &service(31))
        .map(|chain| [token, chain])
        .unwrap();
    let roles = token.map(|token| {
        let read = inspect(&token, &Limits::default()).unwrap();
        read.blocks[1].role.clone()
    });
    let said = |fact: &str| BlockRole::Attestation {
        facts: vec![fact.to_owned()],
    };
    assert_eq!(roles, [said("prefix_added"), said("service")]);
}

#[test]
fn a_service_signs_with_the_key_file_that_published_tools_write() {
    let published = include_str!("../../vectors/published.json");
    let published: serde_json::Value = serde_json::from_str(published).unwrap();
    let keys = published["keys"].as_array().unwrap();
    let mut read = 0;
    for entry in keys {
        let pem = entry["private_pem"].as_str().unwrap_or_default();
        match (entry["algorithm"].as_str(), ServiceKey::from_pem(pem)) {
            (Some("ed25519"), Ok(key)) => {
                assert_eq!(key.public().to_string(), entry["public_string"]);
                assert!(!format!("{key:?}").contains(entry["seed_hex"].as_str().unwrap()));
                read += 1;
            }
            (_, result) => assert!(matches!(result, Err(KeyError::PrivatePem))),
        }
    }
    assert!(read > 3, "{read}");
}
