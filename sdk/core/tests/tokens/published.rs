//! Every case of the published vectors: accepted where the published verifiers accept, refused where they refuse, and
//! the differences named one by one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use hessra_revocation::{Identity, UnixSeconds};
use hessra_sdk_core::*;

#[derive(Deserialize)]
struct Vectors {
    keys: Vec<Key>,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Key {
    name: String,
    public_pem: String,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    root_key: String,
    token: String,
    revocation_ids: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    verifier: String,
    params: Value,
    expect: String,
}

/// Vectors of which we refuse what a published verifier accepts, and why.
const STRICTER: &[(&str, &str, &str)] = &[
    (
        "id-delegatable-d0",
        "identity",
        "the actor `urn:hessra:alice:` is not a canonical identity",
    ),
    (
        "id-delegated-d16",
        "identity",
        "17 blocks and 16 delegations are above the limits",
    ),
    (
        "id-inspect-confusion",
        "identity",
        "a later block has a check on the actor that is not a delegation",
    ),
    ("id-p256-root", "identity", "roots are Ed25519 only"),
    (
        "sc-0",
        "authz",
        "nobody asks as a service, and no service has attested",
    ),
    (
        "sc-1",
        "authz",
        "nobody asks as a service, and one service has not attested",
    ),
    (
        "universal-sc-0",
        "capability",
        "nobody asks as a service, and no service has attested",
    ),
    (
        "sc-wrong-key",
        "",
        "a service attested that is not of the chain",
    ),
    (
        "sc-out-of-order",
        "",
        "the services attested in the wrong order",
    ),
    ("hessra-server/", "", "roots are Ed25519 only"),
];

/// Vectors of which we accept what a published verifier refuses. The published capability verifier cannot read tokens
/// of the A shape, and refuses all of them. The published prefix is compared as a whole, and ours segment by segment.
const WIDER: &[(&str, &str)] = &[("az-basic", "capability@2.0"), ("stub-1", "authz@0.6")];

#[test]
fn every_published_case_has_the_published_verdict_or_a_named_reason_to_differ() {
    let vectors = vectors();
    let keys: BTreeMap<_, _> = vectors
        .keys
        .iter()
        .map(|key| (key.name.as_str(), key))
        .collect();
    let mut used = BTreeSet::new();
    let mut count = 0;
    for vector in &vectors.vectors {
        for case in &vector.cases {
            count += 1;
            let danger = case.params["comment"]
                .as_str()
                .is_some_and(|text| text.starts_with("DANGER"));
            let published = case.expect == "ok" && !danger;
            let verdict = run(vector, case, &keys);
            let ours = matches!(verdict, Ok(Verdict::Allow(_)));
            let place = format!(
                "{} {} {}: {verdict:?}",
                vector.id, case.verifier, case.params
            );
            match (published, ours) {
                (true, false) => {
                    let known = |(id, verifier, _): &&(&str, &str, &str)| {
                        vector.id.starts_with(id) && case.verifier.starts_with(verifier)
                    };
                    let reason = STRICTER.iter().find(known);
                    used.insert(reason.unwrap_or_else(|| panic!("refused: {place}")).0);
                }
                (false, true) => {
                    let known = WIDER.contains(&(&vector.id, &case.verifier));
                    let deeper = path_is_below(case);
                    assert!(known && (right_holds(case) || deeper), "accepted: {place}");
                }
                _ => {}
            }
        }
    }
    assert_eq!((vectors.vectors.len(), count), (56, 296));
    let unused: Vec<_> = STRICTER
        .iter()
        .filter(|(id, ..)| !used.contains(id))
        .collect();
    assert!(unused.is_empty(), "no longer stricter: {unused:?}");
}

#[test]
fn the_actor_of_a_bearer_is_derived_from_structure() {
    let actor = |id: &str| {
        let vectors = vectors();
        let vector = vectors
            .vectors
            .iter()
            .find(|vector| vector.id == id)
            .unwrap();
        let key = vectors
            .keys
            .iter()
            .find(|key| key.name == vector.root_key)
            .unwrap();
        let keyring = Keyring::from_pem(&key.public_pem).unwrap();
        match TokenVerifier::default().verify_offline(
            &vector.token,
            &Request::bearer(),
            &keyring,
            NOW,
        ) {
            Verdict::Allow(verified) => verified.actor().to_string(),
            other => other.code().to_owned(),
        }
    };
    assert_eq!(actor("id-realm"), "urn:hessra:alice");
    assert_eq!(actor("id-delegated-d1"), "urn:hessra:alice:d1");
    assert_eq!(
        actor("id-delegated-d10"),
        "urn:hessra:alice:d1:d2:d3:d4:d5:d6:d7:d8:d9:d10"
    );
    assert_eq!(actor("id-jit-2100"), "urn:hessra:alice:agent");
    assert_eq!(
        actor("id-uri-prefix-delegated"),
        "uri:urn:test:argo-cli0:agent1"
    );
    assert_eq!(actor("id-inspect-confusion"), "unsupported_shape");
    assert_eq!(actor("id-realm-forced-delegation"), "broken_chain");
    assert_eq!(actor("id-delegated-d16"), "too_large");
    assert_eq!(actor("id-domain-restricted"), "domain_required");
    assert_eq!(actor("id-realm-tampered"), "bad_signature");
    assert_eq!(actor("id-expired"), "expired");
    assert_eq!(actor("az-basic"), "wrong_class");
    assert_eq!(actor("ctx-0"), "wrong_class");
}

#[test]
fn block_ids_are_those_of_the_published_library() {
    let mut compared = 0;
    for vector in vectors().vectors {
        let limits = Limits {
            blocks_max: 32,
            ..Limits::default()
        };
        let Ok(token) = Token::parse(&vector.token, &limits) else {
            continue;
        };
        // Ed25519 ids stay as they are; ids of P-256 roots are normalised.
        if vector.root_key != "root" || vector.revocation_ids.is_empty() {
            continue;
        }
        let ids: Vec<_> = token
            .revocation_ids()
            .iter()
            .map(|id| data_encoding::HEXLOWER.encode(id.as_bytes()))
            .collect();
        assert_eq!(ids, vector.revocation_ids, "{}", vector.id);
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// Instant just after the vector `id-jit` was minted.
const NOW_JIT: UnixSeconds = UnixSeconds(1_795_261_152);

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../vectors/published.json")).unwrap()
}

fn run(vector: &Vector, case: &Case, keys: &BTreeMap<&str, &Key>) -> Result<Verdict, String> {
    let key = case.params["root_key"].as_str().unwrap_or(&vector.root_key);
    let keyring = Keyring::from_pem(&keys[key].public_pem).map_err(|error| error.to_string())?;
    let now = if case.params["when"].is_string() {
        NOW_JIT
    } else {
        NOW
    };
    if case.verifier.starts_with("attenuate") {
        return delegated(vector, case, &keyring);
    }
    let request = request(vector, case).ok_or("no such request")?;
    Ok(TokenVerifier::default().verify_offline(&vector.token, &request, &keyring, now))
}

/// Delegates where the published library call must fail: our own must fail too.
fn delegated(vector: &Vector, case: &Case, keyring: &Keyring) -> Result<Verdict, String> {
    let child = case.params["identity"].as_str().ok_or("no child")?;
    let delegation = Delegation {
        child: Identity::parse(child).map_err(|error| error.to_string())?,
        expires_at: UnixSeconds(NOW.0 + 60),
        checks: None,
    };
    let mut rng = rand::rngs::OsRng;
    let made = delegate(&vector.token, keyring, &delegation, NOW, &mut rng);
    let token = made.map_err(|error| error.to_string())?.token;
    Ok(TokenVerifier::default().verify_offline(&token, &Request::bearer(), keyring, NOW))
}

fn request(vector: &Vector, case: &Case) -> Option<Request> {
    let text = |name: &str| case.params[name].as_str();
    match case.verifier.split('@').next()? {
        "identity" => {
            let bearer = || {
                Token::parse(&vector.token, &Limits::default())
                    .ok()?
                    .facts()
                    .ok()?
                    .subjects
                    .first()
                    .cloned()
            };
            // The published bearer mode takes the base subject for the actor.
            let actor = text("identity").map(str::to_owned).or_else(bearer)?;
            let domain = match (text("domain"), &case.params["ensure_subject_in_domain"]) {
                (Some(domain), Value::Bool(true)) => DomainClaim::Required(domain.into()),
                (Some(domain), _) => DomainClaim::Confirmed(domain.into()),
                (None, _) => DomainClaim::Unconfirmed,
            };
            Some(Request::identity(Identity::parse(&actor).ok()?).in_domain(domain))
        }
        "context" | "inspect_context_token" => Some(Request::Context {
            excluded: strings(&case.params["excludes"]),
        }),
        verifier => Some(Request::Authorization {
            subject: match text("subject").or(text("with_subject")) {
                Some(subject) => Some(Identity::parse(subject).ok()?),
                None => None,
            },
            resource: text("resource")?.into(),
            operation: text("operation")?.into(),
            evidence: Evidence {
                domain: text("domain").map(str::to_owned),
                component: text("component").map(str::to_owned),
                nodes: (verifier == "service_chain").then(|| nodes(&case.params["nodes"])),
                path: text("prefix").map(str::to_owned),
                designations: designations(&case.params["designations"]),
                ..Evidence::default()
            },
        }),
    }
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn nodes(list: &Value) -> Vec<ServiceNode> {
    let list = list.as_array().into_iter().flatten();
    list.map(|node| ServiceNode {
        component: node["component"].as_str().unwrap().into(),
        key: node["public_key"].as_str().unwrap().parse().unwrap(),
    })
    .collect()
}

fn designations(list: &Value) -> Vec<Designation> {
    let list = list.as_array().into_iter().flatten();
    list.map(|pair| Designation::new(pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect()
}

fn right_holds(case: &Case) -> bool {
    case.params["resource"] == "resource1"
        && case.params["operation"] == "read"
        && matches!(
            case.params["with_subject"].as_str(),
            None | Some("uri:urn:test:argo-cli0")
        )
}

fn path_is_below(case: &Case) -> bool {
    let path = case.params["prefix"].as_str();
    path == Some("tenant/TENANT123/user/USER456/report.pdf")
}
