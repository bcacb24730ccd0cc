//! Tokens made to be refused: bounded in size, in blocks and in what they make a verifier do.

use biscuit_auth::builder::Algorithm;
use biscuit_auth::macros::{biscuit, block};
use biscuit_auth::{Biscuit, BlockBuilder, KeyPair, PrivateKey, PublicKey};
use data_encoding::BASE64URL;
use proptest::prelude::*;

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;

fn pair(seed: u8, algorithm: Algorithm) -> KeyPair {
    KeyPair::from(&PrivateKey::from_bytes(&[seed; 32], algorithm).unwrap())
}

fn biscuit_of(token: &str) -> Biscuit {
    let root = PublicKey::from_bytes(&key().public_key(), Algorithm::Ed25519);
    Biscuit::from_base64(token, root.unwrap()).unwrap()
}

fn third_party(token: &str, block: BlockBuilder, by: &KeyPair) -> String {
    let biscuit = biscuit_of(token);
    let request = biscuit.third_party_request().unwrap();
    let block = request.create_block(&by.private(), block).unwrap();
    let appended = biscuit.append_third_party(by.public(), block).unwrap();
    appended.to_base64().unwrap()
}

fn code(token: &str) -> &'static str {
    Feed::new().verify(token, &Request::bearer()).code()
}

#[test]
fn the_sixteenth_block_passes_and_the_seventeenth_does_not() {
    let mut token = identity("urn:h:alice");
    for _ in 1..16 {
        token = limit_just_in_time(&token, NOW, &mut rng()).unwrap();
    }
    assert_eq!(code(&token), "allow");
    let refused = limit_just_in_time(&token, NOW, &mut rng());
    assert!(matches!(refused, Err(DelegateError::Refused(_))));
    let bound = block!("check if time($time), $time < 1800000005");
    let seventeen = third_party(&token, bound, &pair(9, Algorithm::Ed25519));
    assert_eq!(code(&seventeen), "too_large");
}

#[test]
fn a_token_of_twenty_kilobytes_is_refused_before_it_is_read() {
    let filler = "x".repeat(15_000);
    let block = block!("check if time($time), $time < 1800000005, {filler} == {filler}");
    let token = third_party(
        &identity("urn:h:alice"),
        block,
        &pair(9, Algorithm::Ed25519),
    );
    assert!(token.len() > 20_000);
    assert_eq!(code(&token), "too_large");
    assert!(inspect(&token, &Limits::default()).is_err());
}

#[test]
fn a_sideways_delegation_is_refused_however_it_is_signed() {
    let parent = delegated(&identity("urn:h:alice"), "urn:h:alice:agent");
    for sideways in [
        "urn:h:alice:other",
        "urn:h:alice",
        "urn:h:bob",
        "urn:h:alice:agentx",
    ] {
        let block = || {
            block!(
                r#"check if actor($a), $a == {sideways} || $a.starts_with({sideways} + ":");
                   check if time($time), $time < 1800003600;"#
            )
        };
        let ephemeral = third_party(&parent, block(), &pair(9, Algorithm::Ed25519));
        let first_party = biscuit_of(&parent).append(block()).unwrap();
        let first_party = first_party.to_base64().unwrap();
        for token in [ephemeral, first_party] {
            assert_eq!(code(&token), "broken_chain", "{sideways}");
        }
    }
}

#[test]
fn a_malleated_twin_of_a_third_party_signature_is_revoked_with_its_original() {
    // Appended under a P-256 next key, so that the signature of the block after has a twin.
    let biscuit = biscuit_of(&identity("urn:h:alice"));
    let p256 = pair(9, Algorithm::Secp256r1);
    let bound = || block!("check if time($time), $time < 1800000005");
    let next = biscuit.append_with_keypair(&p256, bound()).unwrap();
    let last = next.append(bound()).unwrap().to_base64().unwrap();
    let bytes = BASE64URL.decode(last.as_bytes()).unwrap();
    let twin = malleated(&bytes);
    assert_ne!(bytes, twin);
    let twin = BASE64URL.encode(&twin);
    assert_eq!((code(&last), code(&twin)), ("allow", "allow"));
    assert_eq!(ids(&last), ids(&twin));
    let mut feed = Feed::new();
    let id = ids(&last)[2].clone();
    feed.revoke(&Target::Token(id), Cutoff::Permanent);
    assert_eq!(feed.verify(&last, &Request::bearer()).code(), "revoked");
    assert_eq!(feed.verify(&twin, &Request::bearer()).code(), "revoked");
}

/// The same token with `n - s` for the `s` of its last ECDSA signature.
fn malleated(bytes: &[u8]) -> Vec<u8> {
    use biscuit_auth::format::schema;
    use prost_biscuit::Message;
    let mut envelope = schema::Biscuit::decode(bytes).unwrap();
    let signature = &mut envelope.blocks.last_mut().unwrap().signature;
    *signature = other_s(signature);
    envelope.encode_to_vec()
}

/// Signature with the other `s`. DER: 30 len 02 len(r) r 02 len(s) s.
fn other_s(der: &[u8]) -> Vec<u8> {
    let r_length = usize::from(der[3]);
    let (r, s) = (&der[4..4 + r_length], &der[6 + r_length..]);
    let mut s32 = [0; 32];
    let s = s.strip_prefix(&[0]).unwrap_or(s);
    s32[32 - s.len()..].copy_from_slice(s);
    let mut other = minus(&P256_ORDER, &s32).to_vec();
    while other[0] == 0 && other[1] < 0x80 {
        other.remove(0);
    }
    if other[0] >= 0x80 {
        other.insert(0, 0);
    }
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let body = [&[2, length(r)], r, &[2, length(&other)], &other].concat();
    [&[0x30, length(&body)], body.as_slice()].concat()
}

fn minus(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let (mut difference, mut borrow) = ([0; 32], 0i16);
    for at in (0..32).rev() {
        let digit = i16::from(a[at]) - i16::from(b[at]) - borrow;
        borrow = i16::from(digit < 0);
        difference[at] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    difference
}

const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

#[test]
fn a_p256_root_is_refused_whatever_it_signs() {
    let root = pair(3, Algorithm::Secp256r1);
    let token = biscuit!(
        r#"subject("urn:h:alice");
           check if actor($a), $a == "urn:h:alice";
           check if time($time), $time < 1800003600;"#
    );
    let token = token.build(&root).unwrap().to_base64().unwrap();
    assert_eq!(code(&token), "bad_signature");
    assert!(Keyring::from_pem(&root.public().to_pem().unwrap()).is_err());
}

#[test]
fn a_delegation_carries_so_many_checks_and_no_more() {
    let parent = identity("urn:h:alice");
    let with = |checks: &str| try_delegate(&parent, "urn:h:alice:x", Some(checks));
    let few = [r#"check if resource("ledger")"#; 8].join(";");
    assert!(with(&few).is_ok());
    let many = [r#"check if resource("ledger")"#; 9].join(";");
    assert!(matches!(with(&many), Err(DelegateError::Check(_))));
    let long = format!(r#"check if resource("{}")"#, "x".repeat(2048));
    assert!(matches!(with(&long), Err(DelegateError::Check(_))));
}

/// Facts, rules and checks that somebody may find useful to append.
fn statement() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("urn:h:alice"),
        Just("urn:h:alice:agent"),
        Just("urn:h:bob"),
        Just("ledger"),
        Just("read"),
        Just("gateway"),
    ];
    let fact = prop_oneof![
        Just("subject"),
        Just("actor"),
        Just("resource"),
        Just("operation"),
        Just("domain"),
        Just("namespace"),
        Just("service"),
        Just("prefix"),
        Just("context"),
        Just("exposed_label"),
        Just("hessra_class"),
    ];
    (fact, name, 0..5u8).prop_map(|(fact, name, form)| match form {
        0 => format!(r#"{fact}("{name}")"#),
        1 => format!(r#"{fact}("{name}") <- subject($s)"#),
        2 => format!(r#"right("{name}", "ledger", "read")"#),
        3 => format!(r#"check if {fact}("{name}") or true"#),
        _ => format!(r#"check if {fact}($x), $x == "{name}" || true"#),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Appended blocks widen no token: an identity acts only as names at or below its subject, and no waiting token
    /// passes.
    #[test]
    fn no_appended_block_widens_a_token(statements in proptest::collection::vec(statement(), 1..4), signed in any::<bool>(), evaluate in any::<bool>()) {
        let config = VerifierConfig {
            policy_checks: if evaluate { PolicyChecks::Evaluate } else { PolicyChecks::Refuse },
            ..VerifierConfig::default()
        };
        let block = BlockBuilder::new().code(format!("{};", statements.join(";"))).unwrap();
        let append = |token: &str| if signed {
            third_party(token, block.clone(), &pair(9, Algorithm::Ed25519))
        } else {
            biscuit_of(token).append(block.clone()).unwrap().to_base64().unwrap()
        };
        let feed = Feed::new();
        let ask = |token: &str, request: &Request| {
            let age = Some(std::time::Duration::ZERO);
            feed.verify_as(config, &append(token), request, age, NOW)
        };
        let bob = Request::identity(name("urn:h:bob"));
        prop_assert!(!ask(&identity("urn:h:alice"), &bob).is_allow());
        if let Verdict::Allow(verified) = ask(&identity("urn:h:alice"), &Request::bearer()) {
            prop_assert_eq!(verified.actor().as_str(), "urn:h:alice");
        }
        let read = Request::capability("ledger", "read");
        for waiting in [service_chain(), multi_party(), stub()] {
            prop_assert!(!ask(&waiting, &read).is_allow());
        }
    }
}
