//! Encoding and decoding are inverses, and bytes that are not understood are refused.

use std::sync::Arc;
use std::time::Duration;

use hessra_revocation::{
    Cutoff, FeedSalt, Identity, KeyPurpose, KeyState, Revision, Rule, SignerKey, Target, TokenId,
    UnixMillis, UnixSeconds,
};
use hessra_sled::codec::{
    CodecError, decode_entry, decode_record, encode_batch, encode_entry, encode_record,
    stamped_len, target_len,
};
use hessra_sled::{Entry, Member, Proposal};
use hessra_state::{
    Applied, Approval, ChainHead, ChainName, Command, ContextStep, ContextVersion, Envelope,
    FacetId, Incarnation, Judged, KeyCommand, Lift, Lifted, Line, Machine, MemberChange, Pending,
    PendingAction, PendingId, Policy, PolicyChange, PolicyOrigin, PolicyVersion, Record, Refusal,
    RefusalCode, RequestId, Revocation, Revoke, Revoked, SealedKey, SessionId, Spend, Spent, Start,
    Undo, Why, Witness, Witnessed,
};
use openraft::EntryPayload;
use proptest::prelude::*;
use prost::Message;

use crate::support::{entry, id, init, membership, stamped};

fn identity() -> impl Strategy<Value = Identity> {
    proptest::collection::vec("[a-z0-9._~@/-]{1,12}", 2..6)
        .prop_map(|segments| Identity::parse(&format!("urn:{}", segments.join(":"))).unwrap())
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 64)
            .prop_map(|bytes| Target::Token(TokenId::new(&bytes).unwrap())),
        identity().prop_map(Target::Subtree),
        identity().prop_map(Target::Exact),
        identity().prop_map(Target::Lock),
        any::<u32>().prop_map(Target::Key),
        any::<[u8; 32]>().prop_map(|key| Target::Signer(SignerKey::Ed25519(key))),
        any::<[u8; 32]>().prop_map(Target::Certificate),
    ]
}

fn key() -> impl Strategy<Value = SealedKey> {
    let states = [
        KeyState::Prepared,
        KeyState::Active,
        KeyState::Retired,
        KeyState::Revoked,
    ];
    let purposes = KeyPurpose::ALL;
    (
        any::<u32>(),
        0..3usize,
        0..4usize,
        any::<[u8; 32]>(),
        ".{0,40}",
        any::<u64>(),
    )
        .prop_map(
            move |(id, purpose, state, public_key, sealed, changed_at)| SealedKey {
                id,
                purpose: purposes[purpose],
                state: states[state],
                public_key,
                sealed: sealed.into_bytes(),
                changed_at: Revision(changed_at),
                published: UnixMillis(changed_at / 2),
                since: UnixMillis(changed_at / 3),
            },
        )
}

fn undo() -> impl Strategy<Value = Undo> {
    (".{0,20}", any::<u64>(), ".{0,20}", ".{0,20}").prop_map(|(operator, since, reason, ticket)| {
        Undo {
            operator,
            since: UnixMillis(since),
            reason,
            ticket,
        }
    })
}

fn pending_action() -> impl Strategy<Value = PendingAction> {
    let revoke = (proptest::collection::vec(target(), 0..4), any::<bool>()).prop_map(
        |(targets, permanent)| {
            PendingAction::Revoke(Revoke {
                targets,
                permanent,
                until: None,
                reason: "test".into(),
                ticket: String::new(),
                message: String::new(),
            })
        },
    );
    let lift = (any::<u64>(), any::<bool>()).prop_map(|(revision, restore)| {
        PendingAction::Lift(Lift {
            of: None,
            revision: Revision(revision),
            restore,
            reason: "test".into(),
        })
    });
    prop_oneof![
        revoke,
        lift,
        undo().prop_map(PendingAction::Undo),
        any::<u32>().prop_map(PendingAction::RevokeKey),
        any::<u64>().prop_map(|id| PendingAction::Members(MemberChange::Remove(id))),
        (any::<u64>(), ".{0,50}").prop_map(|(revision, text)| PendingAction::ApplyPolicy {
            based_on: Revision(revision),
            policy: Policy::new(text, String::new()),
            change: PolicyChange {
                origin: PolicyOrigin::Rollback(Revision(revision)),
                ..PolicyChange::default()
            },
        }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let policy =
        (".{0,50}", ".{0,50}").prop_map(|(clients, resources)| Policy::new(clients, resources));
    let revoke = (
        proptest::collection::vec(target(), 0..4),
        any::<bool>(),
        any::<Option<u64>>(),
        ".{0,20}",
        ".{0,20}",
        ".{0,20}",
    );
    prop_oneof![
        Just(Command::Init(init())),
        revoke.prop_map(
            |(targets, permanent, until, reason, ticket, message)| Command::Revoke(Revoke {
                targets,
                permanent,
                until: until.map(UnixSeconds),
                reason,
                ticket,
                message
            })
        ),
        (any::<u64>(), any::<bool>(), ".{0,20}").prop_map(|(revision, restore, reason)| {
            Command::Lift(Lift {
                of: restore.then(|| Identity::parse("urn:h").unwrap()),
                revision: Revision(revision),
                restore,
                reason,
            })
        }),
        undo().prop_map(Command::Undo),
        (any::<u64>(), policy, policy_change()).prop_map(|(based_on, policy, change)| {
            Command::ApplyPolicy {
                based_on: Revision(based_on),
                policy,
                change,
            }
        }),
        key().prop_map(|key| Command::Key(KeyCommand::Prepare(key))),
        (any::<u32>(), any::<Option<u32>>(), any::<Option<u32>>()).prop_map(
            |(id, min, instead_of)| {
                let published_for_min = min.map(|min| Duration::from_millis(min.into()));
                Command::Key(KeyCommand::Activate {
                    id,
                    published_for_min,
                    instead_of,
                })
            }
        ),
        (any::<u32>(), any::<[u8; 9]>()).prop_map(|(id, sealed)| {
            let sealed = sealed.to_vec();
            Command::Key(KeyCommand::Rewrap(vec![Envelope { id, sealed }]))
        }),
        pending_action().prop_map(Command::Ask),
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(id, action)| Command::Approve(Approval {
            id: PendingId(id),
            action
        })),
        any::<u64>().prop_map(|id| Command::Members(MemberChange::Remove(id))),
        any::<u64>().prop_map(|id| Command::Members(MemberChange::Add {
            id,
            peer_address: "a:1".into(),
            public_address: "b:2".into()
        })),
        any::<u64>().prop_map(|id| Command::Cancel(PendingId(id))),
        any::<u32>().prop_map(|id| Command::Key(KeyCommand::Retire(id))),
        any::<u32>().prop_map(|id| Command::Key(KeyCommand::Revoke(id))),
        any::<u64>().prop_map(|now| Command::Collect {
            now: UnixSeconds(now)
        }),
        (any::<[u8; 32]>(), any::<u64>(), judged()).prop_map(|(facet, end, judged)| {
            Command::Spend(Spend {
                facet: FacetId(facet),
                expires_at: UnixSeconds(end),
                judged,
            })
        }),
        (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), judged()).prop_map(
            |(session, from, end, judged)| {
                Command::Context(ContextStep {
                    session: SessionId(session),
                    from,
                    expires_at: UnixSeconds(end),
                    judged,
                })
            }
        ),
        any::<u32>().prop_map(Command::RaiseVersion),
        start().prop_map(Command::Started),
        (any::<u64>(), ".{0,20}")
            .prop_map(|(node, ticket)| Command::AcceptAuditLoss { node, ticket }),
        (any::<u64>(), ".{0,20}")
            .prop_map(|(number, ticket)| Command::SetClockBack { number, ticket }),
        (
            chain_name(),
            chain_head(),
            any::<[u8; 32]>(),
            any::<[u8; 32]>()
        )
            .prop_map(|(name, head, key, half)| {
                let mut signature = [0; 64];
                signature[32..].copy_from_slice(&half);
                Command::Witness(Witness {
                    name,
                    head,
                    key,
                    signature,
                })
            }),
    ]
}

fn judged() -> impl Strategy<Value = Judged> {
    (identity(), any::<u64>()).prop_map(|(subject, rev)| Judged {
        subject,
        rev: Revision(rev),
    })
}

fn chain_name() -> impl Strategy<Value = ChainName> {
    (any::<u64>(), "[a-z]{1,16}").prop_map(|(node, chain)| ChainName { node, chain })
}

fn chain_head() -> impl Strategy<Value = ChainHead> {
    (any::<[u8; 16]>(), any::<u64>(), any::<[u8; 32]>()).prop_map(|(id, seq, hash)| ChainHead {
        id,
        seq,
        hash,
    })
}

fn witnessed() -> impl Strategy<Value = Witnessed> {
    (
        chain_name(),
        chain_head(),
        any::<[u8; 32]>(),
        any::<u64>(),
        any::<bool>(),
        proptest::option::of(chain_head()),
    )
        .prop_map(|(name, head, key, at, loss_accepted, former)| Witnessed {
            name,
            head,
            key,
            at: UnixMillis(at),
            loss_accepted,
            former,
        })
}

fn policy_change() -> impl Strategy<Value = PolicyChange> {
    let origin = prop_oneof![
        Just(PolicyOrigin::Start),
        Just(PolicyOrigin::Operator),
        any::<u64>().prop_map(|revision| PolicyOrigin::Rollback(Revision(revision))),
        "[0-9a-f]{40}".prop_map(PolicyOrigin::Git),
    ];
    (origin, ".{0,20}", ".{0,20}").prop_map(|(origin, message, ticket)| PolicyChange {
        origin,
        message,
        ticket,
    })
}

fn applied() -> impl Strategy<Value = Applied> {
    let revoked = (any::<u64>(), any::<bool>()).prop_map(|(revision, already)| Revoked {
        revision: Revision(revision),
        already,
    });
    prop_oneof![
        Just(Applied::Nothing),
        any::<u64>().prop_map(|revision| Applied::Initialized {
            revision: Revision(revision)
        }),
        proptest::collection::vec(revoked, 0..5).prop_map(Applied::Revoked),
        (any::<u64>(), any::<bool>()).prop_map(|(revision, already)| Applied::Lifted {
            revision: Revision(revision),
            already
        }),
        any::<u64>().prop_map(|at_most| Applied::Undoing { at_most }),
        any::<u64>().prop_map(|revision| Applied::PolicyApplied {
            revision: Revision(revision)
        }),
        (any::<u32>(), any::<u64>()).prop_map(|(id, revision)| Applied::KeyChanged {
            id,
            state: KeyState::Retired,
            revision: Revision(revision)
        }),
        any::<u64>().prop_map(|removed| Applied::Collected { removed }),
        any::<u32>().prop_map(Applied::VersionRaised),
        any::<u64>().prop_map(|keys| Applied::Rewrapped { keys }),
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(id, until, already)| {
            Applied::Pending {
                id: PendingId(id),
                until: UnixMillis(until),
                already,
            }
        }),
        any::<u64>().prop_map(|id| Applied::Cancelled { id: PendingId(id) }),
        Just(Applied::MembersPermitted),
        Just(Applied::Spent),
        any::<u64>().prop_map(Applied::ContextAt),
        Just(Applied::Witnessed),
        Just(Applied::StartRecorded),
        any::<u64>().prop_map(|chains| Applied::AuditLossAccepted { chains }),
        any::<u64>().prop_map(|by| Applied::ClockSetBack {
            by: Duration::from_millis(by)
        }),
        ".{0,30}"
            .prop_map(|message| Applied::Refused(Refusal::new(RefusalCode::AlreadySpent, message))),
        ".{0,30}"
            .prop_map(|message| Applied::Refused(Refusal::new(RefusalCode::KeyState, message))),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    let line =
        || (any::<u64>(), any::<[u8; 16]>()).prop_map(|(number, nonce)| Line { number, nonce });
    let parts = (
        any::<[[u8; 16]; 2]>(),
        any::<u64>(),
        line(),
        line(),
        any::<[u64; 8]>(),
    );
    parts.prop_map(|([store, nonce], count, line, after, earlier)| Start {
        incarnation: Incarnation(store),
        count,
        nonce,
        line,
        after,
        earlier,
    })
}

fn record() -> impl Strategy<Value = Record> {
    let rule = (
        target(),
        any::<bool>(),
        1..u64::MAX,
        proptest::option::of(1..u64::MAX),
    )
        .prop_map(|(target, permanent, cutoff, until)| {
            let cutoff = if permanent {
                Cutoff::Permanent
            } else {
                Cutoff::Before(Revision(cutoff))
            };
            Record::Rule(Rule::new(
                &FeedSalt([3; 16]),
                &target,
                cutoff,
                until.map(UnixSeconds),
            ))
        });
    let revocation = (
        any::<u64>(),
        target(),
        any::<Option<u64>>(),
        any::<Option<u64>>(),
        1..u64::MAX,
        ".{0,20}",
    )
        .prop_map(|(revision, target, cutoff, until, lifted, text)| {
            Record::Revocation(Revocation {
                revision: Revision(revision),
                target,
                cutoff: cutoff.map_or(Cutoff::Permanent, |cutoff| Cutoff::Before(Revision(cutoff))),
                until: until.map(UnixSeconds),
                at: UnixMillis(revision),
                why: Arc::new(Why {
                    by: text.clone(),
                    reason: text.clone(),
                    ticket: text.clone(),
                    message: text.clone(),
                }),
                lifted: lifted.is_multiple_of(2).then_some(Lifted {
                    revision: Revision(lifted),
                    at: UnixMillis(lifted),
                    by: text,
                    restored: lifted.is_multiple_of(4),
                }),
            })
        });
    prop_oneof![
        rule,
        revocation,
        key().prop_map(Record::Key),
        (any::<u64>(), pending_action(), ".{0,20}", any::<u64>()).prop_map(
            |(id, action, by, at)| {
                Record::Pending(Pending {
                    id: PendingId(id),
                    action,
                    by,
                    certificate: [4; 32],
                    key: [6; 32],
                    digest: [5; 32],
                    at: UnixMillis(at),
                })
            }
        ),
        (any::<u64>(), ".{0,50}", policy_change()).prop_map(|(revision, text, change)| {
            Record::Policy(PolicyVersion {
                revision: Revision(revision),
                policy: Policy::new(text.clone(), text.clone()),
                at: UnixMillis(revision),
                by: text,
                change,
            })
        }),
        (any::<[u8; 16]>(), any::<u64>(), applied(), any::<u64>()).prop_map(
            |(id, at, applied, sequence)| {
                Record::Request {
                    id: RequestId(id),
                    asked: [6; 32],
                    at: UnixMillis(at),
                    applied,
                    sequence,
                }
            }
        ),
        (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..60)).prop_map(
            |(revision, bytes)| Record::FeedEntry {
                revision: Revision(revision),
                bytes
            }
        ),
        (
            any::<[u8; 32]>(),
            any::<[u8; 16]>(),
            any::<u64>(),
            any::<u64>(),
            identity()
        )
            .prop_map(|(facet, request, at, until, subject)| Record::Spent(
                FacetId(facet),
                Spent {
                    request: RequestId(request),
                    at: UnixMillis(at),
                    until: UnixSeconds(until),
                    subject,
                }
            )),
        (
            any::<[u8; 16]>(),
            any::<[u8; 16]>(),
            any::<u64>(),
            any::<u64>(),
            identity()
        )
            .prop_map(
                |(session, request, version, until, subject)| Record::Context(
                    SessionId(session),
                    ContextVersion {
                        version,
                        request: RequestId(request),
                        until: UnixSeconds(until),
                        subject,
                    }
                )
            ),
        witnessed().prop_map(Record::Witnessed),
    ]
}

proptest! {
    #[test]
    fn an_entry_survives_encoding(commands in proptest::collection::vec(command(), 0..4), term in any::<u64>(), index in any::<u64>()) {
        let commands: Vec<_> = commands.into_iter().map(|command| stamped(term % 9, index % 99, command)).collect();
        let entry: Entry = Entry { log_id: id(term, index), payload: EntryPayload::Normal(commands.into()) };
        prop_assert_eq!(decode_entry(&encode_entry(&entry)).unwrap(), entry);
    }

    #[test]
    fn a_record_survives_encoding(record in record()) {
        prop_assert_eq!(decode_record(&encode_record(&record)).unwrap(), record);
    }

    #[test]
    fn the_length_of_a_command_is_what_it_adds_to_a_batch(commands in proptest::collection::vec(command(), 0..4), targets in proptest::collection::vec(target(), 0..4)) {
        use hessra_proto::v1::log;
        let commands: Vec<_> = commands.into_iter().map(|command| stamped(1, 1, command)).collect();
        let batch = log::Batch { signers: Vec::new(), ..encode_batch(&commands) };
        prop_assert_eq!(batch.encoded_len(), commands.iter().map(stamped_len).sum::<usize>());
        let revoke = log::Revoke { targets: targets.iter().map(log::Target::from).collect(), ..log::Revoke::default() };
        prop_assert_eq!(revoke.encoded_len(), targets.iter().map(target_len).sum::<usize>());
    }

    #[test]
    fn bytes_from_anywhere_are_refused_or_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(entry) = decode_entry::<openraft::TokioRuntime>(&bytes) {
            prop_assert_eq!(encode_entry(&entry), bytes.clone());
        }
        if let Ok(record) = decode_record(&bytes) {
            prop_assert_eq!(encode_record(&record), bytes);
        }
    }
}

#[test]
fn memberships_and_blanks_survive_encoding() {
    for entry in [entry(3, 10), entry(3, 7)] {
        assert_eq!(decode_entry(&encode_entry(&entry)).unwrap(), entry);
    }
    let joint = openraft::Membership::new(
        vec![[1, 2, 3].into(), [2, 3, 4].into()],
        membership(1)
            .nodes()
            .map(|(id, member)| (*id, member.clone()))
            .collect::<std::collections::BTreeMap<u64, Member>>(),
    );
    let entry: Entry = Entry {
        log_id: id(1, 1),
        payload: EntryPayload::Membership(joint),
    };
    assert_eq!(decode_entry(&encode_entry(&entry)).unwrap(), entry);
}

#[test]
fn an_entry_of_a_newer_version_is_not_skipped_and_not_halved() {
    let mut bytes = encode_entry(&entry(1, 2));
    // Field 100, a varint: protobuf itself would drop it without a word.
    bytes.extend([0xa0, 0x06, 0x01]);
    assert_eq!(
        decode_entry::<openraft::TokioRuntime>(&bytes),
        Err(CodecError::Unknown("entry"))
    );
}

#[test]
fn a_command_of_a_newer_version_asks_for_an_upgrade() {
    use hessra_proto::v1::log;
    let stamped = log::Stamped {
        request: vec![1; 16],
        command: None,
        ..log::Stamped::default()
    };
    let batch = log::entry::Payload::Batch(log::Batch {
        commands: vec![stamped],
        signers: Vec::new(),
    });
    let bytes = log::Entry {
        term: 1,
        index: 2,
        payload: Some(batch),
    }
    .encode_to_vec();
    let error = decode_entry::<openraft::TokioRuntime>(&bytes).unwrap_err();
    assert!(error.to_string().contains("upgrade hessra-node"), "{error}");
}

#[test]
fn a_whole_state_survives_encoding() {
    let mut state = Machine::new();
    for index in 1..=200 {
        if let EntryPayload::Normal(Proposal(commands)) = entry(1, index).payload {
            commands
                .iter()
                .for_each(|stamped| _ = state.apply(stamped, &crate::support::Anyone));
        }
    }
    let records = state
        .records()
        .map(|record| decode_record(&encode_record(&record)).unwrap());
    assert_eq!(
        Machine::from_records(records).unwrap().digest(),
        state.digest()
    );
}

#[test]
fn the_bytes_of_a_target_in_the_log_are_pinned() {
    use hessra_proto::v1::log;
    let identity = || Identity::parse("urn:h").unwrap();
    // Tag (field number << 3 | wire type), length, content.
    let pinned: [(Target, &[u8]); 7] = [
        (Target::Token(TokenId::new(&[1, 2, 3]).unwrap()), b"\x0a\x03\x01\x02\x03"),
        (Target::Subtree(identity()), b"\x12\x05urn:h"),
        (Target::Exact(identity()), b"\x1a\x05urn:h"),
        (Target::Key(300), b"\x20\xac\x02"),
        (Target::Signer(SignerKey::Ed25519([7; 32])), b"\x3a\x24\x00\x00\x00\x00\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07"),
        (
            Target::Certificate([7; 32]),
            b"\x2a\x20\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07",
        ),
        (Target::Lock(identity()), b"\x32\x05urn:h"),
    ];
    let (targets, bytes): (Vec<_>, Vec<_>) = pinned.into_iter().unzip();
    let revoke = Revoke {
        targets,
        permanent: false,
        until: None,
        reason: String::new(),
        ticket: String::new(),
        message: String::new(),
    };
    let wire = encode_batch(&[stamped(1, 1, Command::Revoke(revoke))]);
    let Some(log::stamped::Command::Revoke(revoke)) = wire.commands[0].command.clone() else {
        panic!("a revocation");
    };
    let encoded: Vec<_> = revoke.targets.iter().map(Message::encode_to_vec).collect();
    assert_eq!(encoded, bytes);
}

#[test]
fn a_target_that_no_node_writes_is_refused() {
    use hessra_proto::v1::log;
    use hessra_proto::v1::log::target::Kind;
    let entry = |kind: Option<Kind>| {
        let revoke = log::Revoke {
            targets: vec![log::Target { kind }],
            ..log::Revoke::default()
        };
        let stamped = log::Stamped {
            request: vec![1; 16],
            command: Some(log::stamped::Command::Revoke(revoke)),
            ..log::Stamped::default()
        };
        let batch = log::entry::Payload::Batch(log::Batch {
            commands: vec![stamped],
            signers: Vec::new(),
        });
        let entry = log::Entry {
            term: 1,
            index: 2,
            payload: Some(batch),
        };
        decode_entry::<openraft::TokioRuntime>(&entry.encode_to_vec())
    };
    assert_eq!(entry(None), Err(CodecError::Unknown("target")));
    for wrong in [
        Kind::TokenId(Vec::new()),
        Kind::Subtree("urn::h".to_owned()),
        Kind::Exact(String::new()),
        Kind::Certificate(vec![7; 31]),
        Kind::Signer(vec![7; 36]),
        Kind::Lock("urn:h:".to_owned()),
    ] {
        let answer = entry(Some(wrong.clone()));
        assert!(matches!(answer, Err(CodecError::Invalid(_))), "{wrong:?}");
    }
}
