//! The conformance vectors of revocation, run with real tokens.
//!
//! Ids and third-party keys in the vectors are made up, and no token can have them: those cases are in `revoked`.

use std::time::Duration;

use biscuit_auth::builder::Algorithm;
use biscuit_auth::macros::{biscuit, fact};
use biscuit_auth::{BiscuitBuilder, KeyPair, PrivateKey};
use data_encoding::HEXLOWER;
use serde::Deserialize;

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;

#[derive(Deserialize)]
struct Vectors {
    salt: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    expected: String,
    query: Shown,
    rules: Vec<GivenRule>,
}

#[derive(Deserialize)]
struct GivenRule {
    canonical: String,
}

#[derive(Deserialize)]
struct Shown {
    identities: Option<Vec<String>>,
    token_ids: Option<Vec<String>>,
    third_party_keys: Option<Vec<String>>,
    root_key: Option<u32>,
    certificate: Option<String>,
    rev: Option<u64>,
    now: Option<u64>,
    #[serde(default)]
    skew_seconds: u64,
}

#[test]
fn real_tokens_get_the_verdicts_of_the_conformance_vectors() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../vectors/revocation.json")).unwrap();
    let salt = FeedSalt(bytes(&vectors.salt).try_into().unwrap());
    let (mut ran, mut skipped) = (0, 0);
    for case in &vectors.cases {
        if !a_token_can_show(&case.query) {
            skipped += 1;
            continue;
        }
        ran += 1;
        assert_eq!(verdict(case, salt), case.expected, "{}", case.name);
    }
    // Six about ids, one about a third-party key, two with numbers that Datalog does not hold.
    assert_eq!((ran, skipped), (vectors.cases.len() - 9, 9));
}

fn a_token_can_show(query: &Shown) -> bool {
    let holds = |number: Option<u64>| number.is_none_or(|number| i64::try_from(number).is_ok());
    query.token_ids.is_none()
        && query.third_party_keys.is_none()
        && holds(query.rev)
        && holds(query.now)
}

fn verdict(case: &Case, salt: FeedSalt) -> String {
    let mut view = View::new(FeedId([1; 16]), Epoch(1), salt);
    view.revision = Revision(1000);
    for rule in &case.rules {
        view.set
            .put(Rule::from_bytes(&bytes(&rule.canonical)).unwrap());
    }
    let now = Now {
        wall: UnixSeconds(case.query.now.unwrap_or(NOW.0)),
        ..now()
    };
    let freshness = Some(Freshness {
        as_of: Some(now.monotonic),
        fresh_for: Duration::from_secs(5),
    });
    let keyring = keyring();
    let knowledge = Knowledge {
        keyring: &keyring,
        view: Some(&view),
        freshness,
    };
    let verifier = TokenVerifier::new(VerifierConfig {
        skew_seconds: case.query.skew_seconds,
        ..VerifierConfig::default()
    });
    let (token, request) = token(&case.query, now.wall);
    match verifier.verify(&token, &request, &knowledge, now) {
        Verdict::Allow(_) => "allow".into(),
        Verdict::Deny(DenyReason::Revoked {
            by: RuleKind::Unknown(number),
        }) => format!("deny unknown {number}"),
        Verdict::Deny(DenyReason::Revoked { by }) => format!("deny {by:?}").to_lowercase(),
        Verdict::Deny(DenyReason::MalformedIdentity(_)) => "refused".into(),
        other => format!("{other:?}"),
    }
}

/// Token and request of a query, built with the library, because the minter refuses names that are not canonical.
fn token(query: &Shown, now: UnixSeconds) -> (String, Request) {
    let ends = i64::try_from(now.0 + 60).unwrap();
    let names = query.identities.as_deref().unwrap_or_default();
    let subject = names.first().map_or("urn:h:someone", String::as_str);
    let (mut builder, request) = match names.get(1) {
        None => (identity_of(subject, ends), Request::bearer()),
        // The second name is the subject of a right that is not asked for.
        Some(other) => (
            biscuit!(
                r#"right({subject}, "r", "o"); right({other}, "r", "p");
                   check if resource($res), operation($op), right($sub, $res, $op);
                   check if time($time), $time < {ends};"#,
                other = other.as_str(),
            ),
            Request::authorization(name(subject), "r", "o"),
        ),
    };
    if let Some(rev) = query.rev {
        builder = builder
            .fact(fact!("rev({rev})", rev = i64::try_from(rev).unwrap()))
            .unwrap();
    }
    if let Some(certificate) = &query.certificate {
        builder = builder
            .fact(fact!("cert({print})", print = bytes(certificate)))
            .unwrap();
    }
    if let Some(id) = query.root_key {
        builder = builder.root_key_id(id);
    }
    let root = KeyPair::from(&PrivateKey::from_bytes(&[1; 32], Algorithm::Ed25519).unwrap());
    (builder.build(&root).unwrap().to_base64().unwrap(), request)
}

fn identity_of(subject: &str, ends: i64) -> BiscuitBuilder {
    biscuit!(
        r#"subject({subject});
           check if actor($a), $a == {subject} || $a.starts_with({subject} + ":");
           check if time($time), $time < {ends};"#
    )
}

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}
