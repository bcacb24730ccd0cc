//! Jumps of the clock: what they may remove, and how they are taken back.

use hessra_revocation::{KeyPurpose, KeyState, Revision, Target, UnixMillis, UnixSeconds};
use hessra_state::limits::{CLOCK_AHEAD_MILLIS_MIN, SETTLED_STEP_MILLIS};
use hessra_state::{
    Applied, Command, FacetId, Judged, KeyCommand, PendingAction, PendingId, RefusalCode, Revoke,
    Spend,
};

use crate::sample::{Checked, identity, init, key, revoke, stamped, subtree, token};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const NOW: u64 = 1_000 * DAY;

fn begun() -> Checked {
    let mut checked = Checked::default();
    checked.apply(&stamped(NOW, 1, init()));
    checked
}

fn collect() -> Command {
    Command::Collect {
        now: UnixSeconds(u64::MAX),
    }
}

fn set_back() -> Command {
    Command::SetClockBack {
        number: 1,
        ticket: "INC-7".to_owned(),
    }
}

fn spend(facet: u8) -> Command {
    Command::Spend(Spend {
        facet: FacetId([facet; 32]),
        expires_at: UnixSeconds(NOW + HOUR),
        judged: Judged {
            subject: identity("urn:h:alice:agent"),
            rev: Revision(3),
        },
    })
}

fn lock(until: u64) -> Command {
    Command::Revoke(Revoke {
        until: Some(UnixSeconds(until)),
        ..revoke(vec![Target::Lock(identity("urn:h:mallory"))])
    })
}

/// A lock for two hours, a facet that was used, a retired key, a revocation, and a pending action, all of today.
fn today() -> Checked {
    let mut checked = begun();
    checked.apply(&stamped(NOW, 2, lock(NOW + 2 * HOUR)));
    checked.apply(&stamped(NOW, 3, spend(7)));
    let prepare = KeyCommand::Prepare(key(3, KeyPurpose::Token, KeyState::Prepared));
    checked.apply(&stamped(NOW, 4, Command::Key(prepare)));
    let activate = KeyCommand::Activate {
        id: 3,
        published_for_min: None,
        instead_of: None,
    };
    checked.apply(&stamped(NOW, 5, Command::Key(activate)));
    checked.apply(&stamped(NOW, 6, Command::Revoke(revoke(vec![token(1)]))));
    let ask = PendingAction::Revoke(revoke(vec![subtree("urn:h:alice:agent")]));
    checked.apply(&stamped(NOW, 7, Command::Ask(ask)));
    checked
}

#[test]
fn a_jump_of_forty_days_removes_nothing() {
    let mut checked = today();
    let before = checked.state.records().count();
    let jumped = NOW + 40 * DAY;
    for request in 10..20 {
        let collected = checked.apply(&stamped(jumped + request, request, collect()));
        assert_eq!(collected, Applied::Collected { removed: 0 });
    }
    assert_eq!(
        checked.state.records().count(),
        before + 10,
        "and ten answers"
    );
    assert_eq!(checked.state.keys().len(), 3);
    assert_eq!(checked.state.spent_count(), 1);
    checked.check();
}

#[test]
fn after_the_clock_is_set_back_everything_is_as_it_was() {
    let mut checked = today();
    let jumped = NOW + 40 * DAY;
    checked.apply(&stamped(jumped, 10, collect()));
    let refused = checked.apply(&stamped(NOW + 60, 11, lock(NOW + 2 * HOUR)));
    assert!(
        matches!(refused, Applied::Refused(_)),
        "it has ended by the wrong time"
    );
    checked.apply(&stamped(
        jumped,
        12,
        Command::Revoke(revoke(vec![token(2)])),
    ));

    let back = checked.apply(&stamped(NOW + 60, 13, set_back()));
    let by = std::time::Duration::from_secs(40 * DAY - 60);
    assert_eq!(back, Applied::ClockSetBack { by });
    assert_eq!(checked.state.clock(), UnixMillis((NOW + 60) * 1000));
    checked.check();

    let Applied::Refused(refusal) = checked.apply(&stamped(NOW + 61, 14, spend(7))) else {
        panic!("a capability was used twice")
    };
    assert_eq!(refusal.code, RefusalCode::AlreadySpent);
    let target = Target::Lock(identity("urn:h:mallory"));
    assert!(checked.state.find(&target).is_some(), "the lock stands");
    let pending = checked
        .state
        .pending()
        .find(PendingId(0))
        .expect("it waits");
    assert!(!pending.has_ended(checked.state.clock()));
    assert!(
        checked.state.find(&token(2)).is_some(),
        "what was revoked meanwhile is revoked"
    );
    for revocation in checked.state.revocations().values() {
        assert!(
            revocation.at <= checked.state.clock(),
            "it was not in the future"
        );
    }
    assert_eq!(
        checked.apply(&stamped(NOW + 62, 13, set_back())),
        Applied::ClockSetBack { by },
        "a retry is told the same"
    );
    // Time goes on from there, and what ends is removed.
    checked.pass_until(NOW + DAY);
    let Applied::Collected { removed } = checked.apply(&stamped(NOW + DAY, 20, collect())) else {
        panic!("it is collected")
    };
    assert!(removed >= 2, "the lock and the facet, {removed}");
    checked.check();
}

#[test]
fn one_command_sets_it_back_once_also_when_the_clock_has_come_to_where_it_was() {
    let mut checked = begun();
    let jumped = NOW + 40 * DAY;
    checked.apply(&stamped(jumped, 2, collect()));
    checked.apply(&stamped(NOW, 3, set_back()));
    checked.apply(&stamped(jumped, 4, collect()));
    let Applied::Refused(refusal) = checked.apply(&stamped(NOW, 5, set_back())) else {
        panic!("it was set back by what was signed for another time")
    };
    assert_eq!(refusal.code, RefusalCode::Conflict);
    assert_eq!(checked.state.clock_set_backs(), 1);
    checked.check();
}

#[test]
fn what_is_right_is_not_set_back() {
    let mut checked = begun();
    let near = NOW + CLOCK_AHEAD_MILLIS_MIN / 1000 - 1;
    checked.apply(&stamped(near, 2, collect()));
    let Applied::Refused(refusal) = checked.apply(&stamped(NOW, 3, set_back())) else {
        panic!("nothing had jumped")
    };
    assert_eq!(refusal.code, RefusalCode::Conflict);
    let long = Command::SetClockBack {
        number: 1,
        ticket: "x".repeat(129),
    };
    checked.apply(&stamped(NOW + DAY, 4, collect()));
    let Applied::Refused(refusal) = checked.apply(&stamped(NOW, 5, long)) else {
        panic!("the ticket is a story")
    };
    assert_eq!(refusal.code, RefusalCode::Limit);
}

#[test]
fn after_a_stop_of_the_whole_cluster_what_ended_is_removed_after_as_long_again() {
    let mut checked = today();
    let stop = NOW + 12 * HOUR;
    checked.apply(&stamped(stop, 10, collect()));
    assert_eq!(checked.state.spent_count(), 1);
    let mut at = stop;
    while checked.state.settled() < checked.state.clock() {
        at += SETTLED_STEP_MILLIS / 1000;
        checked.apply(&stamped(at, at, collect()));
    }
    assert!(at <= NOW + 24 * HOUR, "{at}");
    assert_eq!(checked.state.spent_count(), 0);
    checked.check();
}
