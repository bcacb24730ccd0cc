//! A verifier that remembers says what one that does not says, and does less.

use std::hash::RandomState;
use std::time::Duration;

use biscuit_auth::format::schema;
use biscuit_auth::{Algorithm, Biscuit, KeyPair, PrivateKey, PublicKey};
use data_encoding::BASE64URL;
use hessra_revocation::*;
use hessra_sdk_core::*;
use proptest::prelude::*;
use prost_biscuit::Message;

use crate::fixture::*;

/// One verifier with a memory, and what it knows.
struct Service {
    verifier: RememberingVerifier,
    feed: Feed,
}

impl Service {
    fn new(size: MemorySize) -> Self {
        let verifier = TokenVerifier::default();
        Self {
            verifier: RememberingVerifier::new(verifier, size, RandomState::new()),
            feed: Feed::new(),
        }
    }

    /// Verdict, which is that of a verifier that remembers nothing.
    fn check(&self, token: &str, request: &Request, wall: UnixSeconds) -> &'static str {
        let keyring = Keyring::from_view(&self.feed.view);
        self.check_with(token, request, &keyring, wall)
    }

    fn check_with(
        &self,
        token: &str,
        request: &Request,
        keyring: &Keyring,
        wall: UnixSeconds,
    ) -> &'static str {
        let now = Now { wall, ..now() };
        let knowledge = Knowledge {
            keyring,
            view: Some(&self.feed.view),
            freshness: Some(Freshness {
                as_of: Some(now.monotonic),
                fresh_for: Duration::from_secs(60),
            }),
        };
        let verdict = self.verifier.verify(token, request, &knowledge, now);
        let plain = self
            .verifier
            .verifier()
            .verify(token, request, &knowledge, now);
        assert_eq!(said(&verdict), said(&plain));
        verdict.code()
    }
}

fn service() -> Service {
    Service::new(MemorySize::default())
}

const WORKER: &str = "urn:h:alice:agent:worker";

/// Child of a child of alice's identity, and that child.
fn worker() -> (String, String) {
    let agent = delegated(&identity("urn:h:alice"), "urn:h:alice:agent");
    (delegated(&agent, WORKER), agent)
}

#[test]
fn what_was_permitted_is_denied_once_it_is_revoked_or_has_ended() {
    let (token, _) = worker();
    let request = Request::identity(name(WORKER));
    for target in [
        Target::Subtree(name("urn:h:alice:agent")),
        Target::Exact(name(WORKER)),
        Target::Lock(name("urn:h")),
        Target::Token(ids(&token).remove(1)),
        Target::Key(KEY_ID),
        Target::Certificate([3; 32]),
    ] {
        let mut service = service();
        assert_eq!(service.check(&token, &request, NOW), "allow");
        assert_eq!(service.check(&token, &request, ENDS), "expired");
        service.feed.revoke(&target, Cutoff::Permanent);
        assert_eq!(
            service.check(&token, &request, NOW),
            "revoked",
            "{target:?}"
        );
    }
}

#[test]
fn a_key_that_is_revoked_or_gone_is_believed_no_more() {
    let (token, _) = worker();
    let request = Request::identity(name(WORKER));
    let mut service = service();
    assert_eq!(service.check(&token, &request, NOW), "allow");
    let others = Keyring::from_records([&Key::new(8, 8).record(KeyState::Active)]);
    assert_eq!(
        service.check_with(&token, &request, &others, NOW),
        "unknown_key"
    );
    service
        .feed
        .say(Change::Key(key().record(KeyState::Revoked)));
    assert_eq!(service.check(&token, &request, NOW), "key_revoked");
}

#[test]
fn another_request_and_another_token_are_others() {
    let (token, agent) = worker();
    let service = service();
    let as_worker = Request::identity(name(WORKER));
    assert_eq!(service.check(&token, &as_worker, NOW), "allow");
    assert_eq!(
        service.check(&agent, &as_worker, NOW),
        "allow",
        "below a delegable name"
    );
    let as_agent = Request::identity(name("urn:h:alice:agent"));
    assert_eq!(service.check(&token, &as_agent, NOW), "actor_mismatch");
    let in_domain = as_worker.in_domain(DomainClaim::Required("urn:h:realm".into()));
    assert_eq!(service.check(&token, &in_domain, NOW), "domain_mismatch");
}

/// A token and the places of its signatures: block, and whether it is the third party's.
fn envelope(token: &str) -> schema::Biscuit {
    schema::Biscuit::decode(BASE64URL.decode(token.as_bytes()).unwrap().as_slice()).unwrap()
}

fn text(envelope: &schema::Biscuit) -> String {
    BASE64URL.encode(&envelope.encode_to_vec())
}

#[test]
fn no_part_of_a_token_passes_because_another_token_had_it() {
    let (token, agent) = worker();
    let sibling = delegated(&agent, "urn:h:alice:agent:other");
    let bob = delegated(&identity("urn:h:bob"), "urn:h:bob:agent");
    let service = service();
    for good in [&token, &sibling, &bob] {
        assert_eq!(service.check(good, &Request::bearer(), NOW), "allow");
    }
    // Every signature was seen before, each in its own place.
    let (mine, theirs) = (envelope(&token), envelope(&sibling));
    let mut mixed = mine.clone();
    mixed.blocks[1]
        .signature
        .clone_from(&theirs.blocks[1].signature);
    assert_eq!(
        service.check(&text(&mixed), &Request::bearer(), NOW),
        "bad_signature"
    );
    let mut mixed = mine.clone();
    mixed.blocks[1]
        .external_signature
        .clone_from(&theirs.blocks[1].external_signature);
    assert_eq!(
        service.check(&text(&mixed), &Request::bearer(), NOW),
        "bad_signature"
    );
    let mut mixed = mine.clone();
    mixed.authority = envelope(&bob).authority;
    assert_eq!(
        service.check(&text(&mixed), &Request::bearer(), NOW),
        "bad_signature"
    );
    let mut mixed = mine.clone();
    mixed.blocks.remove(0);
    assert_eq!(
        service.check(&text(&mixed), &Request::bearer(), NOW),
        "bad_signature"
    );
    // Nor does a secret that is not that of its last block.
    let mut mixed = mine;
    mixed.proof.content = Some(schema::proof::Content::NextSecret(vec![7; 32]));
    assert_eq!(
        service.check(&text(&mixed), &Request::bearer(), NOW),
        "bad_signature"
    );
}

/// The token with one more block of its holder, of this content.
fn appended(token: &str, content: &schema::Block) -> String {
    let mut envelope = envelope(token);
    let Some(schema::proof::Content::NextSecret(secret)) = &envelope.proof.content else {
        panic!("it is sealed");
    };
    let pair =
        |secret: &[u8]| KeyPair::from(&PrivateKey::from_bytes(secret, Algorithm::Ed25519).unwrap());
    let (current, next) = (pair(secret), pair(&[9; 32]));
    let (block, next_key) = (content.encode_to_vec(), next.public().to_proto());
    let algorithm = next_key.algorithm.to_le_bytes();
    let message = [block.as_slice(), &algorithm, &next_key.key].concat();
    envelope.blocks.push(schema::SignedBlock {
        block,
        next_key,
        signature: current.sign(&message).unwrap().to_bytes().to_vec(),
        external_signature: None,
        version: None,
    });
    envelope.proof.content = Some(schema::proof::Content::NextSecret(vec![9; 32]));
    text(&envelope)
}

/// Verdict of the library alone about an identity of alice.
fn library_permits(token: &str) -> bool {
    let public = PublicKey::from_bytes(&key().public_key(), Algorithm::Ed25519).unwrap();
    let time = i64::try_from(NOW.0).unwrap();
    let builder = biscuit_auth::macros::authorizer!(
        r#"time({time}); actor("urn:h:alice"); allow if actor("urn:h:alice");"#
    );
    Biscuit::from_base64(token, public).is_ok_and(|biscuit| authorizes(builder, &biscuit))
}

#[test]
fn what_the_library_does_not_read_or_finds_unmet_is_not_permitted_by_comparing() {
    let alice = identity("urn:h:alice");
    let public = PublicKey::from_bytes(&key().public_key(), Algorithm::Ed25519).unwrap();
    let bounded = Biscuit::from_base64(&alice, public).unwrap();
    let bounded = bounded.append(biscuit_auth::macros::block!(
        "check if time($t), $t < 1800003000"
    ));
    let bounded = bounded.unwrap().container().to_proto();
    let content = schema::Block::decode(bounded.blocks[0].block.as_slice()).unwrap();
    let service = service();
    let good = appended(&alice, &content);
    assert_eq!(service.check(&good, &Request::bearer(), NOW), "allow");
    assert!(library_permits(&good));

    let versions = [None, Some(0), Some(2), Some(7), Some(u32::MAX)];
    let mut wrong: Vec<schema::Block> = versions
        .into_iter()
        .map(|version| schema::Block {
            version,
            ..content.clone()
        })
        .collect();
    let key = public.to_proto();
    wrong.push(schema::Block {
        public_keys: vec![key.clone(), key],
        ..content.clone()
    });
    // A head that asks for what the body does not bind.
    let mut unbound = content.clone();
    unbound.checks[0].queries[0].head.terms = vec![schema::Term {
        content: Some(schema::term::Content::Variable(1_000)),
    }];
    wrong.push(unbound);
    for content in &wrong {
        let token = appended(&alice, content);
        assert!(!library_permits(&token), "{content:?}");
        for _ in 0..2 {
            assert_ne!(
                service.check(&token, &Request::bearer(), NOW),
                "allow",
                "{content:?}"
            );
        }
    }
}

#[test]
fn a_feed_that_knows_the_key_by_another_id_later_is_asked_about_that_one() {
    let token = identity("urn:h:alice");
    let mut service = service();
    service.feed.view.keys.clear();
    let pinned = Keyring::from_public_key(&key().public_key()).unwrap();
    assert_eq!(
        service.check_with(&token, &Request::bearer(), &pinned, NOW),
        "allow"
    );
    let other = Key::new(99, 1);
    service
        .feed
        .say(Change::Key(other.record(KeyState::Active)));
    service.feed.revoke(&Target::Key(99), Cutoff::Permanent);
    for _ in 0..2 {
        assert_eq!(
            service.check_with(&token, &Request::bearer(), &pinned, NOW),
            "revoked"
        );
    }
}

#[test]
fn a_token_without_a_key_id_is_believed_by_the_keys_that_are_tried_only() {
    let mut unnamed = envelope(&identity("urn:h:alice"));
    unnamed.root_key_id = None;
    let token = text(&unnamed);
    let service = service();
    let records: Vec<PublicKeyRecord> = (8..30)
        .map(|id| Key::new(id, id as u8).record(KeyState::Active))
        .collect();
    let own = key().record(KeyState::Active);
    let few = Keyring::from_records([&own].into_iter().chain(&records[..3]));
    assert_eq!(
        service.check_with(&token, &Request::bearer(), &few, NOW),
        "allow"
    );
    let many = Keyring::from_records([&own].into_iter().chain(&records));
    assert_eq!(
        service.check_with(&token, &Request::bearer(), &many, NOW),
        "bad_signature"
    );
    let retired = key().record(KeyState::Revoked);
    let revoked = Keyring::from_records([&retired].into_iter().chain(&records[..3]));
    assert_eq!(
        service.check_with(&token, &Request::bearer(), &revoked, NOW),
        "key_revoked"
    );
}

#[test]
fn a_request_that_is_longer_than_a_memory_keeps_is_answered_all_the_same() {
    let (token, service) = (identity("urn:h:alice"), service());
    let long = Request::Identity {
        expected: None,
        purpose: Some(Purpose {
            resource: "r".repeat(60_000),
            operation: "read".into(),
        }),
        domain: DomainClaim::default(),
    };
    for _ in 0..2 {
        assert_eq!(service.check(&token, &long, NOW), "allow");
    }
}

#[test]
fn a_sealed_token_is_remembered_too_and_its_seal_is_verified() {
    let (token, _) = worker();
    let public = PublicKey::from_bytes(&key().public_key(), Algorithm::Ed25519).unwrap();
    let sealed = Biscuit::from_base64(&token, public)
        .unwrap()
        .seal()
        .unwrap();
    let mut sealed = sealed.container().to_proto();
    let service = service();
    assert_eq!(
        service.check(&text(&sealed), &Request::bearer(), NOW),
        "allow"
    );
    assert_eq!(
        service.check(&text(&sealed), &Request::bearer(), NOW),
        "allow"
    );
    if let Some(schema::proof::Content::FinalSignature(seal)) = &mut sealed.proof.content {
        seal[0] ^= 1;
    }
    assert_eq!(
        service.check(&text(&sealed), &Request::bearer(), NOW),
        "bad_signature"
    );
}

#[test]
fn checks_of_a_holders_own_making_are_evaluated_each_time() {
    let config = VerifierConfig {
        policy_checks: PolicyChecks::Evaluate,
        ..VerifierConfig::default()
    };
    let checks = "check if time($t), $t >= 1800000010";
    let token = try_delegate(&identity("urn:h:alice"), "urn:h:alice:a", Some(checks));
    let token = token.unwrap().token;
    let mut service = service();
    let verifier = TokenVerifier::new(config);
    service.verifier =
        RememberingVerifier::new(verifier, MemorySize::default(), RandomState::new());
    for (wall, code) in [
        (10, "allow"),
        (0, "check_failed"),
        (10, "allow"),
        (9, "check_failed"),
    ] {
        let wall = UnixSeconds(NOW.0 + wall);
        assert_eq!(service.check(&token, &Request::bearer(), wall), code);
    }
}

#[test]
fn a_memory_of_any_size_changes_no_verdict() {
    for size in [0, 1, 4, 8] {
        let size = MemorySize {
            tokens: size,
            signatures: size,
        };
        let mut service = Service::new(size);
        let names: Vec<String> = (0..20).map(|at| format!("urn:h:alice:a{at}")).collect();
        let alice = identity("urn:h:alice");
        let tokens: Vec<String> = names.iter().map(|child| delegated(&alice, child)).collect();
        for round in 0..2 {
            for token in &tokens {
                assert_eq!(
                    service.check(token, &Request::bearer(), NOW),
                    "allow",
                    "{round}"
                );
            }
        }
        service
            .feed
            .revoke(&Target::Subtree(name("urn:h:alice")), Cutoff::Permanent);
        for token in &tokens {
            assert_eq!(service.check(token, &Request::bearer(), NOW), "revoked");
        }
    }
}

#[test]
fn a_remembered_check_allocates_nothing_at_any_depth() {
    let mut token = identity("urn:h:alice");
    let mut actor = "urn:h:alice".to_owned();
    for depth in 0..5 {
        let mut service = service();
        service
            .feed
            .revoke(&Target::Subtree(name("urn:h:bob")), Cutoff::Permanent);
        service.feed.lock(&Target::Lock(name("urn:h:carol")), ENDS);
        let keyring = Keyring::from_view(&service.feed.view);
        let request = Request::identity(name(&actor));
        let knowledge = Knowledge {
            keyring: &keyring,
            view: Some(&service.feed.view),
            freshness: Some(Freshness {
                as_of: Some(now().monotonic),
                fresh_for: Duration::from_secs(60),
            }),
        };
        let check = || {
            let verdict = service.verifier.verify(&token, &request, &knowledge, now());
            assert!(verdict.is_allow(), "{verdict:?}");
        };
        assert!(
            allocation_counter::measure(check).count_total > 0,
            "the first one parses"
        );
        let again = allocation_counter::measure(check);
        assert_eq!(again.count_total, 0, "{depth} delegations");
        actor.push_str(":a");
        token = delegated(&token, &actor);
    }
}

proptest! {
    /// Identities of any chain, asked about anything, at any time: comparing permits what Datalog permits.
    #[test]
    fn comparing_says_what_datalog_says(
        depth in 0..4usize,
        restricted in any::<bool>(),
        asked in 0..6usize,
        claim in 0..4usize,
        seconds in 3_590..3_610u64,
    ) {
        let subject = "urn:h:realm:alice";
        let mut token = if restricted { domain_identity(subject) } else { identity(subject) };
        let mut names = vec![subject.to_owned()];
        for step in 0..depth {
            let child = format!("{}:s{step}", names[names.len() - 1]);
            // A restricted identity is not delegated by those who do not confirm its domain.
            if let Ok(delegated) = try_delegate(&token, &child, None) {
                token = delegated.token;
                names.push(child);
            }
        }
        names.extend([format!("{subject}x"), format!("{subject}:s0:s1x"), "urn:h:realm".to_owned()]);
        let claims = [
            DomainClaim::Unconfirmed,
            DomainClaim::OfToken,
            DomainClaim::Confirmed("urn:h:realm".into()),
            DomainClaim::Required("urn:h:other".into()),
        ];
        let actor = names[asked % names.len()].as_str();
        let request = Request::identity(name(actor)).in_domain(claims[claim].clone());
        let wall = UnixSeconds(NOW.0 + seconds);
        let service = service();
        let code = service.check(&token, &request, wall);
        // The library alone: every check of the token, with the facts of the request.
        let public = PublicKey::from_bytes(&key().public_key(), Algorithm::Ed25519).unwrap();
        let biscuit = Biscuit::from_base64(&token, public).unwrap();
        let time = i64::try_from(wall.0).unwrap();
        let mut builder = biscuit_auth::macros::authorizer!(
            "time({time}); actor({actor}); allow if subject({subject}), actor({actor});"
        );
        let domain = match &claims[claim] {
            DomainClaim::Confirmed(domain) | DomainClaim::Required(domain) => Some(domain.as_str()),
            DomainClaim::OfToken if restricted => Some("urn:h:realm"),
            _ => None,
        };
        if let Some(domain) = domain {
            builder = builder.fact(biscuit_auth::macros::fact!("domain({domain})")).unwrap();
        }
        if code == "allow" {
            prop_assert!(authorizes(builder, &biscuit), "{actor} {wall}");
        } else {
            prop_assert_ne!(code, "check_failed", "the structure says it before");
        }
    }
}
