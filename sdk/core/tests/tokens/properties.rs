//! Properties of any bytes and any names.

use std::time::Duration;

use data_encoding::BASE64URL;
use proptest::prelude::*;

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;

fn segment() -> impl Strategy<Value = String> {
    "[A-Za-z0-9._~@/-]{1,8}"
}

/// A first segment that is not the `uri` spelling.
fn path(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(segment(), 1..=most)
        .prop_map(|rest| format!("urn:{}", rest.join(":")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_the_verifier_panic(text in ".{0,200}") {
        prop_assert!(!Feed::new().verify(&text, &Request::bearer()).is_allow());
        let _ = inspect(&text, &Limits::default());
    }

    #[test]
    fn no_bytes_make_the_verifier_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let text = BASE64URL.encode(&bytes);
        prop_assert!(!Feed::new().verify(&text, &Request::bearer()).is_allow());
        let _ = inspect(&text, &Limits::default());
    }

    #[test]
    fn a_delegated_identity_verifies_as_the_last_name(subject in path(4), children in proptest::collection::vec(segment(), 0..5)) {
        let (mut token, mut actor) = (identity(&subject), subject.clone());
        for child in children {
            actor = format!("{actor}:{child}");
            token = delegated(&token, &actor);
        }
        let verdict = Feed::new().verify(&token, &Request::bearer());
        let Verdict::Allow(verified) = verdict else { return Err(TestCaseError::fail(format!("{verdict:?}"))) };
        prop_assert_eq!(verified.actor().as_str(), &actor);
        prop_assert_eq!(verified.subject().as_str(), &subject);
    }

    #[test]
    fn a_name_that_is_not_below_is_never_delegated(parent in path(4), child in path(5)) {
        let below = child.starts_with(&format!("{parent}:"));
        prop_assert_eq!(try_delegate(&identity(&parent), &child, None).is_ok(), below);
    }

    #[test]
    fn cutting_a_token_never_gives_an_allow(length in 0usize..600) {
        let token = delegated(&identity("urn:h:a"), "urn:h:a:b");
        prop_assume!(length < token.len());
        prop_assert!(!Feed::new().verify(&token[..length], &Request::bearer()).is_allow());
    }
}

#[test]
fn no_single_changed_byte_gives_an_allow() {
    let feed = Feed::new();
    let token = delegated(&identity("urn:h:a"), "urn:h:a:b");
    let bytes = BASE64URL.decode(token.as_bytes()).unwrap();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x10, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            let verdict = feed.verify(&BASE64URL.encode(&changed), &Request::bearer());
            assert!(!verdict.is_allow(), "byte {at} ^ {flip:#x}");
        }
    }
}

#[test]
fn a_second_spelling_of_a_token_is_refused() {
    let feed = Feed::new();
    let token = identity("urn:h:a");
    let code = |text: &str| feed.verify(text, &Request::bearer()).code();
    assert_eq!(code(&token), "allow");
    assert_eq!(code(&format!("{token}\n")), "malformed");
    assert_eq!(code(&format!(" {token}")), "malformed");
    assert_eq!(code(""), "malformed");
    let bytes = BASE64URL.decode(token.as_bytes()).unwrap();
    // An unknown field, which protobuf would skip.
    let longer = [bytes.as_slice(), &[0x78, 0x01]].concat();
    assert_eq!(code(&BASE64URL.encode(&longer)), "malformed");
    assert_eq!(code(&"A".repeat(16 * 1024 + 1)), "too_large");
}

#[test]
fn equal_arguments_give_equal_verdicts() {
    let (feed, token) = (Feed::new(), identity("urn:h:a"));
    let verify = || {
        format!(
            "{:?}",
            feed.verify_aged(&token, &Request::bearer(), Some(Duration::from_millis(7)))
        )
    };
    assert_eq!(verify(), verify());
}

#[test]
fn codes_and_numbers_are_stable() {
    let unknown = DenyReason::UnknownKey { key_id: 1 };
    assert_eq!((unknown.code(), unknown.number()), ("unknown_key", 3));
    let revoked = DenyReason::Revoked {
        by: RuleKind::Token,
    };
    assert_eq!((revoked.code(), revoked.number()), ("revoked", 15));
    let never = UnknownReason::NeverSynced;
    assert_eq!((never.code(), never.number()), ("never_synced", 102));
}

#[test]
fn a_key_survives_pem() {
    let public = key().public_key();
    let pem = keyring::public_key_to_pem(&public).unwrap();
    assert_eq!(keyring::public_key_from_pem(&pem).unwrap(), public);
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----"));
    assert!(keyring::public_key_from_pem("not a key").is_err());
}

#[test]
fn only_the_signature_of_the_message_by_the_key_verifies() {
    let signature = key().sign(b"message").unwrap();
    let public = key().public_key();
    assert!(verify_ed25519(&public, b"message", &signature));
    assert!(!verify_ed25519(&public, b"massage", &signature));
    assert!(!verify_ed25519(
        &Key::new(1, 2).public_key(),
        b"message",
        &signature
    ));
    // The identity point as key and R, with S = 0, "signs" every message where verification is not strict.
    let mut identity_point = [0; 32];
    identity_point[0] = 1;
    let mut forged = [0; 64];
    forged[0] = 1;
    assert!(!verify_ed25519(&identity_point, b"message", &forged));
}
