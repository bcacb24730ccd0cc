//! Contexts: exposures only grow, and a context is nothing else than a context.

use std::collections::BTreeMap;

use biscuit_auth::macros::{authorizer, block};
use biscuit_auth::{Biscuit, PublicKey};

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;

const SESSION: Session = Session {
    id: [5; 16],
    version: 1,
};

fn parameters(labels: &[&str]) -> ContextParameters {
    let exposures = labels
        .iter()
        .map(|label| ((*label).to_owned(), "tool:web".to_owned()));
    ContextParameters {
        subject: name("urn:h:alice:agent"),
        session: SESSION,
        exposures: exposures.collect(),
        expires_at: ENDS,
        issued_at: NOW,
        rev: REV,
        parents: Vec::new(),
    }
}

fn mint(parameters: &ContextParameters) -> String {
    mint_context(&key(), parameters, &mut rng()).unwrap().token
}

fn excluding(labels: &[&str]) -> Request {
    Request::Context {
        excluded: labels.iter().map(|label| (*label).to_owned()).collect(),
    }
}

fn code(token: &str, labels: &[&str]) -> &'static str {
    Feed::new().verify(token, &excluding(labels)).code()
}

fn verified(token: &str) -> Verified {
    match Feed::new().verify(token, &excluding(&[])) {
        Verdict::Allow(verified) => verified,
        other => panic!("{}", other.code()),
    }
}

#[test]
fn an_exposure_excludes_and_others_do_not() {
    let token = mint(&parameters(&["PII:SSN", "a&b"]));
    assert_eq!(code(&token, &[]), "allow");
    assert_eq!(code(&token, &["PII"]), "allow");
    assert_eq!(code(&token, &["a"]), "allow");
    assert_eq!(code(&token, &["PII:SSN"]), "exposed");
    assert_eq!(code(&token, &["other", "a&b"]), "exposed");
    let verified = verified(&token);
    assert_eq!(verified.exposures(), ["PII:SSN", "a&b"]);
    assert_eq!(verified.session(), Some(SESSION));
    assert_eq!(verified.class(), TokenClass::Context);
    assert_eq!(verified.subject(), &name("urn:h:alice:agent"));
}

#[test]
fn the_next_version_has_everything_that_was_before() {
    let first = mint(&parameters(&["one"]));
    let later = UnixSeconds(NOW.0 + 10);
    let grown = ContextParameters::grown(
        &verified(&first),
        &["two".to_owned()],
        "tool:mail",
        later,
        ENDS,
        REV,
    )
    .unwrap();
    assert_eq!(
        grown.session,
        Session {
            version: 2,
            ..SESSION
        }
    );
    assert_eq!(grown.parents, ids(&first));
    let sources: BTreeMap<_, _> = [("one", "inherited"), ("two", "tool:mail")]
        .map(|(label, source)| (label.to_owned(), source.to_owned()))
        .into();
    assert_eq!(grown.exposures, sources);
    let second = mint(&grown);
    assert_eq!(code(&second, &["one"]), "exposed");
    assert_eq!(code(&second, &["two"]), "exposed");
    // A rule that covers the first version covers the one that grew from it.
    let mut feed = Feed::new();
    feed.revoke(&Target::Token(ids(&first)[0].clone()), Cutoff::Permanent);
    assert_eq!(feed.verify(&second, &excluding(&[])).code(), "revoked");
}

#[test]
fn a_holder_adds_exposures_and_takes_none_away() {
    let token = mint(&parameters(&["one"]));
    let root = PublicKey::from_bytes(&key().public_key(), biscuit_auth::Algorithm::Ed25519);
    let biscuit = Biscuit::from_base64(&token, root.unwrap()).unwrap();
    let append = |block| biscuit.append(block).unwrap().to_base64().unwrap();
    let more = append(block!(r#"reject if exposure("two")"#));
    assert_eq!(verified(&more).exposures(), ["one", "two"]);
    for hostile in [
        block!(r#"exposed_label("three")"#),
        block!(r#"context("urn:h:mallory")"#),
        block!(r#"context("urn:h:mallory") <- context($c)"#),
        block!(r#"check if exposure("one")"#),
    ] {
        assert_eq!(code(&append(hostile), &[]), "unsupported_shape");
    }
}

#[test]
fn no_class_passes_for_another() {
    let context = mint(&parameters(&[]));
    let authorization =
        mint_authorization(&key(), &authorization_parameters("urn:h:alice"), &mut rng());
    let tokens = [
        identity("urn:h:alice"),
        authorization.unwrap().token,
        context,
    ];
    let requests = [
        Request::bearer(),
        Request::capability("ledger", "read"),
        excluding(&[]),
    ];
    for (is, token) in tokens.iter().enumerate() {
        for (wanted, request) in requests.iter().enumerate() {
            let expected = if is == wanted { "allow" } else { "wrong_class" };
            assert_eq!(
                Feed::new().verify(token, request).code(),
                expected,
                "{is} as {wanted}"
            );
        }
    }
}

#[test]
fn a_context_is_of_no_use_to_published_verifiers_of_other_kinds() {
    let root = PublicKey::from_bytes(&key().public_key(), biscuit_auth::Algorithm::Ed25519);
    let biscuit = Biscuit::from_base64(mint(&parameters(&[])), root.unwrap()).unwrap();
    let time = 1_800_000_001i64;
    for builder in [
        authorizer!(r#"time({time}); actor("urn:h:anyone"); allow if true;"#),
        authorizer!(r#"time({time}); resource("r"); operation("o"); allow if true;"#),
        authorizer!(r#"time({time}); subject("s"); resource("r"); operation("o"); allow if true;"#),
    ] {
        assert!(!authorizes(builder, &biscuit));
    }
    let context = authorizer!("time({time}); allow if true;");
    assert!(authorizes(context, &biscuit));
}

#[test]
fn a_session_is_exposed_to_so_much_and_no_more() {
    let labels: Vec<String> = (0..65).map(|number| format!("label-{number}")).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let full = mint(&parameters(&labels[..64]));
    assert_eq!(verified(&full).exposures().len(), 64);
    let over = mint_context(&key(), &parameters(&labels), &mut rng());
    assert!(matches!(over, Err(MintError::TooMany { .. })));
}
