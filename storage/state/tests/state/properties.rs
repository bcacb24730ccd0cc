//! Properties of every log.

use std::time::Duration;

use hessra_revocation::{
    Cutoff, Epoch, FeedEntry, KeyPurpose, KeyState, Revision, RuleKind, SignerKey, Target,
    UnixMillis, UnixSeconds, View,
};
use hessra_state::{
    Applied, Approval, Command, Envelope, KeyCommand, Lift, Machine, PendingAction, PendingId,
    Policy, PolicyChange, RefusalCode, Revocation, Revoke, Stamped, Undo,
    limits::{
        COLLECTED_MAX, HISTORY_MAX, POLICY_BYTES_MAX, POLICY_HISTORY_BYTES_MAX,
        POLICY_VERSIONS_MAX, REQUEST_AGE_MILLIS_MAX, REQUESTS_MAX, TARGETS_MAX,
    },
    supported,
};
use proptest::prelude::*;

use crate::sample::{
    Anyone, Checked, identity, init, key, pass_until, policy, revoke, stamped, subtree, token,
};

fn path() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "urn:h:a",
        "urn:h:a:b",
        "urn:h:a:b:c",
        "urn:h:d",
        "uri:urn:h:a",
    ])
    .prop_map(str::to_owned)
}

fn plain_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        4 => path().prop_map(|path| subtree(&path)),
        2 => path().prop_map(|path| Target::Exact(identity(&path))),
        1 => (0..3u8).prop_map(token),
        1 => (0..3u8).prop_map(|number| Target::Certificate([number; 32])),
        1 => (0..6u32).prop_map(Target::Key),
        1 => (0..3u8).prop_map(|number| Target::Signer(SignerKey::Ed25519([number; 32]))),
    ]
}

fn a_revoke() -> impl Strategy<Value = Revoke> {
    let plain = (prop::collection::vec(plain_target(), 0..4), any::<bool>()).prop_map(
        |(targets, permanent)| Revoke {
            permanent,
            ..revoke(targets)
        },
    );
    let locks =
        (prop::collection::vec(path(), 1..3), 0..200u64).prop_map(|(paths, until)| Revoke {
            until: Some(UnixSeconds(until)),
            ..revoke(
                paths
                    .iter()
                    .map(|path| Target::Lock(identity(path)))
                    .collect(),
            )
        });
    prop_oneof![3 => plain, 1 => locks]
}

fn a_key_command() -> impl Strategy<Value = KeyCommand> {
    let purpose = prop_oneof![
        Just(KeyPurpose::Token),
        Just(KeyPurpose::Feed),
        Just(KeyPurpose::Audit)
    ];
    prop_oneof![
        2 => (0..6u32, purpose).prop_map(|(id, purpose)| KeyCommand::Prepare(key(id, purpose, KeyState::Prepared))),
        2 => (0..6u32, 0..50u64).prop_map(|(id, min)| KeyCommand::Activate {
            id,
            instead_of: None,
            published_for_min: (min > 0).then(|| Duration::from_secs(min)),
        }),
        1 => (0..6u32).prop_map(|id| KeyCommand::Rewrap(vec![Envelope { id, sealed: vec![7] }])),
        1 => (0..6u32).prop_map(KeyCommand::Retire),
        1 => (0..6u32).prop_map(KeyCommand::Revoke),
    ]
}

fn an_undo() -> impl Strategy<Value = Undo> {
    let operator = prop_oneof![Just("urn:h:ann"), Just("urn:h:bob")];
    (operator, 0..200u64).prop_map(|(operator, since)| Undo {
        operator: operator.to_owned(),
        since: UnixMillis(since * 1000),
        reason: String::new(),
        ticket: String::new(),
    })
}

fn an_action() -> impl Strategy<Value = PendingAction> {
    let lift = (0..40u64).prop_map(|revision| {
        PendingAction::Lift(Lift {
            of: None,
            revision: Revision(revision),
            restore: true,
            reason: String::new(),
        })
    });
    prop_oneof![
        a_revoke().prop_map(PendingAction::Revoke),
        lift,
        an_undo().prop_map(PendingAction::Undo),
        (0..6u32).prop_map(PendingAction::RevokeKey),
    ]
}

fn a_command() -> impl Strategy<Value = Command> {
    let lift = (0..40u64, prop::bool::weighted(0.1)).prop_map(|(revision, restore)| {
        Command::Lift(Lift {
            of: None,
            revision: Revision(revision),
            restore,
            reason: String::new(),
        })
    });
    let change = (0..40u64, 0..3u8).prop_map(|(based_on, text)| Command::ApplyPolicy {
        based_on: Revision(based_on),
        policy: policy(&text.to_string()),
        change: PolicyChange::default(),
    });
    prop_oneof![
        1 => Just(init()),
        8 => a_revoke().prop_map(Command::Revoke),
        4 => lift,
        1 => an_undo().prop_map(Command::Undo),
        1 => change,
        3 => a_key_command().prop_map(Command::Key),
        2 => an_action().prop_map(Command::Ask),
        2 => (0..4u64).prop_map(|id| Command::Approve(Approval { id: PendingId(id), action: [0; 32] })),
        1 => (0..4u64).prop_map(|id| Command::Cancel(PendingId(id))),
        2 => (0..250u64).prop_map(|now| Command::Collect { now: UnixSeconds(now) }),
        1 => (0..3u32).prop_map(Command::RaiseVersion),
        1 => (1..4u64).prop_map(|number| Command::SetClockBack { number, ticket: "INC-7".to_owned() }),
    ]
}

/// Logs whose stamps go back and forth, with request ids that repeat, mostly begun by an init.
fn a_log() -> impl Strategy<Value = Vec<Stamped>> {
    let entry = (0..200u64, 0..80u64, a_command())
        .prop_map(|(at, request, command)| stamped(at, request, command));
    (
        prop::bool::weighted(0.9),
        prop::collection::vec(entry, 0..40),
    )
        .prop_map(|(begun, mut log)| {
            if begun {
                log.insert(0, stamped(0, 1000, init()));
            }
            log
        })
}

fn replay(log: &[Stamped]) -> Machine {
    let mut state = Machine::new();
    log.iter()
        .for_each(|stamped| _ = state.apply(stamped, &Anyone));
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_on_a_disk_are_the_records_after_every_command(log in a_log()) {
        let mut checked = Checked::default();
        for stamped in &log {
            checked.apply(stamped);
            checked.check();
        }
    }

    #[test]
    fn a_snapshot_and_the_tail_make_the_state_that_the_whole_log_makes(log in a_log(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(log.len() + 1);
        let snapshot: Vec<_> = replay(&log[..cut]).records().collect();
        // Any order will do: a disk sorts by its own encoding.
        let mut state = Machine::from_records(snapshot.into_iter().rev()).unwrap();
        let mut whole = replay(&log[..cut]);
        for stamped in &log[cut..] {
            prop_assert_eq!(state.apply(stamped, &Anyone), whole.apply(stamped, &Anyone));
        }
        prop_assert_eq!(state.digest(), whole.digest());
        prop_assert_eq!(state.digest(), replay(&log).digest());
    }

    #[test]
    fn the_digest_tells_apart_states_of_which_one_applied_more(log in a_log()) {
        for end in 1..=log.len() {
            let (shorter, longer) = (replay(&log[..end - 1]), replay(&log[..end]));
            let same = shorter.records().eq(longer.records());
            prop_assert_eq!(shorter.digest() == longer.digest(), same);
        }
    }

    #[test]
    fn a_retry_has_one_effect_and_gets_the_first_answer(log in a_log(), repeated in any::<prop::sample::Index>()) {
        prop_assume!(!log.is_empty());
        let first = repeated.index(log.len());
        let mut state = replay(&log[..first]);
        let answer = state.apply(&log[first], &Anyone);
        let mut tail = state.clone();
        for stamped in &log[first + 1..] {
            tail.apply(stamped, &Anyone);
        }
        let before = tail.digest();
        // Not later than the clock, so that the retry has nothing at all to change.
        let retry = Stamped { at: UnixMillis(0), ..log[first].clone() };
        prop_assert_eq!(tail.apply(&retry, &Anyone), answer.clone());
        prop_assert_eq!(tail.digest(), before);
        let mut restored = Machine::from_records(tail.records().collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(restored.apply(&retry, &Anyone), answer);
    }

    #[test]
    fn a_verifier_that_follows_the_feed_holds_the_authoritys_view(log in a_log()) {
        let state = replay(&log);
        let mut view = View::new(state.view().feed_id, Epoch(1), *state.view().set.salt());
        for bytes in state.history().entries_from(Revision(1), usize::MAX).unwrap_or_default() {
            view.apply(&FeedEntry::from_bytes(bytes).unwrap()).unwrap();
        }
        prop_assert_eq!(view.revision, state.view().revision);
        prop_assert_eq!(view.state_root(), state.view().state_root());
        prop_assert_eq!(view.log_root(), state.view().log_root());
    }

    /// The oracle knows no rules: a token issued before an accepted revoke of its subtree must be denied for ever,
    /// lifted or not, unless that one revocation was lifted with everything restored.
    #[test]
    fn tokens_issued_before_a_subtree_was_revoked_stay_denied(log in a_log()) {
        let state = replay(&log);
        for revocation in state.revocations().values() {
            let Target::Subtree(_) = &revocation.target else { continue };
            if revocation.lifted.as_ref().is_some_and(|lifted| lifted.restored) {
                continue;
            }
            let (_, rule) = state.find(&revocation.target).expect("a revoked subtree always has a rule");
            prop_assert!(rule.cutoff.denies(Some(Revision(revocation.revision.0 - 1))));
            if revocation.cutoff == Cutoff::Permanent && revocation.lifted.is_none() {
                prop_assert_eq!(rule.cutoff, Cutoff::Permanent);
            }
        }
    }

    #[test]
    fn a_subtree_of_which_every_revocation_was_restored_has_no_rule(log in a_log()) {
        let state = replay(&log);
        let salt = *state.view().set.salt();
        let is_restored = |revocation: &Revocation| revocation.lifted.as_ref().is_some_and(|lifted| lifted.restored);
        for restored in state.revocations().values().filter(|revocation| is_restored(revocation)) {
            let Target::Subtree(_) = &restored.target else { continue };
            // One subtree may be spelled with `uri:` and without.
            let name = (RuleKind::Subtree, restored.target.digest(&salt));
            let of_it = |other: &&Revocation| (other.target.kind(), other.target.digest(&salt)) == name;
            let all = state.revocations().values().map(|other| &**other).filter(of_it).all(is_restored);
            prop_assert_eq!(state.find(&restored.target).is_none(), all);
        }
    }
}

fn many(number: usize) -> Vec<Target> {
    (0..number)
        .map(|number| subtree(&format!("urn:h:many:n{number}")))
        .collect()
}

#[test]
fn the_history_keeps_its_newest_entries_and_the_log_root_survives_a_rebuild() {
    let mut checked = Checked::default();
    checked.apply(&stamped(1, 1, init()));
    for request in 2..10 {
        checked.apply(&stamped(
            1,
            request,
            Command::Revoke(revoke(many(TARGETS_MAX))),
        ));
    }
    let state = &checked.state;
    assert_eq!(state.view().revision, Revision(3 + 8 * TARGETS_MAX as u64));
    assert_eq!(state.history().head(), state.view().revision);
    assert_eq!(
        state.history().floor().0,
        state.view().revision.0 - HISTORY_MAX as u64
    );
    checked.check();
}

#[test]
fn answers_are_forgotten_after_a_day_or_when_there_are_too_many() {
    let mut state = Machine::new();
    let first = state.apply(&stamped(1, 1, init()), &Anyone);
    assert_eq!(state.apply(&stamped(1, 1, init()), &Anyone), first);
    let collect = |request| Command::Collect {
        now: UnixSeconds(request),
    };
    for request in 2..=REQUESTS_MAX as u64 {
        state.apply(&stamped(1, request, collect(request)), &Anyone);
    }
    assert_eq!(state.requests().answers().len(), REQUESTS_MAX);
    assert_eq!(
        state.apply(&stamped(1, 1, init()), &Anyone),
        first,
        "the last moment at which the first answer is there"
    );
    state.apply(&stamped(1, 200_000, collect(1)), &Anyone);
    assert_eq!(state.requests().answers().len(), REQUESTS_MAX);
    let Applied::Refused(refusal) = state.apply(&stamped(1, 1, init()), &Anyone) else {
        panic!("it was forgotten")
    };
    assert_eq!(refusal.code, RefusalCode::AlreadyInitialized);
    let tomorrow = 2 + REQUEST_AGE_MILLIS_MAX / 1000;
    pass_until(&mut state, tomorrow);
    state.apply(&stamped(tomorrow, 300_000, collect(1)), &Anyone);
    assert_eq!(state.requests().answers().len(), 1, "only today's");
}

#[test]
fn a_collection_is_bounded_and_says_when_there_is_more() {
    let mut checked = Checked::default();
    checked.apply(&stamped(1, 1, init()));
    let locks = (0..COLLECTED_MAX + 1)
        .map(|number| Target::Lock(identity(&format!("urn:h:many:n{number}"))))
        .collect();
    let lock = Revoke {
        until: Some(UnixSeconds(5)),
        ..revoke(locks)
    };
    checked.apply(&stamped(1, 2, Command::Revoke(lock)));
    let collect = |request| {
        stamped(
            10,
            request,
            Command::Collect {
                now: UnixSeconds(10),
            },
        )
    };
    assert_eq!(
        checked.apply(&collect(3)),
        Applied::Collected {
            removed: COLLECTED_MAX as u64
        }
    );
    assert_eq!(
        checked.apply(&collect(4)),
        Applied::Collected { removed: 1 }
    );
    assert_eq!(
        checked.apply(&collect(5)),
        Applied::Collected { removed: 0 }
    );
    checked.check();
}

#[test]
fn a_clone_does_not_follow_what_happens_to_the_original() {
    let mut state = replay(&[
        stamped(1, 1, init()),
        stamped(2, 2, Command::Revoke(revoke(many(3)))),
    ]);
    let (snapshot, digest) = (state.clone(), state.digest());
    state.apply(&stamped(3, 3, Command::Revoke(revoke(many(100)))), &Anyone);
    assert_eq!(snapshot.digest(), digest);
    assert_ne!(state.digest(), digest);
}

#[test]
fn a_command_of_a_newer_state_machine_is_known_before_it_is_applied() {
    assert!(supported(&stamped(1, 1, Command::RaiseVersion(1))).is_ok());
    let error = supported(&stamped(1, 1, Command::RaiseVersion(2))).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("upgrade hessra-node on this machine")
    );
}

#[test]
fn the_sealed_half_of_a_key_is_not_printed() {
    let printed = format!("{:?}", key(171, KeyPurpose::Token, KeyState::Active));
    assert!(
        printed.contains("id: 171") && !printed.contains("171, 171") && !printed.contains("sealed"),
        "{printed}"
    );
}

/// Versions are dropped from the oldest, never the one that stands, whatever their sizes.
#[test]
fn the_history_of_policies_stays_within_its_limits_and_keeps_what_stands() {
    let mut checked = Checked::default();
    checked.apply(&stamped(1, 1, init()));
    for number in 0..130u64 {
        // From the 110th on a megabyte each: bytes are then the tighter limit.
        let size = if number < 110 { 10 } else { POLICY_BYTES_MAX };
        let text = format!("#{number:09}{}", " ".repeat(size - 10));
        let policy = Policy::new(text, String::new());
        let command = Command::ApplyPolicy {
            based_on: checked.state.policy().0,
            policy: policy.clone(),
            change: PolicyChange::default(),
        };
        let applied = checked.apply(&stamped(2, 2 + number, command));
        let (revision, current) = checked.state.policy();
        assert_eq!(applied, Applied::PolicyApplied { revision });
        assert_eq!(current, &policy);
        let versions = checked.state.policies();
        let bytes: usize = versions
            .iter()
            .map(|version| version.policy.clients_toml.len())
            .sum();
        assert!(versions.len() <= POLICY_VERSIONS_MAX && bytes <= POLICY_HISTORY_BYTES_MAX);
        if number == 105 {
            assert_eq!(versions.len(), POLICY_VERSIONS_MAX);
        }
    }
    assert_eq!(
        checked.state.policies().len(),
        POLICY_HISTORY_BYTES_MAX / POLICY_BYTES_MAX
    );
    checked.check();
}
