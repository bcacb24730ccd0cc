//! Tokens of the published crates in our verifier, with what their own attenuators add.

use biscuit_auth::KeyPair;
use published_authz::{HessraAuthorization, TokenTimeConfig};
use published_capability::HessraCapability;

use hessra_sdk_core::*;

use crate::fixture::*;

fn hour() -> TokenTimeConfig {
    TokenTimeConfig {
        start_time: None,
        duration: 3600,
    }
}

fn new_hour() -> published_capability::TokenTimeConfig {
    published_capability::TokenTimeConfig {
        start_time: None,
        duration: 3600,
    }
}

fn identities() -> [String; 2] {
    let old = published_identity::HessraIdentity::new(ALICE.into(), hour());
    let new = published_identity_2::HessraIdentity::new(ALICE.into(), new_hour());
    [
        old.delegatable(true).issue(&pair(ROOT)).unwrap(),
        new.delegatable(true).issue(&pair(ROOT)).unwrap(),
    ]
}

fn authorization() -> HessraAuthorization {
    let (subject, resource, operation) = RIGHT;
    HessraAuthorization::new(subject.into(), resource.into(), operation.into(), hour())
}

fn right((subject, resource, operation): (&str, &str, &str)) -> Request {
    Request::authorization(name(subject), resource, operation)
}

#[test]
fn identities_are_taken_for_who_they_are() {
    for token in identities() {
        let actor = |request: &Request| match verdict(&token, request) {
            Verdict::Allow(verified) => verified.actor().to_string(),
            other => other.code().to_owned(),
        };
        assert_eq!(actor(&Request::bearer()), ALICE);
        let agent = "uri:urn:test:alice:agent";
        assert_eq!(actor(&Request::identity(name(agent))), agent);
        let stranger = Request::identity(name("uri:urn:test:alice2"));
        assert_eq!(actor(&stranger), "actor_mismatch");
        assert_eq!(ours(&token, &right(RIGHT)), "wrong_class");
    }
}

#[test]
fn their_delegations_and_short_lives_are_read_by_structure() {
    let agent = "uri:urn:test:alice:agent";
    let [old, new] = identities();
    let old = published_identity::add_identity_attenuation_to_token(
        published_identity::create_short_lived_identity_token(old, root()).unwrap(),
        agent.into(),
        root(),
        hour(),
    );
    let new = published_identity_2::add_identity_attenuation_to_token(
        new,
        agent.into(),
        root(),
        new_hour(),
    );
    for token in [old.unwrap(), new.unwrap()] {
        let short = published_identity_2::create_short_lived_identity_token(token, root()).unwrap();
        let Verdict::Allow(verified) = verdict(&short, &Request::bearer()) else {
            panic!("refused")
        };
        assert_eq!(verified.actor(), &name(agent));
        assert!(verified.expires_at().0 <= now().0 + 5);
        assert_eq!(
            ours(&short, &Request::identity(name(ALICE))),
            "actor_mismatch"
        );
    }
}

#[test]
fn domain_identities_are_good_in_their_domain() {
    let token = published_identity::HessraIdentity::new("urn:mycompany:bob".into(), hour())
        .domain_restricted("urn:mycompany".into())
        .issue(&pair(ROOT))
        .unwrap();
    let claim = |claim| ours(&token, &Request::bearer().in_domain(claim));
    assert_eq!(claim(DomainClaim::Unconfirmed), "domain_required");
    assert_eq!(
        claim(DomainClaim::Required("urn:mycompany".into())),
        "allow"
    );
    assert_eq!(
        claim(DomainClaim::Confirmed("urn:other".into())),
        "domain_mismatch"
    );
}

#[test]
fn authorizations_are_bound_to_subject_resource_and_operation() {
    let a = authorization().issue(&pair(ROOT)).unwrap();
    let c = HessraCapability::new()
        .subject(ALICE)
        .resource("files")
        .operation("read")
        .issue(&pair(ROOT))
        .unwrap();
    for token in [a, c] {
        assert_eq!(ours(&token, &right(RIGHT)), "allow");
        for wrong in WRONG {
            assert_eq!(ours(&token, &right(wrong)), "not_granted", "{wrong:?}");
        }
        assert_eq!(ours(&token, &Request::bearer()), "wrong_class");
    }
}

#[test]
fn chains_parties_and_prefixes_mean_what_they_mean_there() {
    let chain = vec![published_node("gateway", 31), published_node("orders", 32)];
    let token = authorization()
        .service_chain(chain)
        .issue(&pair(ROOT))
        .unwrap();
    let attest = |token: &str, keys: &KeyPair| {
        let bytes = published_authz::decode_token(token).unwrap();
        let bytes = published_authz::add_service_node_attestation(bytes, root(), "files", keys);
        published_authz::encode_token(&bytes.unwrap())
    };
    let in_order = attest(&attest(&token, &pair(31)), &pair(32));
    let swapped = attest(&attest(&token, &pair(32)), &pair(31));
    assert_eq!(ours(&token, &right(RIGHT)), "chain_incomplete");
    assert_eq!(ours(&in_order, &right(RIGHT)), "allow");
    assert_eq!(ours(&swapped, &right(RIGHT)), "chain_order");

    let parties = vec![published_node("approvals", 21)];
    let token = authorization()
        .multi_party(parties)
        .issue(&pair(ROOT))
        .unwrap();
    let signed = published_authz::add_multi_party_attestation_to_token(
        token.clone(),
        root(),
        "approvals".into(),
        pair(21),
    );
    assert_eq!(ours(&token, &right(RIGHT)), "signoff_missing");
    assert_eq!(ours(&signed.unwrap(), &right(RIGHT)), "allow");

    let attestor = published_node("", 41).public_key;
    let stub = authorization()
        .prefix_restricted(attestor)
        .issue(&pair(ROOT))
        .unwrap();
    let token = published_authz::add_prefix_restriction_to_token(
        stub.clone(),
        root(),
        "tenant/1/".into(),
        pair(41),
    );
    let at = |path: &str| {
        right(RIGHT).with(Evidence {
            path: Some(path.into()),
            ..Evidence::default()
        })
    };
    let token = token.unwrap();
    assert_eq!(ours(&stub, &at("tenant/1/x")), "prefix_missing");
    assert_eq!(ours(&token, &at("tenant/1/x")), "allow");
    assert_eq!(ours(&token, &at("tenant/10/x")), "outside_prefix");
}

#[test]
fn capabilities_are_narrowed_activated_and_used_as_there() {
    let activator = pair(51);
    let latent = HessraCapability::new()
        .subject("agent")
        .resource("files")
        .operation("read")
        .anchor("tool:x")
        .designation("tenant", "t-1")
        .latent(activator.public())
        .issue(&pair(ROOT))
        .unwrap();
    let active = HessraCapability::amend(&latent, root())
        .unwrap()
        .activate()
        .valid_for(std::time::Duration::from_secs(300))
        .designation_trusting(activator.public(), "facet", "facet-A")
        .attest(&activator)
        .unwrap();
    let used = HessraCapability::amend(&active, root())
        .unwrap()
        .with_designation("facet", "facet-A")
        .attest(&activator)
        .unwrap();
    let narrowed = HessraCapability::amend(&used, root())
        .unwrap()
        .designation("user", "u-9")
        .attenuate()
        .unwrap();
    let known = || {
        Evidence::default()
            .anchor("tool:x")
            .designation("tenant", "t-1")
    };
    let code = |token: &str, evidence: Evidence| {
        ours(token, &Request::capability("files", "read").with(evidence))
    };
    assert_eq!(code(&latent, known()), "not_activated");
    assert_eq!(code(&active, known()), "single_use");
    assert_eq!(code(&used, known()), "allow");
    assert_eq!(
        code(&used, Evidence::default().anchor("tool:x")),
        "designation_missing"
    );
    assert_eq!(code(&narrowed, known()), "designation_missing");
    assert_eq!(code(&narrowed, known().designation("user", "u-9")), "allow");
}

#[test]
fn contexts_keep_their_exposures() {
    let context = published_context::HessraContext::new("agent:test".into(), new_hour());
    let token = context.issue(&pair(ROOT)).unwrap();
    let labels = ["PII:SSN".to_owned()];
    let exposed = published_context::add_exposure(&token, &pair(ROOT), &labels, "data".into());
    let exposed = exposed.unwrap();
    let fork = published_context::fork_context(
        &exposed,
        root(),
        "agent:test:sub".into(),
        new_hour(),
        &pair(ROOT),
    );
    let free = Request::Context {
        excluded: vec!["PII:SSN".into()],
    };
    assert_eq!(ours(&token, &free), "allow");
    assert_eq!(ours(&exposed, &free), "exposed");
    assert_eq!(ours(&fork.unwrap(), &free), "exposed");
    let any = Request::Context {
        excluded: Vec::new(),
    };
    let Verdict::Allow(verified) = verdict(&exposed, &any) else {
        panic!("refused")
    };
    assert_eq!(
        (verified.exposures(), verified.session()),
        (labels.as_slice(), None)
    );
    for request in [Request::bearer(), right(RIGHT)] {
        assert_eq!(ours(&token, &request), "wrong_class");
    }
}
