//! Conversions are inverse to each other, and strict about what comes from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use hessra_proto::v1::{self, feed};
use hessra_proto::{
    Acknowledgement, ConvertError, Greeting, VerifierId, VerifierMessage, to_downstream,
};
use hessra_revocation::follower::{Mode, SignedWelcome, Welcome};
use hessra_revocation::publisher::{Hello, Nonce, ResetReason};
use hessra_revocation::{
    Epoch, Event, FeedId, FeedSalt, Identity, Revision, SignedCheckpoint, SignerKey, Target,
    TokenId,
};
use prost::Message;

fn checkpoint() -> SignedCheckpoint {
    SignedCheckpoint {
        body: vec![1, 2, 3],
        key_id: 7,
        signature: [9; 64],
    }
}

fn welcome() -> Welcome {
    Welcome {
        feed_id: FeedId([1; 16]),
        salt: FeedSalt([2; 16]),
        epoch: Epoch(3),
        head: Revision(40),
        floor: Revision(4),
        mode: Mode::Buckets,
        tick_ms: 5,
        node: 6,
        feed_keys: BTreeMap::from([(7, [8; 32]), (9, [10; 32])]),
        counted: true,
    }
}

fn signed_welcome() -> SignedWelcome {
    SignedWelcome {
        welcome: welcome(),
        key_id: 7,
        signature: [9; 64],
    }
}

fn events() -> Vec<Event> {
    let entries = vec![vec![1], vec![2, 3]];
    let mut events = vec![
        Event::Welcome(signed_welcome()),
        Event::SnapshotChunk {
            buckets: vec![0, 255],
            rules: vec![1, 2],
            keys: vec![3],
        },
        Event::SnapshotEnd {
            checkpoint: checkpoint(),
            frontier: vec![[4; 32]],
            policy_digest: [5; 32],
        },
        Event::Delta {
            from: Revision(6),
            to: Revision(7),
            entries,
            checkpoint: checkpoint(),
        },
        Event::Heartbeat(checkpoint()),
    ];
    let reasons = [
        ResetReason::Slow,
        ResetReason::Shutdown,
        ResetReason::Ahead,
        ResetReason::Fork,
        ResetReason::Restored,
        ResetReason::Overloaded,
        ResetReason::Renew,
    ];
    let reset = |reason| Event::Reset {
        reason,
        retry_after: Duration::from_millis(250),
    };
    events.extend(reasons.map(reset));
    events
}

fn greeting() -> Greeting {
    Greeting {
        hello: Hello {
            nonce: Nonce([7; 32]),
            feed_id: Some(FeedId([1; 16])),
            epoch: Epoch(2),
            from: Revision(3),
            log_root: [4; 32],
            bucket_roots: vec![[5; 32]; 256],
            feed_keys: vec![2, 9],
        },
        verifier_id: VerifierId::parse("orders-1").expect("a name"),
        capabilities: vec!["x".into()],
        client: "test 1".into(),
    }
}

fn refused(wire: feed::Downstream) -> ConvertError {
    Event::try_from(wire).expect_err("refused")
}

fn message(event: Event) -> feed::downstream::Message {
    to_downstream(event)
        .expect("sent by nodes")
        .message
        .expect("a message")
}

fn wrap(message: feed::downstream::Message) -> feed::Downstream {
    feed::Downstream {
        message: Some(message),
    }
}

#[test]
fn every_event_of_a_node_crosses_the_wire_unchanged() {
    for event in events() {
        let said = format!("{event:?}");
        let wire = to_downstream(event).expect("sent by nodes");
        assert_eq!(
            format!("{:?}", Event::try_from(wire).expect("understood")),
            said
        );
    }
    let nonce = Nonce([1; 32]);
    let own = [
        Event::Connected { nonce },
        Event::Stored(welcome()),
        Event::Disconnected,
        Event::Malformed,
    ];
    for own in own {
        assert!(to_downstream(own).is_none());
    }
}

#[test]
fn every_message_of_a_verifier_crosses_the_wire_unchanged() {
    let ack = Acknowledgement {
        revision: Revision(5),
        state_root: [6; 32],
    };
    let mut nothing = greeting();
    nothing.hello.feed_id = None;
    nothing.hello.bucket_roots = Vec::new();
    for said in [
        VerifierMessage::Hello(greeting()),
        VerifierMessage::Hello(nothing),
        VerifierMessage::Ack(ack),
    ] {
        assert_eq!(
            VerifierMessage::try_from(feed::Upstream::from(said.clone())),
            Ok(said)
        );
    }
}

#[test]
fn a_message_without_a_meaning_is_refused() {
    assert_eq!(
        refused(feed::Downstream { message: None }),
        ConvertError::Missing("downstream.message")
    );
    assert!(VerifierMessage::try_from(feed::Upstream { message: None }).is_err());
    let heartbeat = feed::downstream::Message::Heartbeat(feed::Heartbeat { checkpoint: None });
    assert_eq!(
        refused(wrap(heartbeat)),
        ConvertError::Missing("checkpoint")
    );
}

#[test]
fn a_field_of_the_wrong_length_is_named() {
    let feed::downstream::Message::Welcome(mut wire) = message(Event::Welcome(signed_welcome()))
    else {
        unreachable!()
    };
    wire.salt.pop();
    let error = refused(wrap(feed::downstream::Message::Welcome(wire)));
    assert_eq!(
        error.to_string(),
        "`welcome.salt` must have 16 bytes, this one has 15"
    );

    let mut wire = feed::Hello::from(greeting());
    wire.bucket_roots.pop();
    assert!(matches!(
        Greeting::try_from(wire),
        Err(ConvertError::Length {
            field: "hello.bucket_roots",
            ..
        })
    ));
}

#[test]
fn unknown_numbers_are_not_taken_for_a_default() {
    let feed::downstream::Message::Welcome(wire) = message(Event::Welcome(signed_welcome())) else {
        unreachable!()
    };
    for mode in [0, 99] {
        let wire = feed::Welcome {
            mode,
            ..wire.clone()
        };
        assert!(matches!(
            refused(wrap(feed::downstream::Message::Welcome(wire))),
            ConvertError::Unknown { .. }
        ));
    }
    for reason in [0, 99] {
        let reset = feed::downstream::Message::Reset(feed::Reset {
            reason,
            retry_after_ms: 0,
        });
        assert!(matches!(refused(wrap(reset)), ConvertError::Unknown { .. }));
    }
    let chunk = feed::SnapshotChunk {
        buckets: vec![256],
        rules: Vec::new(),
        keys: Vec::new(),
    };
    assert!(matches!(
        refused(wrap(feed::downstream::Message::Snapshot(chunk))),
        ConvertError::Unknown { .. }
    ));
}

#[test]
fn a_delta_has_one_entry_for_each_of_its_revisions() {
    for (from, to, count) in [(5, 6, 1), (6, 5, 1), (0, u64::MAX, 0), (6, 5, 0)] {
        let (entries, checkpoint) = (vec![vec![1]; count], Some(checkpoint().into()));
        let delta = feed::Delta {
            from,
            to,
            entries,
            checkpoint,
            traces: Vec::new(),
        };
        assert!(matches!(
            refused(wrap(feed::downstream::Message::Delta(delta))),
            ConvertError::Rule { .. }
        ));
    }
}

#[test]
fn a_feed_key_named_twice_is_refused() {
    let feed::downstream::Message::Welcome(mut wire) = message(Event::Welcome(signed_welcome()))
    else {
        unreachable!()
    };
    wire.feed_keys.push(feed::FeedKey {
        id: 7,
        public_key: vec![11; 32],
    });
    let error = refused(wrap(feed::downstream::Message::Welcome(wire)));
    assert_eq!(
        error.to_string(),
        "`welcome.feed_keys`: key 7 is named twice"
    );
}

#[test]
fn a_node_cannot_send_a_verifier_away_for_ever() {
    let reset = feed::Reset {
        reason: feed::reset::Reason::Overloaded.into(),
        retry_after_ms: u32::MAX,
    };
    let event = Event::try_from(wrap(feed::downstream::Message::Reset(reset))).expect("understood");
    assert!(
        matches!(event, Event::Reset { retry_after, .. } if retry_after == Duration::from_secs(300))
    );
}

#[test]
fn verifier_ids_have_a_grammar() {
    for good in ["a", "orders-1", "a.b_C-9", &"x".repeat(64)] {
        assert_eq!(VerifierId::parse(good).expect("good").as_str(), good);
    }
    for bad in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
        assert!(VerifierId::parse(bad).is_err(), "`{bad}`");
    }
}

#[test]
fn targets_cross_the_wire_and_names_are_refused_not_repaired() {
    let identity = || Identity::parse("urn:h:alice").expect("canonical");
    let targets = [
        Target::Token(TokenId::new(&[3; 64]).expect("an id")),
        Target::Subtree(identity()),
        Target::Exact(identity()),
        Target::Key(5),
        Target::Signer(SignerKey::P256([2; 33])),
        Target::Certificate([6; 32]),
    ];
    for target in targets {
        assert_eq!(Target::try_from(&v1::Target::from(&target)), Ok(target));
    }
    assert_eq!(
        Target::try_from(&v1::Target::from(&Target::Lock(identity()))),
        Ok(Target::Subtree(identity())),
        "that it is a lock is said by `until`"
    );
    for bad in ["", "urn:h:", "urn::h", "urn:h:a%20b"] {
        let kind = v1::target::Kind::Subtree(bad.into());
        assert!(
            Target::try_from(&v1::Target { kind: Some(kind) }).is_err(),
            "`{bad}`"
        );
    }
    let kind = v1::target::Kind::Signer(vec![1; 36]);
    assert!(Target::try_from(&v1::Target { kind: Some(kind) }).is_err());
    let kind = v1::target::Kind::Certificate(vec![1; 20]);
    assert!(Target::try_from(&v1::Target { kind: Some(kind) }).is_err());
}

#[test]
fn the_bytes_of_a_target_in_a_request_are_pinned() {
    let identity = || Identity::parse("urn:h").expect("canonical");
    // Tag (field number << 3 | wire type), length, content.
    let pinned: [(Target, &[u8]); 7] = [
        (
            Target::Token(TokenId::new(&[1, 2, 3]).expect("an id")),
            b"\x0a\x03\x01\x02\x03",
        ),
        (Target::Subtree(identity()), b"\x12\x05urn:h"),
        (Target::Exact(identity()), b"\x1a\x05urn:h"),
        (Target::Key(300), b"\x20\xac\x02"),
        (Target::Signer(SignerKey::Ed25519([7; 32])), b"\x3a\x24\x00\x00\x00\x00\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07"),
        (
            Target::Certificate([7; 32]),
            b"\x2a\x20\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07",
        ),
        (Target::Lock(identity()), b"\x12\x05urn:h"),
    ];
    for (target, bytes) in pinned {
        assert_eq!(v1::Target::from(&target).encode_to_vec(), bytes);
    }
    // A lock of the log (field 6) is no target of a request.
    let lock = v1::Target::decode(&b"\x32\x05urn:h"[..]).expect("an unknown field is dropped");
    assert_eq!(
        Target::try_from(&lock),
        Err(ConvertError::Missing("target"))
    );
}
