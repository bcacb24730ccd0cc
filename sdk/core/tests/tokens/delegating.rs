//! A child lies below its parent, and nothing else is a child.

use biscuit_auth::macros::block;
use biscuit_auth::{Biscuit, BlockBuilder, PublicKey};

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;

/// Appends what a holder may append offline, with the library alone.
pub(crate) fn append(token: &str, block: BlockBuilder) -> String {
    let key = PublicKey::from_bytes(&key().public_key(), biscuit_auth::Algorithm::Ed25519).unwrap();
    Biscuit::from_base64(token, key)
        .unwrap()
        .append(block)
        .unwrap()
        .to_base64()
        .unwrap()
}

#[test]
fn ten_delegations_verify_and_an_eleventh_is_refused() {
    let (mut token, mut path) = (identity("urn:h:a"), "urn:h:a".to_owned());
    for depth in 1..=10 {
        path = format!("{path}:d{depth}");
        token = delegated(&token, &path);
    }
    let Verdict::Allow(verified) = Feed::new().verify(&token, &Request::bearer()) else {
        panic!("refused")
    };
    assert_eq!(verified.actor().as_str(), path);
    assert_eq!(verified.subject().as_str(), "urn:h:a");
    assert_eq!(verified.chain().len(), 11);
    let eleventh = try_delegate(&token, &format!("{path}:d11"), None);
    assert!(
        matches!(eleventh, Err(DelegateError::TooDeep { limit: 10 })),
        "{eleventh:?}"
    );
}

#[test]
fn a_child_is_strictly_below_its_parent() {
    let parent = delegated(&identity("urn:h:alice"), "urn:h:alice:agent");
    for child in [
        "urn:h:bob",
        "urn:h:alice",
        "urn:h:alice:agent",
        "urn:h:alice:agent2",
        "urn:h:alice:other",
    ] {
        let refused = try_delegate(&parent, child, None).unwrap_err();
        assert!(matches!(refused, DelegateError::NotBelow { .. }), "{child}");
        assert!(
            refused.to_string().contains("`urn:h:alice:agent:agent`"),
            "{refused}"
        );
    }
}

#[test]
fn an_identity_that_is_not_delegatable_is_not_delegated() {
    let parameters = IdentityParameters {
        delegatable: false,
        ..identity_parameters("urn:h:alice")
    };
    let token = mint_identity(&key(), &parameters, &mut rng())
        .unwrap()
        .token;
    assert!(matches!(
        try_delegate(&token, "urn:h:alice:x", None),
        Err(DelegateError::NotDelegatable { .. })
    ));
    let feed = Feed::new();
    assert_eq!(feed.verify(&token, &Request::bearer()).code(), "allow");
    assert_eq!(
        feed.verify(&token, &Request::identity(name("urn:h:alice:x")))
            .code(),
        "actor_mismatch"
    );
}

#[test]
fn a_child_never_outlives_its_parent() {
    let far = Delegation {
        child: name("urn:h:alice:x"),
        expires_at: UnixSeconds(ENDS.0 + 99),
        checks: None,
    };
    let child = delegate(&identity("urn:h:alice"), &keyring(), &far, NOW, &mut rng()).unwrap();
    assert_eq!(child.expires_at, ENDS);
    let past = Delegation {
        expires_at: NOW,
        ..far
    };
    let refused = delegate(&identity("urn:h:alice"), &keyring(), &past, NOW, &mut rng());
    assert!(matches!(refused, Err(DelegateError::Lifetime { .. })));
}

#[test]
fn an_undelegated_identity_can_be_used_below_itself_and_nowhere_else() {
    let (feed, token) = (Feed::new(), identity("urn:h:alice"));
    let code = |actor: &str| feed.verify(&token, &Request::identity(name(actor))).code();
    assert_eq!(code("urn:h:alice:any:thing"), "allow");
    assert_eq!(code("urn:h:alice2"), "actor_mismatch");
    assert_eq!(code("urn:h"), "actor_mismatch");
    assert_eq!(code("urn:h:bob"), "actor_mismatch");
}

#[test]
fn a_sealed_token_verifies_and_is_not_delegated() {
    let public =
        PublicKey::from_bytes(&key().public_key(), biscuit_auth::Algorithm::Ed25519).unwrap();
    let sealed = Biscuit::from_base64(identity("urn:h:alice"), public)
        .unwrap()
        .seal()
        .unwrap()
        .to_base64()
        .unwrap();
    assert_eq!(
        Feed::new().verify(&sealed, &Request::bearer()).code(),
        "allow"
    );
    assert!(matches!(
        try_delegate(&sealed, "urn:h:alice:x", None),
        Err(DelegateError::Sealed)
    ));
}

#[test]
fn only_restrictions_may_be_appended() {
    let (feed, token) = (Feed::new(), identity("urn:h:alice"));
    let code = |block| {
        feed.verify(&append(&token, block), &Request::bearer())
            .code()
    };
    assert_eq!(code(block!("check if time($t), $t < 1800000005;")), "allow");
    assert_eq!(
        code(block!("check if time($t), $t < 1800000000;")),
        "expired"
    );
    assert_eq!(
        code(block!(r#"subject("urn:h:bob");"#)),
        "unsupported_shape"
    );
    assert_eq!(code(block!(r#"rev(999);"#)), "unsupported_shape");
    assert_eq!(
        code(block!(r#"subject($x) <- actor($x);"#)),
        "unsupported_shape"
    );
    assert_eq!(
        code(block!(r#"check if actor("urn:h:alice");"#)),
        "unsupported_shape"
    );
    assert_eq!(
        code(block!(
            r#"check if actor($a), $a == "urn:h:alice" || $a.starts_with("urn:h:bob" + ":");"#
        )),
        "unsupported_shape"
    );
    assert_eq!(
        code(block!(
            r#"check if actor($a), $a == "urn:h:bob" || $a.starts_with("urn:h:bob" + ":");"#
        )),
        "broken_chain"
    );
    assert_eq!(
        code(block!(
            r#"check if actor($a), $a == "urn:h:alice:" || $a.starts_with("urn:h:alice:" + ":");"#
        )),
        "malformed_identity"
    );
    assert_eq!(
        code(block!(r#"check if actor($a), $a == "urn:h:alice:%3a";"#)),
        "malformed_identity"
    );
    assert_eq!(
        code(block!(r#"check if resource("ledger");"#)),
        "unsupported_shape"
    );
    assert_eq!(code(block!(r#"check if domain("d");"#)), "domain_required");
}

#[test]
fn a_text_that_prints_as_a_delegation_is_not_one() {
    // Biscuit prints strings without escaping them: this one prints as two checks.
    let forged = r#"x") || true; check if actor($a), $a == "urn:h:bob"#;
    let block = block!(r#"check if forged({forged});"#);
    let token = append(&identity("urn:h:alice"), block);
    let source = Token::parse(&token, &Limits::default())
        .unwrap()
        .source(1)
        .unwrap();
    assert!(source.contains(r#"$a == "urn:h:bob""#), "{source}");
    assert_eq!(
        Feed::new().verify(&token, &Request::bearer()).code(),
        "unsupported_shape"
    );
}

#[test]
fn further_checks_hold_where_they_are_evaluated_and_are_refused_elsewhere() {
    let checks = Some(r#"check if resource("ledger"), operation("read")"#);
    let token = try_delegate(&identity("urn:h:alice"), "urn:h:alice:x", checks)
        .unwrap()
        .token;
    let feed = Feed::new();
    let evaluate = VerifierConfig {
        policy_checks: PolicyChecks::Evaluate,
        ..VerifierConfig::default()
    };
    let code = |config, operation: Option<&str>| {
        let purpose = operation.map(|operation| Purpose {
            resource: "ledger".into(),
            operation: operation.into(),
        });
        let request = Request::Identity {
            expected: None,
            purpose,
            domain: DomainClaim::Unconfirmed,
        };
        feed.verify_as(
            config,
            &token,
            &request,
            Some(std::time::Duration::ZERO),
            NOW,
        )
        .code()
    };
    assert_eq!(code(evaluate, Some("read")), "allow");
    assert_eq!(code(evaluate, Some("write")), "check_failed");
    assert_eq!(code(evaluate, None), "check_failed");
    assert_eq!(
        code(VerifierConfig::default(), Some("read")),
        "unsupported_shape"
    );
    // A grandchild can be made without knowing what the checks ask for.
    let grandchild = delegated(&token, "urn:h:alice:x:y");
    let request = Request::Identity {
        expected: None,
        purpose: None,
        domain: DomainClaim::Unconfirmed,
    };
    assert_eq!(
        feed.verify_as(
            evaluate,
            &grandchild,
            &request,
            Some(std::time::Duration::ZERO),
            NOW
        )
        .code(),
        "check_failed"
    );
}

#[test]
fn further_checks_can_do_nothing_but_restrict() {
    for source in [
        "",
        "right(1)",
        "a($x) <- b($x)",
        r#"check if actor("urn:h:alice")"#,
        r#"check if subject($s)"#,
        r#"check if time($t), $t < 5 trusting ed25519/8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"#,
        "check if",
    ] {
        let refused = try_delegate(&identity("urn:h:alice"), "urn:h:alice:x", Some(source));
        assert!(
            matches!(refused, Err(DelegateError::Check(_))),
            "{source}: {refused:?}"
        );
    }
}

#[test]
fn checks_that_do_not_finish_are_unknown_and_never_denied() {
    let checks = Some(r#"check if resource("ledger")"#);
    let token = try_delegate(&identity("urn:h:alice"), "urn:h:alice:x", checks)
        .unwrap()
        .token;
    let config = VerifierConfig {
        policy_checks: PolicyChecks::Evaluate,
        datalog_time_max: std::time::Duration::ZERO,
        ..VerifierConfig::default()
    };
    let verdict = Feed::new().verify_as(
        config,
        &token,
        &Request::bearer(),
        Some(std::time::Duration::ZERO),
        NOW,
    );
    assert!(
        matches!(verdict, Verdict::Unknown(UnknownReason::LimitExceeded)),
        "{verdict:?}"
    );
}

#[test]
fn inspecting_shows_the_chain_and_why_it_would_be_refused() {
    let token = delegated(&identity("urn:h:alice"), "urn:h:alice:x");
    let token = append(&token, block!("check if time($t), $t < 1800000005;"));
    let seen = inspect(&token, &Limits::default()).unwrap();
    assert_eq!(seen.class, Some(TokenClass::Identity));
    assert_eq!(seen.chain, ["urn:h:alice", "urn:h:alice:x"]);
    assert_eq!(seen.expires_at, Some(UnixSeconds(1_800_000_005)));
    assert_eq!(seen.root_key_id, Some(KEY_ID));
    assert_eq!((seen.delegable, seen.problem), (true, None));
    let roles: Vec<_> = seen.blocks.iter().map(|block| block.role.clone()).collect();
    assert_eq!(
        roles,
        [
            BlockRole::Authority,
            BlockRole::Delegation {
                to: "urn:h:alice:x".into()
            },
            BlockRole::TimeOnly
        ]
    );
    let sideways = append(
        &identity("urn:h:alice"),
        block!(r#"check if actor($a), $a == "urn:h:bob";"#),
    );
    let seen = inspect(&sideways, &Limits::default()).unwrap();
    assert_eq!(
        seen.problem.unwrap(),
        "`urn:h:bob` is not below `urn:h:alice`, from which it was delegated"
    );
}

#[test]
fn a_holder_restricts_its_own_identity_for_good() {
    let readonly = Restriction {
        expires_at: Some(UnixSeconds(NOW.0 + 60)),
        checks: Some(r#"check if operation("read")"#),
    };
    let config = VerifierConfig {
        policy_checks: PolicyChecks::Evaluate,
        ..VerifierConfig::default()
    };
    let fixed = IdentityParameters {
        delegatable: false,
        ..identity_parameters("urn:h:alice")
    };
    let fixed = mint_identity(&key(), &fixed, &mut rng()).unwrap().token;
    for token in [identity("urn:h:alice"), fixed] {
        let less = restrict(&token, &keyring(), &readonly, NOW, &mut rng()).unwrap();
        assert_eq!(less.chain, [name("urn:h:alice")]);
        let code = |operation: &str, at: u64| {
            let request = Request::Identity {
                expected: None,
                purpose: Some(Purpose {
                    resource: "ledger".into(),
                    operation: operation.into(),
                }),
                domain: DomainClaim::Unconfirmed,
            };
            let age = Some(std::time::Duration::ZERO);
            Feed::new()
                .verify_as(config, &less.token, &request, age, UnixSeconds(at))
                .code()
        };
        assert_eq!(code("read", NOW.0), "allow");
        assert_eq!(code("write", NOW.0), "check_failed");
        assert_eq!(code("read", NOW.0 + 60), "expired");
    }
}

#[test]
fn a_restriction_never_lengthens_and_never_ends_before_it_begins() {
    let until = |at: u64| Restriction {
        expires_at: Some(UnixSeconds(at)),
        checks: None,
    };
    let token = domain_identity("urn:h:realm:bob");
    let longer = restrict(&token, &keyring(), &until(ENDS.0 + 60), NOW, &mut rng()).unwrap();
    assert_eq!(longer.expires_at, ENDS);
    let past = restrict(&token, &keyring(), &until(NOW.0), NOW, &mut rng());
    assert!(matches!(past, Err(DelegateError::Lifetime { .. })));
    let about_actor = Restriction {
        expires_at: None,
        checks: Some(r#"check if actor("urn:h:bob")"#),
    };
    let refused = restrict(&token, &keyring(), &about_actor, NOW, &mut rng());
    assert!(matches!(refused, Err(DelegateError::Check(_))));
}

#[test]
fn a_child_is_spelled_as_its_parent_with_or_without_uri() {
    for (parent, child, spelled) in [
        (
            "uri:urn:h:alice",
            "urn:h:alice:agent",
            "uri:urn:h:alice:agent",
        ),
        ("urn:h:alice", "URI:urn:h:alice:agent", "urn:h:alice:agent"),
    ] {
        let made = try_delegate(&identity(parent), child, None).unwrap();
        assert_eq!(made.chain.last().unwrap().as_str(), spelled);
        let verdict = Feed::new().verify(&made.token, &Request::identity(name(spelled)));
        assert!(verdict.is_allow(), "{spelled}: {verdict:?}");
    }
}
