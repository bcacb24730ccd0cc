//! Every way in which a rule can be about a token.

use std::time::Duration;

use biscuit_auth::builder::Algorithm;
use biscuit_auth::macros::block;
use biscuit_auth::{Biscuit, KeyPair, PublicKey};
use data_encoding::BASE64URL;

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;

fn code_with(target: &Target, cutoff: Cutoff, token: &str) -> &'static str {
    let mut feed = Feed::new();
    feed.revoke(target, cutoff);
    feed.verify(token, &Request::bearer()).code()
}

fn code(target: &Target, token: &str) -> &'static str {
    code_with(target, Cutoff::Permanent, token)
}

#[test]
fn a_rule_about_a_subtree_covers_the_actor_the_subject_and_all_between() {
    let token = delegated(&delegated(&identity("urn:h:a"), "urn:h:a:b"), "urn:h:a:b:c");
    for covered in ["urn", "urn:h", "urn:h:a", "urn:h:a:b", "urn:h:a:b:c"] {
        assert_eq!(
            code(&Target::Subtree(name(covered)), &token),
            "revoked",
            "{covered}"
        );
    }
    for free in [
        "urn:h:a:bc",
        "urn:h:a:b:c:d",
        "urn:h:b",
        "URN:h:a",
        "urn:h:A",
    ] {
        assert_eq!(
            code(&Target::Subtree(name(free)), &token),
            "allow",
            "{free}"
        );
    }
}

#[test]
fn a_rule_about_an_identity_covers_that_actor_only() {
    let token = delegated(&identity("urn:h:a"), "urn:h:a:b");
    assert_eq!(code(&Target::Exact(name("urn:h:a:b")), &token), "revoked");
    assert_eq!(code(&Target::Exact(name("urn:h:a")), &token), "allow");
}

#[test]
fn the_actor_that_the_caller_names_is_the_one_that_is_asked_about() {
    let (mut feed, token) = (Feed::new(), identity("urn:h:a"));
    feed.revoke(&Target::Subtree(name("urn:h:a:bad")), Cutoff::Permanent);
    let code = |actor: &str| feed.verify(&token, &Request::identity(name(actor))).code();
    assert_eq!(
        (code("urn:h:a:bad:x"), code("urn:h:a:good"), code("urn:h:a")),
        ("revoked", "allow", "allow")
    );
}

#[test]
fn a_rule_about_any_block_id_covers_the_token() {
    let token = delegated(&delegated(&identity("urn:h:a"), "urn:h:a:b"), "urn:h:a:b:c");
    let ids = ids(&token);
    assert_eq!(ids.len(), 3);
    for id in ids {
        assert_eq!(code(&Target::Token(id), &token), "revoked");
    }
    assert_eq!(
        code(&Target::Token(TokenId::new(&[5; 64]).unwrap()), &token),
        "allow"
    );
}

#[test]
fn a_rule_about_a_recorded_ancestor_covers_the_authorization() {
    let parents = ids(&delegated(&identity("urn:h:a"), "urn:h:a:b"));
    let parameters = AuthorizationParameters {
        parents: parents.clone(),
        ..authorization_parameters("urn:h:a:b")
    };
    let token = mint_authorization(&key(), &parameters, &mut rng())
        .unwrap()
        .token;
    for id in parents {
        let mut feed = Feed::new();
        feed.revoke(&Target::Token(id), Cutoff::Permanent);
        let request = Request::authorization(name("urn:h:a:b"), "ledger", "read");
        assert_eq!(feed.verify(&token, &request).code(), "revoked");
    }
}

#[test]
fn a_rule_about_the_subject_of_a_right_covers_its_bearer() {
    let token = mint_authorization(&key(), &authorization_parameters("urn:h:a:b"), &mut rng())
        .unwrap()
        .token;
    let mut feed = Feed::new();
    feed.revoke(&Target::Subtree(name("urn:h:a")), Cutoff::Permanent);
    let request = Request::capability("ledger", "read");
    assert_eq!(feed.verify(&token, &request).code(), "revoked");
}

#[test]
fn sealing_a_token_does_not_change_its_ids() {
    let key = PublicKey::from_bytes(&key().public_key(), Algorithm::Ed25519).unwrap();
    let token = delegated(&identity("urn:h:a"), "urn:h:a:b");
    let sealed = Biscuit::from_base64(&token, key)
        .unwrap()
        .seal()
        .unwrap()
        .to_base64()
        .unwrap();
    assert_eq!(code(&Target::Exact(name("urn:h:z")), &sealed), "allow");
    for id in ids(&token) {
        assert_eq!(code(&Target::Token(id), &sealed), "revoked");
    }
}

#[test]
fn the_high_s_twin_of_a_p256_block_has_the_same_id() {
    let root = PublicKey::from_bytes(&key().public_key(), Algorithm::Ed25519).unwrap();
    let next = KeyPair::new_with_rng(Algorithm::Secp256r1, &mut rng());
    let last = KeyPair::new_with_rng(Algorithm::Ed25519, &mut rng());
    let token = Biscuit::from_base64(identity("urn:h:a"), root).unwrap();
    let token = token
        .append_with_keypair(&next, block!("check if time($t), $t < 1800000500;"))
        .unwrap();
    // This block is signed by the P-256 key of the one before.
    let token = token
        .append_with_keypair(&last, block!("check if time($t), $t < 1800000400;"))
        .unwrap();
    let text = token.to_base64().unwrap();
    let twin = with_twin_signature(&text, &token.revocation_identifiers()[2]);
    assert_ne!(text, twin);
    let raw = Biscuit::from_base64(&twin, root)
        .unwrap()
        .revocation_identifiers();
    assert_ne!(raw[2], token.revocation_identifiers()[2]);
    assert_eq!(ids(&text), ids(&twin));
    assert_eq!(code(&Target::Exact(name("urn:h:z")), &twin), "allow");
    let id = TokenId::new(&token.revocation_identifiers()[2]).unwrap();
    assert_eq!(code(&Target::Token(id), &text), "revoked");
    let id = TokenId::new(&token.revocation_identifiers()[2]).unwrap();
    assert_eq!(code(&Target::Token(id), &twin), "revoked");
}

/// Replaces a DER signature `(r, s)` by `(r, n - s)`.
fn with_twin_signature(text: &str, signature: &[u8]) -> String {
    use biscuit_auth::format::schema;
    use prost_biscuit::Message;
    let mut envelope =
        schema::Biscuit::decode(BASE64URL.decode(text.as_bytes()).unwrap().as_slice()).unwrap();
    let block = envelope.blocks.last_mut().unwrap();
    assert_eq!(block.signature, signature);
    block.signature = twin(signature);
    BASE64URL.encode(&envelope.encode_to_vec())
}

fn twin(der: &[u8]) -> Vec<u8> {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order = data_encoding::HEXLOWER.decode(ORDER.as_bytes()).unwrap();
    let r_end = 4 + usize::from(der[3]);
    let s = &der[r_end + 2..];
    let mut wide = vec![0; 33 - s.len()];
    wide.extend(s);
    let (mut difference, mut borrow) = (vec![0u8; 33], 0i16);
    for at in (0..33).rev() {
        let digit =
            if at == 0 { 0 } else { i16::from(order[at - 1]) } - i16::from(wide[at]) - borrow;
        borrow = i16::from(digit < 0);
        difference[at] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    let zeros = difference.iter().take_while(|byte| **byte == 0).count();
    let start = if difference[zeros] >= 0x80 {
        zeros - 1
    } else {
        zeros
    };
    let s = &difference[start..];
    let body = [&der[2..r_end], &[2, u8::try_from(s.len()).unwrap()], s].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}

#[test]
fn a_cutoff_denies_what_was_issued_before_it_and_nothing_later() {
    let with_rev = |rev| {
        let parameters = IdentityParameters {
            rev: Revision(rev),
            ..identity_parameters("urn:h:a")
        };
        mint_identity(&key(), &parameters, &mut rng())
            .unwrap()
            .token
    };
    let cutoff = |rev| {
        let mut feed = Feed::new();
        (0..10).for_each(|_| feed.say(Change::Policy { digest: [0; 32] }));
        feed.revoke(
            &Target::Subtree(name("urn:h:a")),
            Cutoff::Before(Revision(5)),
        );
        feed.verify(&with_rev(rev), &Request::bearer()).code()
    };
    assert_eq!(
        (cutoff(4), cutoff(5), cutoff(6)),
        ("revoked", "allow", "allow")
    );
}

#[test]
fn a_cutoff_denies_a_token_without_a_revision() {
    // A published minter's identity, by our key: no `rev`.
    let root =
        KeyPair::from(&biscuit_auth::PrivateKey::from_bytes(&[1; 32], Algorithm::Ed25519).unwrap());
    let token = biscuit_auth::macros::biscuit!(
        r#"subject("urn:h:a");
           check if actor($a), $a == "urn:h:a" || $a.starts_with("urn:h:a" + ":");
           check if time($time), $time < 1800003600;"#
    );
    let token = token.build(&root).unwrap().to_base64().unwrap();
    assert_eq!(
        Feed::new().verify(&token, &Request::bearer()).code(),
        "allow"
    );
    assert_eq!(
        code_with(
            &Target::Subtree(name("urn:h:a")),
            Cutoff::Before(Revision(1)),
            &token
        ),
        "revoked"
    );
    // Without a key id the key that verified is the one that rules are asked about.
    assert_eq!(code(&Target::Key(KEY_ID), &token), "revoked");
}

#[test]
fn a_lock_lasts_until_its_end_and_the_skew_after_it() {
    let (mut feed, token) = (Feed::new(), identity("urn:h:a"));
    let until = UnixSeconds(NOW.0 + 100);
    feed.lock(&Target::Lock(name("urn:h")), until);
    let skew = VerifierConfig::default().skew_seconds;
    let code = |wall| {
        feed.verify_as(
            VerifierConfig::default(),
            &token,
            &Request::bearer(),
            Some(Duration::ZERO),
            UnixSeconds(wall),
        )
        .code()
    };
    assert_eq!(
        (
            code(until.0),
            code(until.0 + skew - 1),
            code(until.0 + skew)
        ),
        ("revoked", "revoked", "allow")
    );
}

#[test]
fn a_retired_key_verifies_and_a_revoked_one_denies() {
    let token = identity("urn:h:a");
    let with = |state| {
        let mut feed = Feed::new();
        feed.say(Change::Key(key().record(state)));
        feed.verify(&token, &Request::bearer()).code()
    };
    assert_eq!(with(KeyState::Prepared), "allow");
    assert_eq!(with(KeyState::Active), "allow");
    assert_eq!(with(KeyState::Retired), "allow");
    assert_eq!(with(KeyState::Revoked), "key_revoked");
    assert_eq!(code(&Target::Key(KEY_ID), &token), "revoked");
}

#[test]
fn a_revoked_key_is_revoked_under_every_id_and_for_pinned_verifiers() {
    let token = identity("urn:h:a");
    let mut feed = Feed::new();
    let other = PublicKeyRecord {
        id: 99,
        ..key().record(KeyState::Revoked)
    };
    feed.say(Change::Key(other));
    assert_eq!(
        feed.verify(&token, &Request::bearer()).code(),
        "key_revoked"
    );
    let pinned = keyring();
    let knowledge = Knowledge {
        keyring: &pinned,
        view: Some(&feed.view),
        freshness: None,
    };
    assert_eq!(
        TokenVerifier::default()
            .verify(&token, &Request::bearer(), &knowledge, now())
            .code(),
        "key_revoked"
    );
}

#[test]
fn a_rule_about_the_client_certificate_covers_the_token() {
    let token = identity("urn:h:a");
    assert_eq!(code(&Target::Certificate([3; 32]), &token), "revoked");
    assert_eq!(code(&Target::Certificate([4; 32]), &token), "allow");
}

#[test]
fn a_rule_about_the_key_of_a_third_party_block_covers_the_token() {
    let token = delegated(&identity("urn:h:a"), "urn:h:a:b");
    let seen = inspect(&token, &Limits::default()).unwrap();
    let third_party = seen.blocks[1].external_key.clone().unwrap();
    assert_eq!((&third_party[..4], third_party.len()), (&[0; 4][..], 36));
    let mut feed = Feed::new();
    let digest = Digest::of(feed.view.set.salt(), RuleKind::Key, &third_party);
    feed.say(Change::Put(Rule {
        kind: RuleKind::Key,
        digest,
        depth: 0,
        cutoff: Cutoff::Permanent,
        until: None,
    }));
    assert_eq!(feed.verify(&token, &Request::bearer()).code(), "revoked");
}

#[test]
fn a_rule_of_an_unknown_kind_denies() {
    let mut feed = Feed::new();
    let rule = Rule {
        kind: RuleKind::Unknown(77),
        digest: Digest([1; 16]),
        depth: 0,
        cutoff: Cutoff::Permanent,
        until: None,
    };
    feed.say(Change::Put(rule));
    let verdict = feed.verify(&identity("urn:h:a"), &Request::bearer());
    assert_eq!(verdict.code(), "revoked");
    let Verdict::Deny(reason) = verdict else {
        panic!("not denied")
    };
    assert!(reason.to_string().contains("upgrade"), "{reason}");
}

#[test]
fn lifting_and_revoking_again_denies_again() {
    let (mut feed, token) = (Feed::new(), identity("urn:h:a"));
    let target = Target::Subtree(name("urn:h:a"));
    feed.revoke(&target, Cutoff::Permanent);
    feed.say(Change::Remove {
        kind: target.kind(),
        digest: target.digest(feed.view.set.salt()),
    });
    assert_eq!(feed.verify(&token, &Request::bearer()).code(), "allow");
    feed.revoke(&target, Cutoff::Permanent);
    assert_eq!(feed.verify(&token, &Request::bearer()).code(), "revoked");
}

#[test]
fn a_revoked_key_of_the_authority_is_no_party_any_more() {
    let former = Key::new(8, 2);
    let mut feed = Feed::new();
    feed.say(Change::Key(former.record(KeyState::Retired)));
    let party = ServiceNode {
        component: "authority".into(),
        key: ThirdPartyKey::ed25519(&former.public_key()).unwrap(),
    };
    let parameters = authorization_parameters("urn:h:alice");
    let minted = mint_multi_party(&key(), &parameters, &[party], &mut rng()).unwrap();
    let signed = sign_off(
        &minted.token,
        &keyring(),
        "authority",
        &former,
        NOW,
        &mut rng(),
    );
    let (signed, read) = (signed.unwrap(), Request::capability("ledger", "read"));
    assert_eq!(feed.verify(&signed, &read).code(), "allow");
    feed.say(Change::Key(former.record(KeyState::Revoked)));
    assert_eq!(feed.verify(&signed, &read).code(), "key_revoked");
}
