//! Collection of ended revocations, and the shares of the remembered ones.

use hessra_revocation::{Target, UnixMillis, UnixSeconds};
use hessra_state::limits::{
    COLLECTED_MAX, REVOCATION_KEPT_SECONDS, REVOCATIONS_PER_BASE_MAX, TARGETS_MAX,
};
use hessra_state::{Applied, Command, Lift, RefusalCode, Revoke, Undo};

use crate::sample::{Anyone, Checked, identity, init, revoke, stamped, subtree, token};

const DAY: u64 = 86_400;

fn begun() -> Checked {
    let mut checked = Checked::default();
    checked.apply(&stamped(1, 1, init()));
    checked
}

fn collect(now: u64) -> Command {
    Command::Collect {
        now: UnixSeconds(now),
    }
}

fn is_denied(checked: &Checked, target: &Target) -> bool {
    checked.state.find(target).is_some()
}

#[test]
fn a_revocation_is_forgotten_when_everything_that_it_was_about_has_ended() {
    let mut checked = begun();
    let targets = [token(1), subtree("urn:h:alice:agent")];
    checked.apply(&stamped(10, 2, Command::Revoke(revoke(targets.to_vec()))));
    let before = 10 + REVOCATION_KEPT_SECONDS;
    checked.pass_until(before);
    checked.apply(&stamped(before, 3, collect(before)));
    assert!(
        targets.iter().all(|target| is_denied(&checked, target)),
        "not yet"
    );
    assert!(checked.state.has_ended(UnixMillis((before + 1) * 1000)));
    let collected = checked.apply(&stamped(before + 1, 4, collect(before + 1)));
    assert_eq!(collected, Applied::Collected { removed: 2 });
    assert!(!targets.iter().any(|target| is_denied(&checked, target)));
    assert_eq!(checked.state.revocations().len(), 0);
    checked.check();
}

#[test]
fn what_stands_for_good_is_never_forgotten() {
    let mut checked = begun();
    let alice = subtree("urn:h:alice:agent");
    let forever = Revoke {
        permanent: true,
        ..revoke(vec![
            alice.clone(),
            Target::Certificate([7; 32]),
            Target::Key(77),
        ])
    };
    checked.apply(&stamped(10, 2, Command::Revoke(forever)));
    // A weaker one of the same target is forgotten, and takes nothing from the stronger.
    let later = 100 * DAY;
    checked.pass_until(later);
    checked.apply(&stamped(later, 3, collect(later)));
    assert!(is_denied(&checked, &alice) && is_denied(&checked, &Target::Key(77)));
    assert!(is_denied(&checked, &Target::Certificate([7; 32])));
    let revision = checked.state.find(&alice).expect("it stands").0;
    let lift = Lift {
        revision,
        of: None,
        restore: false,
        reason: String::new(),
    };
    checked.apply(&stamped(later, 4, Command::Lift(lift)));
    let after = later + REVOCATION_KEPT_SECONDS + 1;
    checked.pass_until(after);
    checked.apply(&stamped(after, 5, collect(after)));
    assert!(
        !is_denied(&checked, &alice),
        "a lift is about what was issued before it"
    );
    checked.check();
}

#[test]
fn a_newer_revocation_of_the_same_target_stands_when_an_older_one_is_forgotten() {
    let mut checked = begun();
    let alice = subtree("urn:h:alice:agent");
    checked.apply(&stamped(
        10,
        2,
        Command::Revoke(revoke(vec![alice.clone()])),
    ));
    checked.apply(&stamped(
        5 * DAY,
        3,
        Command::Revoke(revoke(vec![alice.clone()])),
    ));
    let between = 11 + REVOCATION_KEPT_SECONDS;
    checked.pass_until(between);
    let collected = checked.apply(&stamped(between, 4, collect(between)));
    assert_eq!(collected, Applied::Collected { removed: 1 });
    assert!(is_denied(&checked, &alice));
    checked.check();
}

#[test]
fn one_base_subject_cannot_take_what_all_share_and_a_subtree_is_still_revoked() {
    let mut checked = begun();
    let exact = |number: usize| Target::Exact(identity(&format!("urn:h:alice:a{number}")));
    for (request, first) in (0..REVOCATIONS_PER_BASE_MAX)
        .step_by(TARGETS_MAX)
        .enumerate()
    {
        let targets = (first..first + TARGETS_MAX).map(exact).collect();
        let revoked = checked.state.apply(
            &stamped(2, 10 + request as u64, Command::Revoke(revoke(targets))),
            &Anyone,
        );
        assert!(matches!(revoked, Applied::Revoked(_)));
    }
    let more = Command::Revoke(revoke(vec![exact(REVOCATIONS_PER_BASE_MAX)]));
    match checked.state.apply(&stamped(2, 1_000_000, more), &Anyone) {
        Applied::Refused(refusal) => assert_eq!(refusal.code, RefusalCode::Limit),
        other => panic!("not refused: {other:?}"),
    }
    let all = Command::Revoke(revoke(vec![subtree("urn:h:alice")]));
    let contained = checked.state.apply(&stamped(2, 1_000_001, all), &Anyone);
    assert!(matches!(contained, Applied::Revoked(_)));
    let other = Command::Revoke(revoke(vec![Target::Exact(identity("urn:h:bob:a1"))]));
    assert!(matches!(
        checked.state.apply(&stamped(2, 1_000_002, other), &Anyone),
        Applied::Revoked(_)
    ));
}

#[test]
fn what_an_operator_revoked_is_removed_in_parts_and_a_snapshot_between_them_loses_none() {
    let mut checked = begun();
    let exact = |number: usize| Target::Exact(identity(&format!("urn:h:alice:a{number}")));
    let all = Revoke {
        permanent: true,
        ..revoke((0..2 * COLLECTED_MAX + 1).map(exact).collect())
    };
    checked.apply(&stamped(2, 2, Command::Revoke(all)));
    let undo = Command::Undo(Undo {
        operator: "urn:h:ann".to_owned(),
        since: UnixMillis(0),
        reason: String::new(),
        ticket: String::new(),
    });
    let at_most = 2 * COLLECTED_MAX as u64 + 1;
    assert_eq!(
        checked.apply(&stamped(3, 3, undo)),
        Applied::Undoing { at_most }
    );
    let later = exact(COLLECTED_MAX * 3);
    let late = Command::Revoke(revoke(vec![later.clone()]));
    checked.apply(&stamped(4, 4, late));
    for (request, left) in [(5, COLLECTED_MAX + 1), (6, 1), (7, 0)] {
        assert!(checked.state.has_ended(UnixMillis(4)));
        checked.apply(&stamped(5, request, collect(5)));
        // Also compares the state with one that is made of its records.
        checked.check();
        assert_eq!(checked.state.revocations().len(), left + 1);
    }
    assert!(!checked.state.has_ended(UnixMillis(4)));
    assert!(is_denied(&checked, &later), "it was revoked afterwards");
    assert!(!is_denied(&checked, &exact(0)));
}
