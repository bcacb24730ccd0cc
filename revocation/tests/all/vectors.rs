//! The conformance vectors in `sdk/core/vectors/revocation.json`, which every language's verifier runs.
//!
//! Expectations are written here by hand; the file is made from them and compared, so that it cannot drift, and then
//! run from its text alone, as another language would. Made anew with `UPDATE_GOLDENFILES=1`.

use std::collections::BTreeMap;

use hessra_revocation::{
    Change, Checkpoint, Epoch, Event, FeedEntry, FeedSalt, Follower, Identity, KeyPurpose,
    KeyState, Monotonic, PublicKeyRecord, Query, Revision, RevocationSet, Rule, RuleKind, TokenId,
    UnixSeconds, View,
};
use serde_json::{Value, json};

mod cases;

use cases::{Case, SEVENTEEN, cases, p256_signature, rule};

use crate::authority::{FEED, FeedNode, NONCE, SALT, StandIn};
use crate::words::{self, hex, unhex};

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../sdk/core/vectors/revocation.json"
);
const ABOUT: &str = "Which tokens which rules deny, in bytes. `identities`: canonical path, or null where the text is \
    refused. `token_ids`: canonical form. `cases`: the rules in canonical bytes, what a token shows, and `allow`, \
    `deny` with the kind of the rule, or `refused` where an identity is not canonical. `keys`: whether what a token \
    key signed verifies. `freshness`: knowledge at `now_ms` under a bound. `feed`: entries and the roots after them.";

fn written_case(case: &Case) -> Value {
    let rules: Vec<_> = case
        .rules
        .iter()
        .map(|rule| json!({ "canonical": hex(&rule.to_bytes()), "means": words::rule(rule) }))
        .collect();
    json!({ "name": case.name, "rules": rules, "query": case.query, "expected": case.expected })
}

/// (hello sent, tick of the welcome, tick of the checkpoint, now, bound, what the knowledge is then)
const FRESHNESS: [(u64, u64, u64, u64, u64, &str); 6] = [
    (1_000, 500, 700, 6_199, 5_000, "fresh"),
    (1_000, 500, 700, 6_200, 5_000, "fresh"),
    (1_000, 500, 700, 6_201, 5_000, "stale"),
    // A tick that runs ahead of us is taken for now.
    (1_000, 500, 99_000, 2_000, 0, "fresh"),
    // The confirmation is older than our hello, and older than our clock.
    (1_000, 5_000, 4_900, 1_000, 100, "fresh"),
    (1_000, 5_000, 3_000, 1_000, 5_000, "unknown"),
];

fn freshness() -> Vec<Value> {
    let one = |&(hello, welcome, checkpoint, now, bound, expected): &(
        u64,
        u64,
        u64,
        u64,
        u64,
        &str,
    )| {
        json!({ "hello_sent_ms": hello, "welcome_tick_ms": welcome, "checkpoint_tick_ms": checkpoint, "now_ms": now,
            "bound_ms": bound, "expected": expected })
    };
    FRESHNESS.iter().map(one).collect()
}

fn feed() -> Value {
    let mut view = View::new(FEED, Epoch(1), SALT);
    let key = PublicKeyRecord {
        id: 9,
        purpose: KeyPurpose::Feed,
        state: KeyState::Active,
        public_key: [9; 32],
    };
    let lock = rule(("lock", "urn:h:a:b", None, Some(1_000)));
    let changes = [
        Change::Key(key),
        Change::Policy { digest: [0xab; 32] },
        Change::Put(rule(("subtree", "urn:h:a:b", Some(50), None))),
        Change::Put(lock),
        Change::Put(rule(("token", "leaf", None, None))),
        Change::Remove {
            kind: RuleKind::Lock,
            digest: lock.digest,
        },
        Change::Key(PublicKeyRecord {
            id: 4,
            purpose: KeyPurpose::Token,
            state: KeyState::Retired,
            public_key: [4; 32],
        }),
        Change::Restore { epoch: Epoch(2) },
        Change::Key(PublicKeyRecord {
            id: 11,
            purpose: KeyPurpose::Audit,
            state: KeyState::Prepared,
            public_key: [11; 32],
        }),
        Change::ForgetKey { id: 4 },
    ];
    let mut entries = Vec::new();
    for change in changes {
        let entry = FeedEntry {
            revision: view.revision.next(),
            at: UnixSeconds(1_700_000_000),
            change,
        };
        view.apply(&entry).unwrap();
        entries.push(
            json!({ "canonical": hex(&entry.to_bytes()), "log_root": hex(&view.log_root()),
            "state_root": hex(&view.state_root()) }),
        );
    }
    let checkpoint = Checkpoint::of(
        &view,
        Revision(2),
        hessra_revocation::UnixMillis(1_700_000_000_123),
        77,
        5_000,
        3,
    );
    json!({ "feed_id": hex(&FEED.0), "epoch": 1, "entries": entries, "keys": hex(&view.keys_bytes()),
        "checkpoint": hex(&checkpoint.to_bytes()) })
}

fn document() -> Value {
    let spelled = [
        "urn:h:a:b",
        "uri:urn:h:a:b",
        "URI:urn:h",
        "uri:uri:x",
        "uri",
        "URN:h",
        "a/b@c.d_e~f-g",
        "host.svc.example:Agent",
        "HOST.svc.example",
        "host.svc.example.",
        "",
        ":a",
        "a:",
        "a::b",
        "a%3Ab",
        "a b",
        "ä",
        SEVENTEEN,
    ];
    let identities: Vec<_> = spelled
        .iter()
        .map(|text| json!({ "text": text, "path": Identity::parse(text).ok().map(|name| name.path().to_owned()) }))
        .collect();
    let token_ids: Vec<_> = [p256_signature(false), p256_signature(true), vec![5; 64]]
        .iter()
        .map(|raw| json!({ "raw": hex(raw), "canonical": hex(TokenId::new(raw).unwrap().as_bytes()) }))
        .collect();
    let keys: Vec<_> = [
        ("prepared", true),
        ("active", true),
        ("retired", true),
        ("revoked", false),
    ]
    .iter()
    .map(|(state, verifies)| json!({ "state": state, "verifies": verifies }))
    .collect();
    json!({ "about": ABOUT, "salt": hex(&SALT.0), "identities": identities, "token_ids": token_ids,
        "cases": cases().iter().map(written_case).collect::<Vec<_>>(), "keys": keys, "freshness": freshness(),
        "feed": feed() })
}

#[test]
fn the_vectors_on_disk_are_the_ones_made_here() {
    let made = document();
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(FILE, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert!(
        kept == made,
        "sdk/core/vectors/revocation.json differs: look at the change, then UPDATE_GOLDENFILES=1"
    );
}

/// Content of the file: through its text, as another language reads it.
fn read() -> Value {
    serde_json::from_str(&document().to_string()).unwrap()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(value.as_str().unwrap()).unwrap()
}

/// Outcome as another language would find it: from the text of the file alone.
fn outcome(salt: FeedSalt, case: &Value) -> String {
    let mut set = RevocationSet::new(salt);
    list(case, "rules")
        .iter()
        .for_each(|rule| set.put(Rule::from_bytes(&bytes(&rule["canonical"])).unwrap()));
    let query = &case["query"];
    let names = list(query, "identities")
        .iter()
        .map(|name| Identity::parse(name.as_str().unwrap()));
    let Ok(identities) = names.collect::<Result<Vec<_>, _>>() else {
        return "refused".into();
    };
    let actor = query["actor"]
        .as_str()
        .map(|name| Identity::parse(name).unwrap());
    let token_ids: Vec<_> = list(query, "token_ids")
        .iter()
        .map(|id| TokenId::new(&bytes(id)).unwrap())
        .collect();
    let third_party_keys: Vec<_> = list(query, "third_party_keys").iter().map(bytes).collect();
    let denial = set.check(&Query {
        identities: &identities,
        actor: actor.as_ref(),
        token_ids: &token_ids,
        root_key: query["root_key"].as_u64().map(|id| id.try_into().unwrap()),
        third_party_keys: &third_party_keys,
        certificate: query
            .get("certificate")
            .map(|print| bytes(print).try_into().unwrap()),
        rev: query["rev"].as_u64().map(Revision),
        now: UnixSeconds(query["now"].as_u64().unwrap_or(0)),
        skew_seconds: query["skew_seconds"].as_u64().unwrap_or(0),
    });
    denial.map_or("allow".into(), |denial| {
        format!("deny {}", words::kind(denial.rule.kind))
    })
}

#[test]
fn every_conformance_case_ends_as_it_must() {
    let document = read();
    let salt = FeedSalt(bytes(&document["salt"]).try_into().unwrap());
    let cases = list(&document, "cases");
    assert!(cases.len() >= 45, "only {} cases", cases.len());
    for case in cases {
        assert_eq!(
            outcome(salt, case),
            case["expected"].as_str().unwrap(),
            "{}",
            case["name"]
        );
    }
    for id in list(&document, "token_ids") {
        assert_eq!(
            TokenId::new(&bytes(&id["raw"])).unwrap().as_bytes(),
            bytes(&id["canonical"])
        );
    }
    for name in list(&document, "identities") {
        let path = Identity::parse(name["text"].as_str().unwrap())
            .ok()
            .map(|name| name.path().to_owned());
        assert_eq!(path.as_deref(), name["path"].as_str());
    }
}

#[test]
fn knowledge_is_fresh_up_to_its_bound() {
    for case in list(&read(), "freshness") {
        let number = |name: &str| case[name].as_u64().unwrap();
        let mut node = FeedNode {
            tick_ms: number("welcome_tick_ms"),
            ..FeedNode::new()
        };
        let mut follower = Follower::new(StandIn, BTreeMap::new());
        follower.handle(
            Event::Connected { nonce: NONCE },
            Monotonic(number("hello_sent_ms")),
        );
        let welcome = node.welcome(hessra_revocation::follower::Mode::Snapshot);
        node.tick_ms = number("checkpoint_tick_ms");
        for event in [vec![welcome], node.snapshot()].concat() {
            follower.handle(event, Monotonic(number("now_ms")));
        }
        let age = follower.freshness().age(Monotonic(number("now_ms")));
        let as_of = follower.freshness().as_of;
        assert!(
            as_of.is_none_or(|as_of| as_of.0 <= number("now_ms")),
            "as of the future: {case}"
        );
        let found = match age {
            None => "unknown",
            Some(age) if age.as_millis() <= number("bound_ms").into() => "fresh",
            Some(_) => "stale",
        };
        assert_eq!(found, case["expected"].as_str().unwrap(), "{case}");
    }
}
