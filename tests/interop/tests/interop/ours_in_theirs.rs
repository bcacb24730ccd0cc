//! Tokens of ours in the published verifiers: good for what they say, and for nothing else.

use std::collections::BTreeMap;

use hessra_revocation::Revision;
use hessra_sdk_core::*;

use crate::fixture::*;

fn identity(delegatable: bool) -> String {
    let parameters = IdentityParameters {
        subject: name(ALICE),
        delegatable,
        expires_at: ends(),
        issued_at: now(),
        rev: Revision(1),
        parents: Vec::new(),
        cert: Some([4; 32]),
        refreshed: Some(Refreshed {
            count: 2,
            first_issued_at: now(),
        }),
        refreshable_until: Some(ends()),
    };
    let minted = mint_identity(&key(ROOT), &parameters, &mut rng());
    minted.unwrap().token
}

fn authorization(shape: TokenShape) -> String {
    let minted = mint_authorization(&key(ROOT), &parameters(shape), &mut rng());
    minted.unwrap().token
}

#[test]
fn an_identity_is_taken_for_its_subject_and_what_is_below() {
    let token = identity(true);
    assert!(identity_is(&token, Some(ALICE)) && identity_is(&token, None));
    assert!(identity_is(&token, Some("uri:urn:test:alice:agent")));
    assert!(!identity_is(&token, Some("uri:urn:test:alice2")));
    assert!(!identity_is(&token, Some("uri:urn:test")));
    let fixed = identity(false);
    assert!(identity_is(&fixed, Some(ALICE)) && identity_is(&fixed, None));
    assert!(!identity_is(&fixed, Some("uri:urn:test:alice:agent")));
}

#[test]
fn the_published_inspector_reads_subject_and_end() {
    let read = published_identity::inspect_identity_token(identity(true), root()).unwrap();
    assert_eq!(read.identity, ALICE);
    let expiry = read.expiry.unwrap();
    assert!((now().0..=ends().0).contains(&u64::try_from(expiry).unwrap()));
}

#[test]
fn a_delegation_of_ours_is_one_of_theirs() {
    let delegation = Delegation {
        child: name("uri:urn:test:alice:agent"),
        expires_at: ends(),
        checks: None,
    };
    let child = delegate(&identity(true), &keyring(), &delegation, now(), &mut rng()).unwrap();
    assert!(identity_is(&child.token, Some("uri:urn:test:alice:agent")));
    assert!(identity_is(
        &child.token,
        Some("uri:urn:test:alice:agent:tool")
    ));
    assert!(!identity_is(&child.token, Some(ALICE)));
    assert!(!identity_is(
        &child.token,
        Some("uri:urn:test:alice:agent2")
    ));
    assert!(!identity_is(&child.token, None));
}

#[test]
fn a_domain_identity_is_good_in_its_domain() {
    let bob = "uri:urn:test:realm:bob";
    let parameters = DomainIdentityParameters {
        domain: name("uri:urn:test:realm"),
        subject: name(bob),
        roles: vec!["admin".into()],
        expires_at: ends(),
        issued_at: now(),
        rev: Revision(1),
        parents: Vec::new(),
        cert: None,
    };
    let token = mint_domain_identity(&key(ROOT), &parameters, &mut rng())
        .unwrap()
        .token;
    let within = |domain: &str| {
        let verifier = || old_identity(&token, Some(bob)).with_domain(domain.into());
        let plain = says(|| verifier().verify());
        let ensured = says(|| verifier().ensure_subject_in_domain().verify());
        assert_eq!(plain, ensured);
        plain
    };
    assert!(within("uri:urn:test:realm"));
    assert!(!within("uri:urn:test:other"));
    assert!(!says(|| old_identity(&token, Some(bob)).verify()));
}

#[test]
fn an_authorization_is_bound_to_subject_resource_and_operation() {
    let token = authorization(TokenShape::Universal);
    let local = |(subject, resource, operation)| {
        says(|| published_token::verify_token_local(&token, root(), subject, resource, operation))
    };
    let newest = |(subject, resource, operation): (&str, &str, &str)| {
        says(|| {
            capability(&token, resource, operation)
                .with_subject(subject.into())
                .verify()
        })
    };
    let asked = |request| says(|| authz(&token, request).verify());
    assert!(asked(RIGHT) && local(RIGHT) && newest(RIGHT));
    assert!(says(|| capability(&token, "files", "read").verify()));
    for wrong in WRONG {
        assert!(
            !asked(wrong) && !local(wrong) && !newest(wrong),
            "{wrong:?}"
        );
    }
    assert!(!says(|| capability(&token, "other", "read").verify()));
    assert!(!says(|| capability(&token, "files", "write").verify()));
}

#[test]
fn the_other_shapes_serve_the_verifiers_they_are_for() {
    let a = authorization(TokenShape::Authz);
    assert!(says(|| authz(&a, RIGHT).verify()));
    assert!(
        WRONG
            .iter()
            .all(|wrong| !says(|| authz(&a, *wrong).verify()))
    );
    assert!(!says(|| capability(&a, "files", "read").verify()));
    let c = authorization(TokenShape::Capability);
    assert!(says(|| capability(&c, "files", "read")
        .with_subject(ALICE.into())
        .verify()));
    for (subject, resource, operation) in WRONG {
        let verifier = || capability(&c, resource, operation).with_subject(subject.into());
        assert!(!says(|| verifier().verify()));
    }
}

#[test]
fn a_service_chain_is_attested_step_by_step() {
    let nodes = [node("gateway", 31), node("orders", 32)];
    for shape in [TokenShape::Universal, TokenShape::Authz] {
        let minted = mint_service_chain(&key(ROOT), &parameters(shape), &nodes, &mut rng());
        let none = minted.unwrap().token;
        let attest = |token: &str, seed| {
            attest_service(token, &keyring(), &key(seed), now(), &mut rng()).unwrap()
        };
        let one = attest(&none, 31);
        let both = attest(&one, 32);
        let passes = |token: &str, component: Option<&str>, right| {
            let nodes = || vec![published_node("gateway", 31), published_node("orders", 32)];
            let component = component.map(str::to_owned);
            says(|| {
                authz(token, right)
                    .with_service_chain(nodes(), component.clone())
                    .verify()
            })
        };
        assert!(passes(&none, Some("gateway"), RIGHT));
        assert!(!passes(&none, Some("orders"), RIGHT));
        assert!(passes(&one, Some("orders"), RIGHT) && !passes(&one, None, RIGHT));
        assert!(passes(&both, None, RIGHT));
        for wrong in WRONG {
            assert!(!passes(&both, None, wrong), "{wrong:?}");
        }
    }
}

#[test]
fn a_multi_party_token_waits_for_all() {
    let parties = [node("approvals", 21), node("audit", 22)];
    let universal = parameters(TokenShape::Universal);
    let minted = mint_multi_party(&key(ROOT), &universal, &parties, &mut rng());
    let none = minted.unwrap().token;
    let sign = |token: &str, component: &str, seed| {
        sign_off(token, &keyring(), component, &key(seed), now(), &mut rng()).unwrap()
    };
    let one = sign(&none, "audit", 22);
    let both = sign(&one, "approvals", 21);
    for token in [&none, &one] {
        assert!(!says(|| authz(token, RIGHT).verify()));
        assert!(!says(|| capability(token, "files", "read").verify()));
    }
    assert!(says(|| authz(&both, RIGHT).verify()));
    assert!(says(|| capability(&both, "files", "read").verify()));
    for wrong in WRONG {
        assert!(!says(|| authz(&both, wrong).verify()), "{wrong:?}");
    }
}

#[test]
fn a_stub_is_good_under_its_prefix() {
    let attestor = ThirdPartyKey::from(pair(41).public());
    let minted = mint_stub(
        &key(ROOT),
        &parameters(TokenShape::Universal),
        &attestor,
        &mut rng(),
    );
    let stub = minted.unwrap().token;
    let prefix = "tenant/1/user/2/";
    let token = attest_prefix(&stub, &keyring(), prefix, &key(41), now(), &mut rng()).unwrap();
    let under =
        |prefix: &str, right| says(|| authz(&token, right).with_prefix(prefix.into()).verify());
    assert!(under(prefix, RIGHT) && !under("tenant/1/user/3/", RIGHT));
    assert!(!says(|| authz(&token, RIGHT).verify()));
    assert!(!says(|| authz(&stub, RIGHT)
        .with_prefix(prefix.into())
        .verify()));
    for wrong in WRONG {
        assert!(!under(prefix, wrong), "{wrong:?}");
    }
}

#[test]
fn a_capability_is_bound_to_what_it_is_about() {
    let demands = CapabilityDemands {
        designations: vec![Designation::new("tenant", "t-1")],
        anchor: Some("tool:x".into()),
        ..CapabilityDemands::default()
    };
    for shape in [TokenShape::Universal, TokenShape::Capability] {
        let minted = mint_capability(&key(ROOT), &parameters(shape), &demands, &mut rng());
        let token = minted.unwrap().token;
        let shown = |tenant: &str, anchor: &str, operation| {
            let verifier = || {
                let verifier = capability(&token, "files", operation).anchor(anchor);
                verifier.with_designation("tenant".into(), tenant.into())
            };
            says(|| verifier().verify())
        };
        assert!(shown("t-1", "tool:x", "read"));
        assert!(!shown("t-2", "tool:x", "read"));
        assert!(!shown("t-1", "tool:y", "read"));
        assert!(!shown("t-1", "tool:x", "write"));
    }
}

#[test]
fn a_latent_capability_lives_as_theirs_do() {
    let demands = CapabilityDemands {
        activator: Some(ThirdPartyKey::from(pair(51).public())),
        ..CapabilityDemands::default()
    };
    let universal = parameters(TokenShape::Universal);
    let minted = mint_capability(&key(ROOT), &universal, &demands, &mut rng());
    let latent = minted.unwrap().token;
    let terms = ActivationTerms {
        expires_at: Some(ends()),
        facet: Some("use-1".into()),
    };
    let active = activate(&latent, &keyring(), &terms, &key(51), now(), &mut rng()).unwrap();
    let facet = [Designation::new(Designation::FACET, "use-1")];
    let keyring = keyring();
    let used = attest_designations(&active, &keyring, &facet, &key(51), now(), &mut rng());
    let good = |token: &str| says(|| capability(token, "files", "read").verify());
    assert_eq!((good(&latent), good(&active)), (false, false));
    assert!(good(&used.unwrap()));
}

#[test]
fn a_narrowed_capability_stays_narrow() {
    let token = authorization(TokenShape::Capability);
    let narrowing = Narrowing {
        designations: vec![Designation::new("tenant", "t-1")],
        expires_at: Some(ends()),
    };
    let narrowed = narrow(&token, &keyring(), &narrowing, now(), &mut rng()).unwrap();
    let verifier = || capability(&narrowed, "files", "read");
    assert!(!says(|| verifier().verify()));
    assert!(says(|| verifier()
        .with_designation("tenant".into(), "t-1".into())
        .verify()));
}

#[test]
fn a_context_excludes_what_the_session_was_exposed_to_and_is_nothing_else() {
    let exposures = BTreeMap::from([("PII:SSN".to_owned(), "data:ssn".to_owned())]);
    let parameters = ContextParameters {
        subject: name("agent:openclaw"),
        session: Session {
            id: [7; 16],
            version: 4,
        },
        exposures,
        expires_at: ends(),
        issued_at: now(),
        rev: Revision(1),
        parents: Vec::new(),
    };
    let token = mint_context(&key(ROOT), &parameters, &mut rng())
        .unwrap()
        .token;
    let free_of = |label: &str| {
        let verifier = || published_context::ContextVerifier::new(token.clone(), root());
        says(|| verifier().excludes(label).verify())
    };
    assert!(free_of("PII:email") && !free_of("PII:SSN"));
    let read = published_context::inspect_context_token(token.clone(), root()).unwrap();
    assert_eq!(
        (read.subject.as_str(), read.exposure_labels),
        ("agent:openclaw", vec!["PII:SSN".to_owned()])
    );
    assert_eq!(read.expiry, i64::try_from(parameters.expires_at.0).ok());
    assert!(!says(|| authz(&token, RIGHT).verify()));
    assert!(!says(|| capability(&token, "files", "read").verify()));
    assert!(!identity_is(&token, Some(ALICE)));
}
