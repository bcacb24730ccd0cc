//! Minted tokens: published verifiers read them, and ours find the facts that they need.

use biscuit_auth::macros::authorizer;
use biscuit_auth::{Biscuit, PublicKey};

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;

fn with_biscuit(token: &str) -> Biscuit {
    let key = PublicKey::from_bytes(&key().public_key(), biscuit_auth::Algorithm::Ed25519).unwrap();
    Biscuit::from_base64(token, key).unwrap()
}

#[test]
fn a_minted_identity_verifies_with_the_library_and_names_its_key() {
    let token = identity("urn:h:alice");
    let biscuit = with_biscuit(&token);
    assert_eq!(biscuit.root_key_id(), Some(KEY_ID));
    let time = 1_800_000_001i64;
    // The authorizer that published verifiers run.
    let good = authorizer!(r#"time({time}); actor("urn:h:alice"); allow if true;"#);
    assert!(authorizes(good, &biscuit));
    let bad = authorizer!(r#"time({time}); actor("urn:h:alic"); allow if true;"#);
    assert!(!authorizes(bad, &biscuit));
}

#[test]
fn the_printed_identity_keeps_the_published_order() {
    let source = Token::parse(&identity("urn:h:alice"), &Limits::default())
        .unwrap()
        .source(0)
        .unwrap();
    let lines: Vec<_> = source.lines().collect();
    assert_eq!(lines[0], r#"subject("urn:h:alice");"#);
    assert_eq!(lines[1], r#"hessra_class("identity");"#);
    assert_eq!(
        lines[2..5],
        ["rev(1);", "iat(1800000000);", "exp(1800003600);"]
    );
    let checks = &lines[lines.len() - 2..];
    assert_eq!(
        checks[0],
        r#"check if actor($a), $a == "urn:h:alice" || $a.starts_with("urn:h:alice" + ":");"#
    );
    assert_eq!(checks[1], "check if time($time), $time < 1800003600;");
}

#[test]
fn a_published_client_finds_the_end_in_the_print() {
    let shapes = [
        TokenShape::Universal,
        TokenShape::Authz,
        TokenShape::Capability,
    ];
    let mut tokens: Vec<String> = shapes
        .map(|shape| AuthorizationParameters {
            shape,
            ..authorization_parameters("urn:h:alice")
        })
        .iter()
        .map(|parameters| {
            mint_authorization(&key(), parameters, &mut rng())
                .unwrap()
                .token
        })
        .collect();
    tokens.push(identity("urn:h:alice"));
    for token in tokens {
        let print = with_biscuit(&token).print();
        let line = print
            .lines()
            .find(|line| line.contains("check if") && line.contains("time") && line.contains('<'));
        let end = line.unwrap().rsplit_once('<').unwrap().1;
        let digits: String = end
            .trim()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        assert_eq!(digits, ENDS.0.to_string());
    }
}

#[test]
fn a_minted_token_is_padded_and_has_no_line_end() {
    for length in 1..5 {
        let token = identity(&format!("urn:h:{}", "a".repeat(length)));
        assert_eq!(token.len() % 4, 0);
        assert!(!token.contains('\n'));
    }
}

#[test]
fn a_minted_token_verifies_with_its_parameters() {
    let parent = ids(&identity("urn:h:alice"));
    let parameters = AuthorizationParameters {
        parents: parent.clone(),
        cert: Some([8; 32]),
        ..authorization_parameters("urn:h:alice")
    };
    let minted = mint_authorization(&key(), &parameters, &mut rng()).unwrap();
    let request = Request::authorization(name("urn:h:alice"), "ledger", "read");
    let Verdict::Allow(verified) = Feed::new().verify(&minted.token, &request) else {
        panic!("refused")
    };
    assert_eq!(verified.class(), TokenClass::Authorization);
    assert_eq!(verified.subject(), &name("urn:h:alice"));
    assert_eq!(verified.expires_at(), ENDS);
    assert_eq!(verified.token_ids(), [minted.revocation_id]);
    assert_eq!(verified.ancestor_ids(), parent);
    assert_eq!(verified.root_key_id(), Some(KEY_ID));
    assert_eq!(verified.rev(), Some(REV));
    assert_eq!(verified.certificate(), Some([8; 32]));
    assert_eq!(verified.checked_at(), Some(Revision(1)));
    assert_eq!(verified.knowledge_age(), Some(std::time::Duration::ZERO));
    assert!(!verified.is_stale());
}

#[test]
fn every_shape_grants_its_right_and_nothing_else() {
    let feed = Feed::new();
    for shape in [
        TokenShape::Universal,
        TokenShape::Authz,
        TokenShape::Capability,
    ] {
        let parameters = AuthorizationParameters {
            shape,
            ..authorization_parameters("urn:h:alice")
        };
        let token = mint_authorization(&key(), &parameters, &mut rng())
            .unwrap()
            .token;
        let code = |subject: &str, resource: &str, operation: &str| {
            feed.verify(
                &token,
                &Request::authorization(name(subject), resource, operation),
            )
            .code()
        };
        assert_eq!(code("urn:h:alice", "ledger", "read"), "allow");
        assert_eq!(code("urn:h:bob", "ledger", "read"), "not_granted");
        assert_eq!(code("urn:h:alice:x", "ledger", "read"), "not_granted");
        assert_eq!(code("urn:h:alice", "other", "read"), "not_granted");
        assert_eq!(code("urn:h:alice", "ledger", "write"), "not_granted");
        assert_eq!(
            feed.verify(&token, &Request::bearer()).code(),
            "wrong_class"
        );
    }
}

#[test]
fn an_identity_does_not_authorize() {
    let request = Request::authorization(name("urn:h:alice"), "ledger", "read");
    assert_eq!(
        Feed::new()
            .verify(&identity("urn:h:alice"), &request)
            .code(),
        "wrong_class"
    );
}

#[test]
fn a_token_ends_at_its_end() {
    let (feed, token) = (Feed::new(), identity("urn:h:alice"));
    let code = |wall| {
        feed.verify_as(
            VerifierConfig::default(),
            &token,
            &Request::bearer(),
            Some(std::time::Duration::ZERO),
            wall,
        )
        .code()
    };
    assert_eq!(code(UnixSeconds(ENDS.0 - 1)), "allow");
    assert_eq!(code(ENDS), "expired");
}

#[test]
fn a_token_from_the_future_is_refused_beyond_the_skew_of_clocks() {
    let (feed, token) = (Feed::new(), identity("urn:h:alice"));
    let config = VerifierConfig::default();
    let skew = config.skew_seconds;
    let code = |wall| {
        let age = Some(std::time::Duration::ZERO);
        feed.verify_as(config, &token, &Request::bearer(), age, wall)
            .code()
    };
    assert_eq!(code(UnixSeconds(NOW.0 - skew)), "allow");
    assert_eq!(code(UnixSeconds(NOW.0 - skew - 1)), "issued_later");
}

#[test]
fn a_token_that_lives_for_longer_than_any_that_is_issued_is_refused() {
    let feed = Feed::new();
    let parameters = IdentityParameters {
        expires_at: UnixSeconds(NOW.0 + 40 * 24 * 60 * 60),
        ..identity_parameters("urn:h:alice")
    };
    let minted = mint_identity(&key(), &parameters, &mut rng()).unwrap();
    assert_eq!(
        feed.verify(&minted.token, &Request::bearer()).code(),
        "lives_too_long"
    );
}

#[test]
fn names_that_mislead_readers_of_the_print_are_not_minted() {
    for resource in ["", "a\"b", "a\nb", "a\\b", &"x".repeat(257)] {
        let parameters = AuthorizationParameters {
            resource: resource.into(),
            ..authorization_parameters("urn:h:alice")
        };
        let minted = mint_authorization(&key(), &parameters, &mut rng());
        assert!(matches!(minted, Err(MintError::Name(_))), "{resource}");
    }
    let late = IdentityParameters {
        expires_at: NOW,
        ..identity_parameters("urn:h:alice")
    };
    assert!(matches!(
        mint_identity(&key(), &late, &mut rng()),
        Err(MintError::Lifetime { .. })
    ));
    let id = TokenId::new(&[1; 64]).unwrap();
    let many = AuthorizationParameters {
        parents: vec![id; 33],
        ..authorization_parameters("urn:h:alice")
    };
    assert!(matches!(
        mint_authorization(&key(), &many, &mut rng()),
        Err(MintError::TooManyParents { .. })
    ));
}

#[test]
fn a_signature_by_another_key_never_leaves() {
    struct Confused(Key, Key);
    impl Signer for Confused {
        fn key_id(&self) -> u32 {
            self.0.key_id()
        }
        fn public_key(&self) -> [u8; 32] {
            self.0.public_key()
        }
        fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError> {
            self.1.sign(payload)
        }
    }
    let signer = Confused(key(), Key::new(8, 2));
    let minted = mint_identity(&signer, &identity_parameters("urn:h:alice"), &mut rng());
    assert!(matches!(
        minted,
        Err(MintError::Signature { key_id: KEY_ID })
    ));
}

#[test]
fn a_key_of_this_process_signs_the_same_token_without_the_detour() {
    struct Held(Key, LocalKey);
    impl Signer for Held {
        fn key_id(&self) -> u32 {
            self.0.key_id()
        }
        fn public_key(&self) -> [u8; 32] {
            self.0.public_key()
        }
        fn sign(&self, _: &[u8]) -> Result<[u8; 64], SignerError> {
            unreachable!("the library has the key")
        }
        fn local(&self) -> Option<&LocalKey> {
            Some(&self.1)
        }
    }
    let held = Held(key(), LocalKey::new(&key().private()));
    let parameters = identity_parameters("urn:h:alice");
    let minted = mint_identity(&held, &parameters, &mut rng()).unwrap();
    let biscuit = with_biscuit(&minted.token);
    assert_eq!(biscuit.root_key_id(), Some(KEY_ID));
    assert_eq!(
        biscuit.revocation_identifiers()[0],
        minted.revocation_id.as_bytes()
    );
    let elsewhere = mint_identity(&key(), &parameters, &mut rng()).unwrap();
    assert_eq!(
        biscuit.print_block_source(0).unwrap(),
        with_biscuit(&elsewhere.token)
            .print_block_source(0)
            .unwrap()
    );
    assert!(!format!("{:?}", held.1).contains("KeyPair"));
}

#[test]
fn debug_never_shows_a_token() {
    let minted = mint_identity(&key(), &identity_parameters("urn:h:alice"), &mut rng()).unwrap();
    let token = Token::parse(&minted.token, &Limits::default()).unwrap();
    assert!(!format!("{minted:?}").contains(&minted.token));
    assert_eq!(format!("{token:?}"), "Token { blocks: 1, .. }");
}
