//! Capabilities: designations, activation, and single use.

use biscuit_auth::macros::block;
use biscuit_auth::{Biscuit, KeyPair, PrivateKey, PublicKey};

use hessra_revocation::UnixSeconds;
use hessra_sdk_core::*;

use crate::fixture::*;

fn mint(demands: &CapabilityDemands) -> String {
    let parameters = authorization_parameters("urn:h:alice");
    mint_capability(&key(), &parameters, demands, &mut rng())
        .unwrap()
        .token
}

fn tenant(value: &str) -> Designation {
    Designation::new("tenant", value)
}

fn code(token: &str, evidence: Evidence) -> &'static str {
    Feed::new()
        .verify(token, &Request::capability("ledger", "read").with(evidence))
        .code()
}

fn spending(token: &str) -> Vec<Spend> {
    let request = Request::capability("ledger", "read").with(report());
    match Feed::new().verify(token, &request) {
        Verdict::Allow(verified) => verified.to_spend().to_vec(),
        other => panic!("{}", other.code()),
    }
}

fn report() -> Evidence {
    Evidence {
        single_use: SingleUse::Report,
        ..Evidence::default()
    }
}

fn activator() -> Key {
    Key::new(0, 51)
}

fn latent() -> String {
    mint(&CapabilityDemands {
        activator: Some(node("", 51).key),
        ..CapabilityDemands::default()
    })
}

fn activated(facet: Option<&str>) -> String {
    let terms = ActivationTerms {
        expires_at: Some(UnixSeconds(NOW.0 + 60)),
        facet: facet.map(str::to_owned),
    };
    activate(&latent(), &keyring(), &terms, &activator(), NOW, &mut rng()).unwrap()
}

#[test]
fn a_designation_must_be_shown_as_it_is() {
    let token = mint(&CapabilityDemands {
        designations: vec![tenant("t-1")],
        anchor: Some("tool:x".into()),
        ..CapabilityDemands::default()
    });
    let shown = |tenant: &str, anchor: &str| {
        code(
            &token,
            Evidence::default()
                .designation("tenant", tenant)
                .anchor(anchor),
        )
    };
    assert_eq!(shown("t-1", "tool:x"), "allow");
    assert_eq!(shown("t-2", "tool:x"), "designation_missing");
    assert_eq!(shown("t-1", "tool:y"), "designation_missing");
    assert_eq!(code(&token, Evidence::default()), "designation_missing");
}

#[test]
fn a_holder_can_narrow_and_never_widen() {
    let token = mint(&CapabilityDemands::default());
    let narrowing = Narrowing {
        designations: vec![tenant("t-1")],
        expires_at: Some(UnixSeconds(NOW.0 + 60)),
    };
    let narrowed = narrow(&token, &keyring(), &narrowing, NOW, &mut rng()).unwrap();
    assert_eq!(code(&narrowed, Evidence::default()), "designation_missing");
    assert_eq!(
        code(&narrowed, Evidence::default().designation("tenant", "t-1")),
        "allow"
    );
    let both = Narrowing {
        designations: vec![tenant("t-2")],
        expires_at: None,
    };
    let nowhere = narrow(&narrowed, &keyring(), &both, NOW, &mut rng()).unwrap();
    assert_eq!(
        code(&nowhere, Evidence::default().designation("tenant", "t-2")),
        "designation_missing"
    );
    let reserved = Narrowing {
        designations: vec![Designation::new("facet", "f")],
        expires_at: None,
    };
    assert!(narrow(&token, &keyring(), &reserved, NOW, &mut rng()).is_err());
    assert!(narrow(&token, &keyring(), &Narrowing::default(), NOW, &mut rng()).is_err());
}

#[test]
fn no_claim_stands_for_a_signature() {
    let token = mint(&CapabilityDemands {
        attested: vec![(tenant("t-1"), node("", 52).key)],
        ..CapabilityDemands::default()
    });
    // Datalog alone would believe the caller: facts of the authorizer are trusted everywhere.
    assert_eq!(
        code(&token, Evidence::default().designation("tenant", "t-1")),
        "designation_missing"
    );
    let attest = |seed: u8, value: &str| {
        attest_designations(
            &token,
            &keyring(),
            &[tenant(value)],
            &Key::new(0, seed),
            NOW,
            &mut rng(),
        )
    };
    assert_eq!(
        code(&attest(52, "t-1").unwrap(), Evidence::default()),
        "allow"
    );
    assert!(matches!(
        attest(53, "t-1"),
        Err(AttestError::NotAsked { .. })
    ));
    assert!(matches!(
        attest(52, "t-2"),
        Err(AttestError::NotAsked { .. })
    ));
    let other = appended(&token, 53);
    assert_eq!(code(&other, Evidence::default()), "unsupported_shape");
}

fn appended(token: &str, seed: u8) -> String {
    let root = PublicKey::from_bytes(&key().public_key(), biscuit_auth::Algorithm::Ed25519);
    let biscuit = Biscuit::from_base64(token, root.unwrap()).unwrap();
    let private = PrivateKey::from_bytes(&[seed; 32], biscuit_auth::Algorithm::Ed25519);
    let keys = KeyPair::from(&private.unwrap());
    let request = biscuit.third_party_request().unwrap();
    let block = block!(r#"designation("tenant", "t-1")"#);
    let block = request.create_block(&keys.private(), block).unwrap();
    let appended = biscuit.append_third_party(keys.public(), block).unwrap();
    appended.to_base64().unwrap()
}

#[test]
fn a_latent_capability_is_inert_until_its_activator_activates_it() {
    assert_eq!(code(&latent(), Evidence::default()), "not_activated");
    assert_eq!(code(&activated(None), Evidence::default()), "allow");
    let stranger = activate(
        &latent(),
        &keyring(),
        &ActivationTerms::default(),
        &Key::new(0, 52),
        NOW,
        &mut rng(),
    );
    assert!(matches!(stranger, Err(AttestError::NotAsked { .. })));
}

#[test]
fn a_single_use_capability_is_refused_by_verifiers_that_cannot_spend_it() {
    let token = mint(&CapabilityDemands {
        facet: Some("use-1".into()),
        ..CapabilityDemands::default()
    });
    assert_eq!(code(&token, Evidence::default()), "single_use");
    // A caller's word for a facet would be good for ever.
    assert_eq!(
        code(&token, Evidence::default().designation("facet", "use-1")),
        "single_use"
    );
    let spend = &spending(&token)[0];
    assert_eq!(
        (spend.facet.as_str(), &spend.token),
        ("use-1", &ids(&token)[0])
    );
}

#[test]
fn one_activation_is_one_use_however_often_its_block_is_appended() {
    let token = activated(Some("use-7"));
    assert_eq!(code(&token, Evidence::default()), "single_use");
    // The same terms on the same latent token, in a block with another id.
    let mut other = rand::rngs::mock::StepRng::new(7, 11);
    let again = activate(
        &latent(),
        &keyring(),
        &ActivationTerms {
            expires_at: Some(UnixSeconds(NOW.0 + 60)),
            facet: Some("use-7".into()),
        },
        &activator(),
        NOW,
        &mut Cryptographic(&mut other),
    )
    .unwrap();
    assert_ne!(ids(&token)[1], ids(&again)[1]);
    assert_eq!(spending(&token), spending(&again));
    // Narrowed by its holder, it is the same use still.
    let narrowing = Narrowing {
        designations: Vec::new(),
        expires_at: Some(UnixSeconds(NOW.0 + 30)),
    };
    let narrowed = narrow(&token, &keyring(), &narrowing, NOW, &mut rng()).unwrap();
    assert_eq!(spending(&token), spending(&narrowed));
    assert_ne!(spending(&token), spending(&activated(Some("use-8"))));
}

struct Cryptographic<'a>(&'a mut rand::rngs::mock::StepRng);

impl rand::RngCore for Cryptographic<'_> {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand::Error> {
        self.0.try_fill_bytes(bytes)
    }
}

impl rand::CryptoRng for Cryptographic<'_> {}

#[test]
fn an_attested_facet_was_used_by_its_attestor() {
    let token = activated(Some("use-1"));
    let facet = Designation::new(Designation::FACET, "use-1");
    let done =
        attest_designations(&token, &keyring(), &[facet], &activator(), NOW, &mut rng()).unwrap();
    assert_eq!(code(&done, Evidence::default()), "allow");
    assert_eq!(spending(&done), spending(&token));
}

#[test]
fn a_capability_that_must_be_spent_is_never_permitted_from_memory() {
    let feed = Feed::new();
    let keyring = Keyring::from_view(&feed.view);
    let knowledge = Knowledge::offline(&keyring);
    let token = activated(Some("use-1"));
    let request = Request::capability("ledger", "read").with(report());
    let Verdict::Allow(verified) = feed.verify(&token, &request) else {
        panic!("refused")
    };
    assert!(
        TokenVerifier::default()
            .recheck(&verified, &knowledge, now())
            .is_none()
    );
}

#[test]
fn the_schema_keeps_an_operation_bound() {
    let mut schema = Schema::new();
    schema.add("ledger", "read", ["tenant".to_owned()]).unwrap();
    schema.add("ledger", "list", []).unwrap();
    assert_eq!(schema.required("ledger", "read").unwrap(), ["tenant"]);
    assert!(matches!(
        schema.required("ledger", "drop"),
        Err(SchemaError::Unknown { .. })
    ));
    assert!(schema.required("other", "read").unwrap().is_empty());
    assert!(matches!(
        schema.add("ledger", "read", []),
        Err(SchemaError::Twice { .. })
    ));
    let facet = schema.add("x", "y", ["facet".to_owned()]);
    assert!(matches!(facet, Err(SchemaError::Reserved(_))));

    let required = schema.required("ledger", "read").unwrap();
    let parameters = authorization_parameters("urn:h:alice");
    let unbound = CapabilityDemands {
        required: required.clone(),
        ..CapabilityDemands::default()
    };
    let refused = mint_capability(&key(), &parameters, &unbound, &mut rng());
    assert_eq!(
        refused.unwrap_err(),
        MintError::DesignationRequired("tenant".into())
    );
    let bound = CapabilityDemands {
        designations: vec![tenant("t-1")],
        ..unbound
    };
    let asked = Evidence {
        required,
        ..Evidence::default()
    };
    assert_eq!(
        code(&mint(&bound), asked.clone().designation("tenant", "t-1")),
        "allow"
    );
    assert_eq!(
        code(&mint(&CapabilityDemands::default()), asked),
        "designation_required"
    );
}
