//! Cases of the vectors, written by hand: allowed and denied.

use hessra_revocation::{Digest, Rule, RuleKind, TokenId, UnixSeconds};
use serde_json::{Value, json};

use crate::authority::SALT;
use crate::words::{self, fingerprint, hex, token_id, unhex};

/// A rule about what it names: kind, name, cut-off, end.
pub(super) type Made = (&'static str, &'static str, Option<u64>, Option<u64>);

pub(super) struct Case {
    pub name: &'static str,
    pub rules: Vec<Rule>,
    pub query: Value,
    pub expected: &'static str,
}

pub(super) fn rule((kind, name, before, until): Made) -> Rule {
    let target = words::target(kind, name).unwrap();
    Rule::new(
        &SALT,
        &target,
        words::cutoff(before),
        until.map(UnixSeconds),
    )
}

fn case(name: &'static str, rules: &[Made], query: Value, expected: &'static str) -> Case {
    Case {
        name,
        rules: rules.iter().map(|made| rule(*made)).collect(),
        query,
        expected,
    }
}

fn actor(name: &str) -> Value {
    json!({ "actor": name, "identities": [name], "rev": 100 })
}

fn ids(names: &[&str]) -> Value {
    json!({ "token_ids": names.iter().map(|name| hex(token_id(name).as_bytes())).collect::<Vec<_>>(), "rev": 100 })
}

fn rev(rev: Option<u64>) -> Value {
    json!({ "identities": ["urn:h:a:b"], "rev": rev })
}

fn at(now: u64, skew: u64) -> Value {
    json!({ "identities": ["urn:h:a:b:c"], "rev": 100, "now": now, "skew_seconds": skew })
}

const PERMANENT: &[Made] = &[("subtree", "urn:h:a:b", None, None)];
const BEFORE_50: &[Made] = &[("subtree", "urn:h:a:b", Some(50), None)];
const LOCK: &[Made] = &[("lock", "urn:h:a:b", None, Some(1_000))];
pub(super) const SEVENTEEN: &str = "urn:h:a:b:5:6:7:8:9:10:11:12:13:14:15:16:17";

fn names() -> Vec<Case> {
    vec![
        case("no rule at all", &[], actor("urn:h:a:b"), "allow"),
        case(
            "the name itself",
            PERMANENT,
            actor("urn:h:a:b"),
            "deny subtree",
        ),
        case(
            "below the name",
            PERMANENT,
            actor("urn:h:a:b:c"),
            "deny subtree",
        ),
        case("above the name", PERMANENT, actor("urn:h:a"), "allow"),
        case(
            "a longer segment is another segment",
            PERMANENT,
            actor("urn:h:a:bc"),
            "allow",
        ),
        case(
            "no case folding in a segment",
            PERMANENT,
            actor("urn:h:a:B"),
            "allow",
        ),
        case(
            "no case folding of urn",
            PERMANENT,
            actor("URN:h:a:b"),
            "allow",
        ),
        case(
            "a leading uri is a spelling",
            PERMANENT,
            actor("uri:urn:h:a:b:c"),
            "deny subtree",
        ),
        case(
            "in any case",
            PERMANENT,
            actor("URI:urn:h:a:b"),
            "deny subtree",
        ),
        case(
            "a rule spelled with uri",
            &[("subtree", "uri:urn:h:a:b", None, None)],
            actor("urn:h:a:b"),
            "deny subtree",
        ),
        case(
            "only one uri is stripped",
            PERMANENT,
            actor("uri:uri:urn:h:a:b"),
            "allow",
        ),
        case(
            "a trailing colon",
            PERMANENT,
            actor("urn:h:a:b:"),
            "refused",
        ),
        case(
            "an empty segment",
            PERMANENT,
            actor("urn:h:a:b::c"),
            "refused",
        ),
        case("an escape", PERMANENT, actor("urn:h:a:b%3Ac"), "refused"),
        case("seventeen segments", PERMANENT, actor(SEVENTEEN), "refused"),
        case(
            "sixteen segments",
            PERMANENT,
            actor(&SEVENTEEN[..SEVENTEEN.len() - 3]),
            "deny subtree",
        ),
        case(
            "the subject of a right, not the actor",
            PERMANENT,
            json!({ "actor": "urn:h:x", "identities": ["urn:h:x", "urn:h:a:b:c"], "rev": 100 }),
            "deny subtree",
        ),
        case(
            "exact: the actor",
            &[("exact", "urn:h:a:b", None, None)],
            actor("urn:h:a:b"),
            "deny exact",
        ),
        case(
            "exact does not descend",
            &[("exact", "urn:h:a:b", None, None)],
            actor("urn:h:a:b:c"),
            "allow",
        ),
        case(
            "exact is not about subjects",
            &[("exact", "urn:h:a:b", None, None)],
            json!({ "actor": "urn:h:x", "identities": ["urn:h:x", "urn:h:a:b"], "rev": 100 }),
            "allow",
        ),
    ]
}

fn token_ids() -> Vec<Case> {
    let middle: &[Made] = &[("token", "middle", None, None)];
    vec![
        case(
            "authority block",
            &[("token", "authority", None, None)],
            ids(&["authority", "middle", "leaf"]),
            "deny token",
        ),
        case(
            "middle block",
            middle,
            ids(&["authority", "middle", "leaf"]),
            "deny token",
        ),
        case(
            "leaf block",
            &[("token", "leaf", None, None)],
            ids(&["authority", "middle", "leaf"]),
            "deny token",
        ),
        case(
            "recorded ancestor",
            middle,
            ids(&["authority of another token", "middle"]),
            "deny token",
        ),
        case(
            "a token derived beside",
            middle,
            ids(&["authority", "other middle", "leaf"]),
            "allow",
        ),
        Case {
            name: "the high-s twin of a revoked P-256 block",
            rules: vec![Rule::new(
                &SALT,
                &hessra_revocation::Target::Token(TokenId::new(&p256_signature(false)).unwrap()),
                words::cutoff(None),
                None,
            )],
            query: json!({ "token_ids": [hex(&p256_signature(true))] }),
            expected: "deny token",
        },
    ]
}

fn cutoffs_and_locks() -> Vec<Case> {
    let narrow_strong: &[Made] = &[
        ("subtree", "urn:h:a:b", Some(50), None),
        ("subtree", "urn:h:a", Some(10), None),
    ];
    let wide_strong: &[Made] = &[
        ("subtree", "urn:h:a:b", Some(10), None),
        ("subtree", "urn:h:a", Some(50), None),
    ];
    let lifted: &[Made] = &[("subtree", "urn:h:a:b", Some(60), None)];
    let revoked_again: &[Made] = &[("subtree", "urn:h:a:b", Some(80), None)];
    vec![
        case(
            "one below the cut-off",
            BEFORE_50,
            rev(Some(49)),
            "deny subtree",
        ),
        case("at the cut-off", BEFORE_50, rev(Some(50)), "allow"),
        case("one above the cut-off", BEFORE_50, rev(Some(51)), "allow"),
        case(
            "no revision in the token",
            BEFORE_50,
            rev(None),
            "deny subtree",
        ),
        case(
            "permanent, whatever the revision",
            PERMANENT,
            rev(Some(u64::MAX)),
            "deny subtree",
        ),
        case(
            "a wider rule is weaker",
            narrow_strong,
            rev(Some(49)),
            "deny subtree",
        ),
        case(
            "a narrower rule is weaker",
            wide_strong,
            rev(Some(49)),
            "deny subtree",
        ),
        case("past both", wide_strong, rev(Some(50)), "allow"),
        case(
            "lifted: old tokens stay dead",
            lifted,
            rev(Some(59)),
            "deny subtree",
        ),
        case("lifted: new tokens live", lifted, rev(Some(60)), "allow"),
        case(
            "revoked again after the lift",
            revoked_again,
            rev(Some(60)),
            "deny subtree",
        ),
        case(
            "issued after the second revocation",
            revoked_again,
            rev(Some(80)),
            "allow",
        ),
        case("a lock before its end", LOCK, at(999, 0), "deny lock"),
        case("a lock at its end", LOCK, at(1_000, 0), "allow"),
        case("a lock within the skew", LOCK, at(1_029, 30), "deny lock"),
        case("a lock past the skew", LOCK, at(1_030, 30), "allow"),
        case(
            "a lock without an end",
            &[("lock", "urn:h:a:b", None, None)],
            at(u64::MAX, 0),
            "deny lock",
        ),
    ]
}

fn keys_and_the_unknown() -> Vec<Case> {
    let print = |name: &str| json!({ "certificate": hex(&fingerprint(name)), "rev": 100 });
    let key: &[Made] = &[("key", "7", None, None)];
    let certificate: &[Made] = &[("certificate", "laptop", None, None)];
    let third_party = [&[0, 0, 0, 0][..], &[0x11; 32]].concat();
    let plain = |kind: RuleKind, canonical: &[u8]| Rule {
        kind,
        digest: Digest::of(&SALT, kind, canonical),
        depth: 0,
        cutoff: words::cutoff(None),
        until: None,
    };
    vec![
        case("root key id", key, json!({ "root_key": 7 }), "deny key"),
        case(
            "another root key id",
            key,
            json!({ "root_key": 8 }),
            "allow",
        ),
        case("no root key id", key, json!({}), "allow"),
        Case {
            name: "key of a third-party block",
            rules: vec![plain(RuleKind::Key, &third_party)],
            query: json!({ "root_key": 1, "third_party_keys": [hex(&[2; 36]), hex(&third_party)] }),
            expected: "deny key",
        },
        case(
            "client certificate",
            certificate,
            print("laptop"),
            "deny certificate",
        ),
        case(
            "another client certificate",
            certificate,
            print("desktop"),
            "allow",
        ),
        Case {
            name: "a kind of a newer cluster denies everything",
            rules: vec![plain(RuleKind::Unknown(200), b"whatever")],
            query: actor("urn:unrelated"),
            expected: "deny unknown 200",
        },
    ]
}

pub(super) fn cases() -> Vec<Case> {
    [
        names(),
        token_ids(),
        cutoffs_and_locks(),
        keys_and_the_unknown(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// DER of an ECDSA signature with r of ones, and s low or its twin.
pub(super) fn p256_signature(high: bool) -> Vec<u8> {
    const LOW: &str = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";
    let s = if high {
        high_s(LOW)
    } else {
        unhex(LOW).unwrap()
    };
    let integer = |digits: &[u8]| {
        let sign: &[u8] = if digits[0] >= 0x80 { &[0] } else { &[] };
        let number = [sign, digits].concat();
        [&[2, number.len() as u8][..], &number].concat()
    };
    let body = [integer(&[0x11; 32]), integer(&s)].concat();
    [&[0x30, body.len() as u8][..], &body].concat()
}

fn high_s(low: &str) -> Vec<u8> {
    let order = unhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let low = unhex(low).unwrap();
    let mut borrow = 0;
    let mut twin: Vec<u8> = (0..32)
        .rev()
        .map(|at| {
            let digit = i16::from(order[at]) - i16::from(low[at]) - borrow;
            borrow = i16::from(digit < 0);
            digit.rem_euclid(256) as u8
        })
        .collect();
    twin.reverse();
    twin
}
