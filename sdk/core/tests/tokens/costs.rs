//! Cost of a holder's checks: each accepted one has a constant cost, and all of one token a bounded one.

use std::time::Duration;

use biscuit_auth::builder::Algorithm;
use biscuit_auth::macros::authorizer;
use biscuit_auth::{AuthorizerLimits, Biscuit, BlockBuilder, KeyPair, PrivateKey};

use hessra_revocation::*;
use hessra_sdk_core::*;

use crate::fixture::*;
use crate::most_expensive::{self, OPERATIONS, QUERIES, code_of};

/// Checks of a token.
const CHECKS: usize = 256;
/// Facts of a token.
const FACTS: usize = 512;

fn opened(token: &str) -> Biscuit {
    most_expensive::opened(token, &key().public_key())
}

fn appended(token: &str, block: BlockBuilder) -> String {
    most_expensive::appended(token, &key().public_key(), block)
}

fn with_check(text: &str) -> String {
    appended(&identity("urn:h:alice"), code_of(text))
}

fn read_ledger() -> Request {
    Request::Identity {
        expected: None,
        purpose: Some(Purpose {
            resource: "ledger".into(),
            operation: "read".into(),
        }),
        domain: DomainClaim::Unconfirmed,
    }
}

/// Verdict of a verifier that evaluates checks of holders, as nodes do.
fn evaluated(token: &str) -> Verdict {
    asked(token, &read_ledger(), PolicyChecks::Evaluate)
}

fn asked(token: &str, request: &Request, policy_checks: PolicyChecks) -> Verdict {
    let config = VerifierConfig {
        policy_checks,
        datalog_time_max: Duration::from_secs(60),
        ..VerifierConfig::default()
    };
    Feed::new().verify_as(config, token, request, Some(Duration::ZERO), NOW)
}

#[test]
fn checks_of_constant_cost_are_evaluated() {
    for check in [
        r#"check if resource("ledger")"#,
        r#"check if resource("ledger"), operation("read")"#,
        r#"check if operation("read") or operation("list")"#,
        r#"check if resource($r), $r.starts_with("led"), $r.ends_with("ger")"#,
        r#"check if operation($o), {"read", "list"}.contains($o)"#,
        r#"check if operation($o), ["read", "list"].contains($o)"#,
        r#"check if resource($r), !($r == "payments") && $r.length() < 20"#,
        "check if time($t), $t > 5 && $t < 9999999999 || false",
        "check if time($t), $t - $t / 86400 * 86400 + 5 > 10",
        r#"check all operation($o), $o == "read""#,
        r#"reject if operation("delete")"#,
        "check if true",
    ] {
        assert_eq!(evaluated(&with_check(check)).code(), "allow", "{check}");
    }
    let hours = with_check("check if time($t), $t - $t / 86400 * 86400 + 5 < 10");
    assert_eq!(evaluated(&hours).code(), "check_failed");
}

/// Checks whose cost grows with what they are given, or cannot be told.
const COSTLY: &[&str] = &[
    r#"check if resource($r), $r.matches("(a+)+$")"#,
    r#"check if resource($r), !$r.matches("\\w{1000}{1000}")"#,
    r#"check if true || "a".matches("a{1000}{1000}")"#,
    r#"check if operation("read") or resource($r), $r.matches(".*")"#,
    r#"reject if resource($r), $r.matches(".*")"#,
    r#"check all resource($r), $r.matches(".*")"#,
    "check if [1, 2, 3].all($x -> [1, 2, 3].any($y -> $x == $y))",
    "check if {1, 2}.any($x -> $x > 1)",
    "check all operation($o), [1, 2].any($x -> $x > 1)",
    r#"check if resource($r), $r.contains("edge")"#,
    r#"check if resource($r), operation($o), $r.starts_with($o)"#,
    r#"check if resource($r), ($r + $r + $r).length() > 1"#,
    r#"check if resource($r), "a" + "b" == $r"#,
    "check if {1, 2}.union({3}) == {1, 2, 3}",
    "check if {1, 2}.intersection({1}) == {1}",
    "check if {1, 2} == {1, 2}",
    "check if [1, 2].get(0) == 1",
    r#"check if {"a": 1}.get("a") == 1"#,
    r#"check if "a".type() == "string""#,
    "check if true.try_or(true)",
    r#"check if resource($r), $r.extern::slow()"#,
    "check if resource([1, 2])",
    "check if hex:00 == hex:00",
    "check if resource($a), resource($b)",
    "check if resource($a), resource($b), resource($c), resource($d), resource($e)",
    "check if right($a, $b, $c), designation($d, $e)",
];

#[test]
fn checks_whose_cost_has_no_bound_are_refused_with_a_reason_of_their_own() {
    for check in COSTLY {
        let token = with_check(check);
        let first_party = opened(&identity("urn:h:alice")).append(code_of(check));
        let first_party = first_party.unwrap().to_base64().unwrap();
        for token in [&token, &first_party] {
            assert_eq!(evaluated(token).code(), "too_costly", "{check}");
            let refusing = asked(token, &read_ledger(), PolicyChecks::Refuse);
            assert_eq!(refusing.code(), "too_costly", "{check}");
        }
    }
}

#[test]
fn an_authorization_and_a_context_take_no_costly_check_either() {
    let minted = mint_authorization(&key(), &authorization_parameters("urn:h:alice"), &mut rng());
    let capability = Request::capability("ledger", "read");
    let excluded = Request::Context {
        excluded: Vec::new(),
    };
    for check in COSTLY {
        let token = appended(&minted.as_ref().unwrap().token, code_of(check));
        let verdict = asked(&token, &capability, PolicyChecks::Evaluate);
        assert_eq!(verdict.code(), "too_costly", "{check}");
        let token = appended(&context(1), code_of(check));
        let verdict = asked(&token, &excluded, PolicyChecks::Evaluate);
        assert_eq!(verdict.code(), "too_costly", "{check}");
    }
}

#[test]
fn checks_about_who_acts_or_of_other_trust_are_still_of_unknown_meaning() {
    for check in [
        r#"check if actor($a), $a != "urn:h:bob""#,
        r#"check if subject($s)"#,
        "check if resource($r) trusting previous",
        r#"check if tenant("t-1")"#,
        "check if parent($a), parent($b), parent($c), parent($d)",
        r#"check if actor($a), $a.matches("(a+)+$")"#,
    ] {
        let verdict = evaluated(&with_check(check));
        assert_eq!(verdict.code(), "unsupported_shape", "{check}");
    }
}

#[test]
fn a_head_is_no_place_to_hide_work() {
    use biscuit_auth::builder::{Rule, Term};
    let mut block = code_of(r#"check if designation($l, $v)"#);
    let query: &mut Rule = &mut block.checks[0].queries[0];
    query.head.terms = vec![Term::Integer(1); 1000];
    let token = appended(&identity("urn:h:alice"), block);
    assert_eq!(evaluated(&token).code(), "too_costly");
}

/// Block of checks with so many alternatives, which hold, in groups.
fn alternatives(count: usize) -> BlockBuilder {
    let alternative = r#"operation("read")"#;
    let checks = (0..count).map(|_| format!("check if {alternative}, resource(\"ledger\")"));
    code_of(&checks.collect::<Vec<_>>().join(";\n"))
}

#[test]
fn all_holders_of_a_token_share_so_many_alternatives() {
    let all = appended(&identity("urn:h:alice"), alternatives(QUERIES));
    assert_eq!(evaluated(&all).code(), "allow");
    let more = appended(&all, alternatives(1));
    assert_eq!(evaluated(&more).code(), "too_costly");
    let at_once = appended(&identity("urn:h:alice"), alternatives(QUERIES + 1));
    assert_eq!(evaluated(&at_once).code(), "too_costly");
    let one_check = ["operation(\"read\")"; QUERIES + 1].join(" or ");
    let one_check = with_check(&format!("check if {one_check}"));
    assert_eq!(evaluated(&one_check).code(), "too_costly");
}

#[test]
fn all_holders_of_a_token_share_so_many_operations() {
    // Three operations each, one more for each joint.
    let sum = |count: usize| {
        let parts = vec!["1"; count].join(" + ");
        format!("check if resource(\"ledger\"), {parts} > 0")
    };
    // n numbers, n - 1 sums, one more number and a comparison.
    let fits = with_check(&sum(OPERATIONS / 2 - 1));
    assert_eq!(evaluated(&fits).code(), "allow");
    let more = with_check(&sum(OPERATIONS / 2));
    assert_eq!(evaluated(&more).code(), "too_costly");
    let twice = appended(
        &with_check(&sum(OPERATIONS / 4)),
        code_of(&sum(OPERATIONS / 4)),
    );
    assert_eq!(evaluated(&twice).code(), "too_costly");
}

#[test]
fn a_collection_in_a_check_has_so_many_values() {
    let of = |count: usize| {
        let values: Vec<String> = (0..count).map(|value| format!("\"o{value}\"")).collect();
        with_check(&format!(
            "check if operation($o), !{{{}}}.contains($o)",
            values.join(", ")
        ))
    };
    assert_eq!(evaluated(&of(64)).code(), "allow");
    assert_eq!(evaluated(&of(65)).code(), "too_costly");
}

#[test]
fn a_token_of_too_many_parts_is_refused_before_its_signatures_are_verified() {
    let name = "x".repeat(1025);
    let facts: Vec<String> = (0..=FACTS).map(|n| format!("a({n})")).collect();
    let checks = vec!["check if b(1)"; CHECKS + 1];
    let queries = vec!["b(1)"; CHECKS + 65].join(" or ");
    let operations = vec!["1"; 600].join(" + ");
    let rules = vec!["a($x) <- b($x)"; 17];
    for (what, block) in [
        ("facts", facts.join(";")),
        ("checks", checks.join(";")),
        ("alternatives", format!("check if {queries}")),
        ("operations", format!("check if {operations} > 0")),
        ("rules", rules.join(";")),
        ("name", format!("check if b(\"{name}\")")),
        ("facts of later blocks", facts[..65].join(";")),
    ] {
        let stranger =
            KeyPair::from(&PrivateKey::from_bytes(&[77; 32], Algorithm::Ed25519).unwrap());
        let forged = biscuit_auth::macros::biscuit!("a(1)")
            .build(&stranger)
            .unwrap();
        let forged = forged.append(code_of(&block)).unwrap().to_base64().unwrap();
        assert_eq!(evaluated(&forged).code(), "too_large", "{what}");
    }
}

/// Designations of a request.
const DESIGNATIONS: usize = 64;

#[test]
fn the_most_expensive_token_that_is_accepted_costs_what_its_bounds_say() {
    let minted = mint_authorization(&key(), &authorization_parameters("urn:h:alice"), &mut rng());
    let token = most_expensive::most_expensive(&minted.unwrap().token, &key().public_key());
    let mut evidence = Evidence::default();
    for number in 0..DESIGNATIONS {
        evidence = evidence.designation(format!("label-{number}"), "value");
    }
    let request = Request::capability("ledger", "read").with(evidence);
    let verdict = |token: &str| asked(token, &request, PolicyChecks::Evaluate).code();
    assert_eq!(verdict(&token), "allow");
    // Nothing multiplies: no round of rules, and the facts are those of the token and the request.
    let biscuit = opened(&token);
    let mut running = authorizer!("allow if right($s, $r, $o)");
    for number in 0..DESIGNATIONS {
        let fact = format!("designation(\"label-{number}\", \"value\")");
        running = running.fact(fact.as_str()).unwrap();
    }
    let limits = AuthorizerLimits {
        max_time: Duration::from_secs(60),
        ..AuthorizerLimits::default()
    };
    let mut running = running.set_limits(limits).build(&biscuit).unwrap();
    running.run().unwrap();
    assert_eq!(running.iterations(), 0);
    assert!(
        running.fact_count() <= DESIGNATIONS + 8,
        "{}",
        running.fact_count()
    );
    // One of anything more is too much.
    let more = appended(&token, code_of("check if time($t), $t < 1800003600"));
    assert_eq!(verdict(&more), "too_large");
}

#[test]
fn the_sdk_makes_no_token_that_verifiers_refuse() {
    let alice = identity("urn:h:alice");
    for check in COSTLY {
        let refused = try_delegate(&alice, "urn:h:alice:x", Some(check));
        assert!(
            matches!(refused, Err(DelegateError::Check(_))),
            "{check}: {refused:?}"
        );
    }
    let refused = try_delegate(&alice, "urn:h:alice:x", Some(COSTLY[0])).unwrap_err();
    assert!(refused.to_string().contains(".matches()"), "{refused}");
    let eight = [r#"check if resource("ledger")"#; 8].join(";");
    let mut token = alice;
    for depth in 0..4 {
        let child = format!("urn:h:alice{}", ":x".repeat(depth + 1));
        token = try_delegate(&token, &child, Some(&eight)).unwrap().token;
    }
    let refused = try_delegate(&token, "urn:h:alice:x:x:x:x:y", Some(&eight));
    assert!(
        matches!(refused, Err(DelegateError::Refused(_))),
        "{refused:?}"
    );
    assert!(try_delegate(&token, "urn:h:alice:x:x:x:x:y", None).is_ok());
}

#[test]
fn what_the_mint_makes_is_within_what_verifiers_read() {
    let parents: Vec<TokenId> = (0..32u8).map(|n| TokenId::new(&[n; 64]).unwrap()).collect();
    let authorization = AuthorizationParameters {
        parents: parents.clone(),
        ..authorization_parameters("urn:h:alice")
    };
    let nodes: Vec<ServiceNode> = (0..12u8)
        .map(|n| node(&format!("service-{n}"), 100 + n))
        .collect();
    let attested: Vec<_> = (0..16u8)
        .map(|n| {
            (
                Designation::new(format!("l{n}"), "v"),
                node("", 100 + n).key,
            )
        })
        .collect();
    let demands = CapabilityDemands {
        attested,
        anchor: Some("here".into()),
        facet: Some("f".into()),
        activator: Some(node("", 99).key),
        ..CapabilityDemands::default()
    };
    let domain = DomainIdentityParameters {
        roles: (0..16).map(|n| format!("role-{n}")).collect(),
        parents: parents.clone(),
        ..domain_parameters("urn:h:realm:a")
    };
    let minted = [
        mint_service_chain(&key(), &authorization, &nodes, &mut rng()),
        mint_multi_party(&key(), &authorization, &nodes, &mut rng()),
        mint_capability(&key(), &authorization, &demands, &mut rng()),
        mint_domain_identity(&key(), &domain, &mut rng()),
    ];
    for minted in minted {
        let token = minted.unwrap().token;
        assert!(Token::parse(&token, &Limits::default()).is_ok());
    }
    assert!(Token::parse(&context(64), &Limits::default()).is_ok());
}

#[test]
fn a_token_that_would_be_too_long_is_not_minted() {
    let designations: Vec<_> = (0..16)
        .map(|n| Designation::new(format!("{n}{}", "l".repeat(250)), "v".repeat(255)))
        .collect();
    let demands = CapabilityDemands {
        designations,
        ..CapabilityDemands::default()
    };
    let parameters = AuthorizationParameters {
        parents: (0..32u8)
            .map(|n| TokenId::new(&[n; 255]).unwrap())
            .collect(),
        ..authorization_parameters("urn:h:alice")
    };
    let refused = mint_capability(&key(), &parameters, &demands, &mut rng());
    assert!(
        matches!(refused, Err(MintError::TooMany { what: "bytes", .. })),
        "{:?}",
        refused.err()
    );
}

fn context(exposures: usize) -> String {
    let parameters = ContextParameters {
        subject: name("urn:h:alice"),
        session: Session {
            id: [1; 16],
            version: 1,
        },
        exposures: (0..exposures)
            .map(|n| (format!("label-{n}"), "ledger".to_owned()))
            .collect(),
        expires_at: ENDS,
        issued_at: NOW,
        rev: REV,
        parents: Vec::new(),
    };
    mint_context(&key(), &parameters, &mut rng()).unwrap().token
}
