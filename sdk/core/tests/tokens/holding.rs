//! Checks given at delegation hold for some use of the token, or are refused there with a sentence.

use std::time::Duration;

use hessra_revocation::UnixSeconds;
use hessra_sdk_core::*;

use crate::fixture::*;

/// Verdict on a child with this check, where it reads the ledger at `now`.
fn used(token: &str, now: u64) -> &'static str {
    let config = VerifierConfig {
        policy_checks: PolicyChecks::Evaluate,
        ..VerifierConfig::default()
    };
    let request = Request::Identity {
        expected: None,
        purpose: Some(Purpose {
            resource: "ledger".into(),
            operation: "read".into(),
        }),
        domain: DomainClaim::Unconfirmed,
    };
    let age = Some(Duration::ZERO);
    Feed::new()
        .verify_as(config, token, &request, age, UnixSeconds(now))
        .code()
}

fn with(check: &str) -> Result<Delegated, DelegateError> {
    try_delegate(&identity("urn:h:alice"), "urn:h:alice:x", Some(check))
}

#[test]
fn what_is_accepted_at_delegation_holds_at_a_verifier() {
    for check in [
        "check if time($t), $t < 2030-01-01T00:00:00Z",
        "check if time($t), $t <= 2030-01-01T00:00:00Z",
        "check if time($t), 2030-01-01T00:00:00Z > $t",
        "check if time($t), $t > 2020-01-01T00:00:00Z, $t != 2029-01-01T00:00:00Z",
        "check if time($t), $t >= 2020-01-01T00:00:00Z && $t < 2030-01-01T00:00:00Z",
        "check if time($t), ($t >= 2020-01-01T00:00:00Z)",
        "check if time($t), !($t > 2030-01-01T00:00:00Z)",
        "check all time($t), $t < 2030-01-01T00:00:00Z",
        "reject if time($t), $t >= 2030-01-01T00:00:00Z",
        "check if time($t), $t < 1900000000",
        "check if time($t), $t < 5 || $t < 1900000000",
        "check if time($t), $t - $t / 86400 * 86400 < 86400",
        r#"check if resource("ledger"), operation("read")"#,
        r#"check if operation("write") or operation("read")"#,
        r#"check if resource($r), $r == "ledger", $r != "books""#,
        r#"check if resource($r), ["ledger", "books"].contains($r), $r.starts_with("led")"#,
        r#"check if operation($o), {"read", "list"}.contains($o) && $o.length() < 5"#,
        r#"reject if operation("write")"#,
        "check if true",
    ] {
        let token = with(check).unwrap_or_else(|error| panic!("{check}: {error}"));
        assert_eq!(used(&token.token, NOW.0), "allow", "{check}");
    }
}

#[test]
fn a_bound_that_is_written_as_a_time_ends_the_token_then() {
    // 1 800 000 060.
    for check in [
        "check if time($t), $t < 2027-01-15T08:01:00Z",
        "check if time($t), $t <= 2027-01-15T08:00:59Z",
    ] {
        let token = with(check).unwrap().token;
        assert_eq!(used(&token, NOW.0 + 59), "allow", "{check}");
        assert_ne!(used(&token, NOW.0 + 60), "allow", "{check}");
    }
    let made = with("check if time($t), $t < 2027-01-15T08:01:00Z").unwrap();
    assert_eq!(made.expires_at, UnixSeconds(NOW.0 + 60));
}

#[test]
fn a_check_that_no_request_could_meet_is_refused_with_what_to_write() {
    use NeverHolds as Never;
    type Is = fn(&Never) -> bool;
    let kinds: Is = |why| matches!(why, Never::Operands { .. } | Never::Operand { .. });
    let fact: Is = |why| matches!(why, Never::Fact { .. });
    let ended: Is = |why| matches!(why, Never::NotInItsLife);
    let rejects: Is = |why| matches!(why, Never::AlwaysRejects);
    let cases: [(&str, Is); 31] = [
        ("check if resource($r), $r < 2030-01-01T00:00:00Z", kinds),
        ("check if resource($r), $r == 5", kinds),
        ("check if resource($r), $r != 5", kinds),
        (r#"check if time($t), $t < "2030-01-01""#, kinds),
        (r#"check if operation($o), $o < "z""#, kinds),
        (r#"check if time($t), $t < 1900000000 || $t == "x""#, kinds),
        (
            r#"check if operation("read") or time($t), $t === "x""#,
            kinds,
        ),
        (r#"check if time($t), ["a"].contains($t)"#, kinds),
        ("check if operation($o), [].contains($o)", kinds),
        ("check if time($t), !$t", kinds),
        ("check if time($t), $t.length() > 1", kinds),
        (r#"reject if time($t), $t == "x""#, kinds),
        (r#"check if time("2030")"#, fact),
        ("check if resource(5)", fact),
        (r#"check if resource("ledger", "read")"#, fact),
        ("check if time($x), resource($x)", fact),
        ("check if time($t), $t < 2020-01-01T00:00:00Z", ended),
        ("check if time($t), $t <= 5", ended),
        ("check if time($t), $t > 2030-01-01T00:00:00Z", ended),
        ("check if time(2020-01-01T00:00:00Z)", ended),
        ("check if time($t), $t < 1800000010, $t > 1800000020", ended),
        (
            "check if time($t), $t > 1800000020 && $t < 1800000010",
            ended,
        ),
        ("check if false", ended),
        ("check if 1 > 2", ended),
        (r#"check if resource($r), $r == "a", $r == "b""#, ended),
        (
            r#"check if resource($r), $r == "a" && $r.starts_with("b")"#,
            ended,
        ),
        (
            r#"check if operation($o), ["a", "b"].contains($o), $o == "c""#,
            ended,
        ),
        ("reject if time($t)", rejects),
        ("reject if time($t), $t > 2020-01-01T00:00:00Z", rejects),
        ("reject if true", rejects),
        ("reject if resource($r)", rejects),
    ];
    for (check, is_the_reason) in cases {
        match with(check) {
            Err(DelegateError::NeverHolds(why)) => {
                assert!(is_the_reason(&why), "{check}: {why}");
                assert!(why.to_string().contains(": "), "{why}");
            }
            other => panic!("{check}: {other:?}"),
        }
    }
    for (check, expected) in [
        ("check if time($t), $t / 0 > 1", Never::Division),
        (
            "check if time($t), $t + 9223372036854775807 > 1",
            Never::Overflow,
        ),
        (
            "check if time($t), $t + 1",
            Never::NoAnswer { kind: "a number" },
        ),
    ] {
        assert_eq!(
            with(check).unwrap_err(),
            DelegateError::NeverHolds(expected),
            "{check}"
        );
    }
}

#[test]
fn an_identity_has_no_rights_and_no_designations_to_check() {
    for check in [
        r#"check if right("urn:h:alice", "ledger", "read")"#,
        "check if resource($r), operation($o), right($s, $r, $o)",
        r#"check if designation("tenant", "t-1")"#,
        r#"check if prefix("a")"#,
    ] {
        let refused = with(check).unwrap_err();
        assert!(
            matches!(&refused, DelegateError::Check(why) if why.contains("no use of an identity")),
            "{check}: {refused}"
        );
    }
}

#[test]
fn a_restriction_is_held_to_the_same() {
    let restricted = |checks| {
        let restriction = Restriction {
            expires_at: None,
            checks: Some(checks),
        };
        let token = identity("urn:h:alice");
        restrict(&token, &keyring(), &restriction, NOW, &mut rng())
    };
    let made = restricted("check if time($t), $t < 2027-01-15T08:01:00Z").unwrap();
    assert_eq!(made.expires_at, UnixSeconds(NOW.0 + 60));
    assert_eq!(used(&made.token, NOW.0), "allow");
    let refused = restricted("check if resource($r), $r < 5");
    assert!(matches!(refused, Err(DelegateError::NeverHolds(_))));
}

#[test]
fn what_is_nested_too_deeply_is_refused_by_name() {
    let arrays = format!("check if {}1{}.contains(1)", "[".repeat(60), "]".repeat(60));
    let sides = format!("check if {}true{}", "true && (".repeat(60), ")".repeat(60));
    let text = format!(r#"check if resource("{}")"#, "[".repeat(60));
    for check in [&arrays, &sides] {
        let refused = with(check).unwrap_err();
        assert!(
            matches!(&refused, DelegateError::Check(why) if why.contains("levels")),
            "{refused}"
        );
    }
    assert!(with(&text).is_ok());
}

#[test]
fn a_token_that_nests_too_deeply_is_refused_by_name_however_deep() {
    let nested = |check: String| {
        let key = biscuit_auth::KeyPair::new();
        let block = biscuit_auth::Biscuit::builder().code(check).unwrap();
        block.build(&key).unwrap().to_base64().unwrap()
    };
    let arrays = |depth| format!("check if {}1{} == 1", "[".repeat(depth), "]".repeat(depth));
    let sides = |depth| {
        let (open, close) = ("true && (".repeat(depth), ")".repeat(depth));
        format!("check if {open}true{close}")
    };
    for depth in [17, 30] {
        for token in [nested(arrays(depth)), nested(sides(depth))] {
            assert_eq!(
                Token::parse(&token, &Limits::default()).unwrap_err(),
                TokenError::TooMany {
                    what: "levels of collections or conditions in each other",
                    count: depth,
                    limit: 16
                }
            );
        }
    }
    for token in [nested(arrays(16)), nested(sides(16))] {
        assert!(Token::parse(&token, &Limits::default()).is_ok());
    }
    // Deeper than the decoder goes: made by hand, because no library makes or reads it.
    let mut term = vec![0x10, 1];
    for _ in 0..60 {
        term = field(9, &field(1, &term));
    }
    let fact = field(4, &field(1, &[vec![0x08, 1], field(2, &term)].concat()));
    let block = [vec![0x18, 6], fact].concat();
    let token = nested("check if true".to_owned());
    let bytes = data_encoding::BASE64URL.decode(token.as_bytes()).unwrap();
    let token = data_encoding::BASE64URL.encode(&with_authority(&bytes, &block));
    let refused = Token::parse(&token, &Limits::default()).unwrap_err();
    assert!(
        matches!(refused, TokenError::TooMany { limit: 16, .. }),
        "{refused}"
    );
}

/// Field of protobuf that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(content.len()), content].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The token with another authority block; its signature does not fit any more.
fn with_authority(token: &[u8], block: &[u8]) -> Vec<u8> {
    use biscuit_auth::format::schema;
    use prost_biscuit::Message as _;
    let mut envelope = schema::Biscuit::decode(token).unwrap();
    envelope.authority.block = block.to_vec();
    envelope.encode_to_vec()
}
