//! Denial needs no freshness; permission does.

use std::time::Duration;

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;

const BOUND: Duration = Duration::from_secs(5);

fn millis(count: u64) -> Option<Duration> {
    Some(Duration::from_millis(count))
}

fn with(staleness: StalenessPolicy) -> VerifierConfig {
    VerifierConfig {
        staleness,
        ..VerifierConfig::default()
    }
}

#[test]
fn knowledge_is_trusted_up_to_its_bound_and_not_a_millisecond_longer() {
    let (feed, token) = (Feed::new(), identity("urn:h:alice"));
    let code = |age| {
        feed.verify_as(
            with(StalenessPolicy::Strict { max: BOUND }),
            &token,
            &Request::bearer(),
            age,
            NOW,
        )
        .code()
    };
    assert_eq!(code(millis(4_999)), "allow");
    assert_eq!(code(millis(5_000)), "allow");
    assert_eq!(code(millis(5_001)), "stale");
    assert_eq!(code(None), "never_synced");
}

#[test]
fn the_cluster_can_only_tighten_the_bound() {
    let (feed, token) = (Feed::new(), identity("urn:h:alice"));
    let hour = StalenessPolicy::Strict {
        max: Duration::from_secs(3600),
    };
    let code = |age| {
        feed.verify_as(with(hour), &token, &Request::bearer(), age, NOW)
            .code()
    };
    assert_eq!(code(millis(60_000)), "allow");
    assert_eq!(code(millis(60_001)), "stale");
}

#[test]
fn revoked_stays_denied_when_the_feed_goes_quiet() {
    let (mut feed, token) = (Feed::new(), identity("urn:h:alice"));
    feed.revoke(&Target::Subtree(name("urn:h:alice")), Cutoff::Permanent);
    for staleness in [StalenessPolicy::default(), StalenessPolicy::BestEffort] {
        for age in [millis(0), millis(90_000), None] {
            assert_eq!(
                feed.verify_as(with(staleness), &token, &Request::bearer(), age, NOW)
                    .code(),
                "revoked"
            );
        }
    }
}

#[test]
fn a_token_that_is_bad_by_itself_is_denied_however_old_the_knowledge() {
    let (feed, token) = (Feed::new(), identity("urn:h:alice"));
    assert_eq!(
        feed.verify_aged(&token, &Request::identity(name("urn:h:bob")), None)
            .code(),
        "actor_mismatch"
    );
    assert_eq!(
        feed.verify_as(
            VerifierConfig::default(),
            &token,
            &Request::bearer(),
            None,
            ENDS
        )
        .code(),
        "expired"
    );
}

#[test]
fn bounded_permits_stale_knowledge_for_tokens_with_little_life_left() {
    let (feed, token) = (Feed::new(), identity("urn:h:alice"));
    let policy = with(StalenessPolicy::Bounded {
        max: BOUND,
        token_life_max: Duration::from_secs(60),
    });
    let verdict =
        |age, wall| feed.verify_as(policy, &token, &Request::bearer(), age, UnixSeconds(wall));
    assert_eq!(verdict(millis(90_000), ENDS.0 - 61).code(), "stale");
    assert!(
        matches!(verdict(millis(90_000), ENDS.0 - 60), Verdict::Allow(verified) if verified.is_stale())
    );
    assert!(
        matches!(verdict(millis(0), ENDS.0 - 60), Verdict::Allow(verified) if !verified.is_stale())
    );
    assert_eq!(verdict(None, ENDS.0 - 60).code(), "never_synced");
}

#[test]
fn best_effort_permits_and_flags() {
    let (feed, token) = (Feed::new(), identity("urn:h:alice"));
    for age in [millis(90_000), None] {
        let verdict = feed.verify_as(
            with(StalenessPolicy::BestEffort),
            &token,
            &Request::bearer(),
            age,
            NOW,
        );
        assert!(matches!(verdict, Verdict::Allow(verified) if verified.is_stale()));
    }
}

#[test]
fn a_token_newer_than_the_rules_proves_that_the_verifier_is_behind() {
    let feed = Feed::new();
    let at = |rev| {
        let parameters = IdentityParameters {
            rev: Revision(rev),
            ..identity_parameters("urn:h:alice")
        };
        let token = mint_identity(&key(), &parameters, &mut rng())
            .unwrap()
            .token;
        feed.verify(&token, &Request::bearer()).code()
    };
    assert_eq!((at(0), at(1), at(2)), ("allow", "allow", "behind"));
}

#[test]
fn an_unknown_key_is_denied_by_who_is_up_to_date_and_unknown_to_who_is_not() {
    let feed = Feed::new();
    let newcomer = Key::new(8, 2);
    let token = mint_identity(&newcomer, &identity_parameters("urn:h:alice"), &mut rng())
        .unwrap()
        .token;
    let code = |age| feed.verify_aged(&token, &Request::bearer(), age).code();
    assert_eq!(
        (code(millis(0)), code(millis(5_001)), code(None)),
        ("unknown_key", "stale", "never_synced")
    );
}

#[test]
fn without_a_feed_a_good_token_is_unknown_unless_offline_is_asked_for_by_name() {
    let (keyring, token) = (keyring(), identity("urn:h:alice"));
    let verifier = TokenVerifier::new(with(StalenessPolicy::BestEffort));
    let verdict = verifier.verify(
        &token,
        &Request::bearer(),
        &Knowledge::offline(&keyring),
        now(),
    );
    assert_eq!(
        (verdict.code(), verdict.number()),
        ("revocation_not_checked", 101)
    );
    let verdict = verifier.verify_offline(&token, &Request::bearer(), &keyring, NOW);
    assert!(matches!(verdict, Verdict::Allow(verified) if verified.checked_at().is_none()));
}

#[test]
fn rechecking_sees_new_rules_the_end_and_the_age() {
    let (mut feed, token) = (Feed::new(), identity("urn:h:alice"));
    let Verdict::Allow(verified) = feed.verify(&token, &Request::bearer()) else {
        panic!("refused")
    };
    let verifier = TokenVerifier::default();
    let recheck = |feed: &Feed, age: u64, wall| {
        let keyring = Keyring::from_view(&feed.view);
        let as_of = Some(Monotonic(now().monotonic.0 - age));
        let freshness = Some(Freshness {
            as_of,
            fresh_for: BOUND,
        });
        let knowledge = Knowledge {
            keyring: &keyring,
            view: Some(&feed.view),
            freshness,
        };
        verifier
            .recheck(&verified, &knowledge, Now { wall, ..now() })
            .unwrap()
            .code()
    };
    assert_eq!(recheck(&feed, 0, NOW), "allow");
    assert_eq!(recheck(&feed, 5_001, NOW), "stale");
    assert_eq!(recheck(&feed, 0, ENDS), "expired");
    feed.revoke(&Target::Exact(name("urn:h:alice")), Cutoff::Permanent);
    assert_eq!(recheck(&feed, 0, NOW), "revoked");
    let mut feed = Feed::new();
    feed.say(Change::Key(key().record(KeyState::Revoked)));
    assert_eq!(recheck(&feed, 0, NOW), "key_revoked");
}
