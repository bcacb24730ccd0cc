//! Every published vector under the published verifiers: the verdicts that our own are compared with are real.

use std::collections::BTreeMap;

use biscuit_auth::{Algorithm, PublicKey};
use serde::Deserialize;
use serde_json::Value;

use crate::fixture::*;

#[derive(Deserialize)]
struct Vectors {
    keys: Vec<Key>,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Key {
    name: String,
    algorithm: String,
    public_hex: String,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    root_key: String,
    token: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    verifier: String,
    params: Value,
    expect: String,
}

impl Case {
    fn text(&self, name: &str) -> Option<String> {
        self.params[name].as_str().map(str::to_owned)
    }

    fn right(&self) -> (String, String) {
        let named = |name| self.text(name).unwrap();
        (named("resource"), named("operation"))
    }

    fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let list = self.params[name].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        list.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    }
}

#[test]
fn every_case_has_the_stated_verdict_under_the_published_verifier() {
    let text = include_str!("../../../../sdk/core/vectors/published.json");
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    let keys: BTreeMap<_, _> = vectors
        .keys
        .iter()
        .map(|key| (key.name.as_str(), public(key)))
        .collect();
    let (mut ran, mut past) = (0, 0);
    for vector in &vectors.vectors {
        for case in &vector.cases {
            // Good for five seconds when it was made.
            if case.params["when"].is_string() {
                past += 1;
                continue;
            }
            let key = case.params["root_key"].as_str().unwrap_or(&vector.root_key);
            let accepted = accepts(&vector.token, keys[key], case);
            let place = format!("{} {} {}", vector.id, case.verifier, case.params);
            assert_eq!(accepted, case.expect == "ok", "{place}");
            ran += 1;
        }
    }
    assert_eq!((ran, past), (295, 1));
}

fn public(key: &Key) -> PublicKey {
    let algorithm = match key.algorithm.as_str() {
        "ed25519" => Algorithm::Ed25519,
        _ => Algorithm::Secp256r1,
    };
    PublicKey::from_bytes_hex(&key.public_hex, algorithm).unwrap()
}

fn accepts(token: &str, key: PublicKey, case: &Case) -> bool {
    match case.verifier.as_str() {
        "identity@0.6" => says(|| old_identity(token, key, case)),
        "identity@2.0" => says(|| {
            let verifier = published_identity_2::IdentityVerifier::new(token.into(), key);
            match case.text("identity") {
                Some(identity) => verifier.with_identity(identity).verify(),
                None => verifier.verify(),
            }
        }),
        "attenuate@2.0" => says(|| attenuate(token, key, case)),
        "capability@2.0" => says(|| capability(token, key, case)),
        "context@3.0" => says(|| {
            let verifier = published_context::ContextVerifier::new(token.into(), key);
            let excluded = case.params["excludes"].as_array().into_iter().flatten();
            let excluding = excluded.fold(verifier, |verifier, label| {
                verifier.excludes(label.as_str().unwrap())
            });
            excluding.verify()
        }),
        "inspect_context_token@3.0" => {
            says(|| published_context::inspect_context_token(token.into(), key).map(drop))
        }
        "hessra-token@0.6.5 verify_token_local" => says(|| {
            let (resource, operation) = case.right();
            let subject = case.text("subject").unwrap();
            published_token::verify_token_local(token, key, &subject, &resource, &operation)
        }),
        _ => says(|| authorization(token, key, case)),
    }
}

fn old_identity(
    token: &str,
    key: PublicKey,
    case: &Case,
) -> Result<(), published_authz::TokenError> {
    let mut verifier = published_identity::IdentityVerifier::new(token.into(), key);
    if let Some(identity) = case.text("identity") {
        verifier = verifier.with_identity(identity);
    }
    if let Some(domain) = case.text("domain") {
        verifier = verifier.with_domain(domain);
    }
    if case.params["ensure_subject_in_domain"] == true {
        verifier = verifier.ensure_subject_in_domain();
    }
    verifier.verify()
}

fn attenuate(
    token: &str,
    key: PublicKey,
    case: &Case,
) -> Result<(), published_capability::TokenError> {
    let hour = published_capability::TokenTimeConfig {
        start_time: None,
        duration: 3600,
    };
    published_identity_2::add_identity_attenuation_to_token(
        token.into(),
        case.text("identity").unwrap(),
        key,
        hour,
    )
    .map(drop)
}

fn capability(
    token: &str,
    key: PublicKey,
    case: &Case,
) -> Result<(), published_capability::TokenError> {
    let (resource, operation) = case.right();
    let mut verifier =
        published_capability::CapabilityVerifier::new(token.into(), key, resource, operation);
    if let Some(subject) = case.text("with_subject") {
        verifier = verifier.with_subject(subject);
    }
    for (label, value) in case.pairs("designations") {
        verifier = verifier.with_designation(label, value);
    }
    verifier.verify()
}

fn authorization(
    token: &str,
    key: PublicKey,
    case: &Case,
) -> Result<(), published_authz::TokenError> {
    let (resource, operation) = case.right();
    let mut verifier = match case.verifier.as_str() {
        "authz-capability-mode@0.6" => published_authz::AuthorizationVerifier::new_capability(
            token.into(),
            key,
            resource,
            operation,
        ),
        "authz@0.6" | "service_chain@0.6" => published_authz::AuthorizationVerifier::new(
            token.into(),
            key,
            case.text("subject").unwrap(),
            resource,
            operation,
        ),
        other => panic!("the vectors have a verifier `{other}` that is not known here"),
    };
    if let Some(domain) = case.text("domain") {
        verifier = verifier.with_domain(domain);
    }
    if let Some(prefix) = case.text("prefix") {
        verifier = verifier.with_prefix(prefix);
    }
    if case.verifier == "service_chain@0.6" {
        let nodes = serde_json::from_value(case.params["nodes"].clone()).unwrap();
        verifier = verifier.with_service_chain(nodes, case.text("component"));
    }
    verifier.verify()
}
