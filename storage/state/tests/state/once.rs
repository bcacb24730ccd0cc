//! Single-use facets, and contexts that only go forward.

use hessra_revocation::{Revision, UnixMillis, UnixSeconds};
use hessra_state::limits::{COLLECTED_MAX, CONTEXTS_PER_BASE_MAX, LEDGER_SECONDS_MAX};
use hessra_state::{
    Applied, Command, ContextStep, FacetId, Judged, Machine, Record, RefusalCode, RequestId,
    SessionId, Spend, Spent,
};
use proptest::prelude::*;

use crate::sample::{Anyone, Checked, identity, init, revoke, stamped, subtree};

fn spend(facet: u8, expires_at: u64) -> Command {
    Command::Spend(Spend {
        facet: FacetId([facet; 32]),
        expires_at: UnixSeconds(expires_at),
        judged: judged("urn:h:alice:agent"),
    })
}

fn judged(subject: &str) -> Judged {
    Judged {
        subject: identity(subject),
        rev: Revision(1),
    }
}

fn step(from: u64) -> Command {
    Command::Context(ContextStep {
        session: SessionId([5; 16]),
        from,
        expires_at: UnixSeconds(1_000),
        judged: judged("urn:h:alice:agent"),
    })
}

fn collect(now: u64) -> Command {
    Command::Collect {
        now: UnixSeconds(now),
    }
}

fn begun() -> Checked {
    let mut checked = Checked::default();
    checked.apply(&stamped(1, 1, init()));
    checked
}

fn code(applied: Applied) -> RefusalCode {
    match applied {
        Applied::Refused(refusal) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_first_use_wins_and_every_other_is_refused() {
    let mut checked = begun();
    assert_eq!(checked.apply(&stamped(2, 2, spend(7, 100))), Applied::Spent);
    for request in 3..6 {
        let second = checked.apply(&stamped(2, request, spend(7, 100)));
        assert_eq!(code(second), RefusalCode::AlreadySpent);
    }
    assert_eq!(checked.apply(&stamped(2, 6, spend(8, 100))), Applied::Spent);
    checked.check();
}

#[test]
fn a_retry_of_the_winner_is_told_that_it_won() {
    let mut checked = begun();
    for _ in 0..3 {
        assert_eq!(checked.apply(&stamped(2, 2, spend(7, 100))), Applied::Spent);
    }
    assert_eq!(checked.state.spent_count(), 1);
}

#[test]
fn an_ended_facet_cannot_be_spent_before_or_after_it_is_forgotten() {
    let mut checked = begun();
    checked.apply(&stamped(2, 2, spend(7, 100)));
    assert_eq!(
        checked.apply(&stamped(100, 3, collect(u64::MAX))),
        Applied::Collected { removed: 0 },
        "still as long as anybody could accept it"
    );
    assert_eq!(
        checked.apply(&stamped(101, 4, collect(u64::MAX))),
        Applied::Collected { removed: 1 }
    );
    assert_eq!(
        code(checked.apply(&stamped(101, 5, spend(7, 100)))),
        RefusalCode::Invalid
    );
    // A node whose clock is slow does not bring it back: the state's clock is the latest of all.
    assert_eq!(
        code(checked.apply(&stamped(3, 6, spend(7, 100)))),
        RefusalCode::Invalid
    );
    checked.check();
}

#[test]
fn facets_that_live_for_years_are_refused() {
    let far = 2 + LEDGER_SECONDS_MAX + 1;
    let mut checked = begun();
    assert_eq!(
        code(checked.apply(&stamped(2, 2, spend(7, far)))),
        RefusalCode::Limit
    );
}

#[test]
fn a_context_goes_forward_one_version_at_a_time() {
    let mut checked = begun();
    assert_eq!(
        checked.apply(&stamped(2, 2, step(0))),
        Applied::ContextAt(1)
    );
    assert_eq!(
        checked.apply(&stamped(2, 3, step(1))),
        Applied::ContextAt(2)
    );
    for (request, from) in [(4, 0), (5, 1), (6, 3)] {
        let refused = checked.apply(&stamped(2, request, step(from)));
        assert_eq!(code(refused), RefusalCode::ContextOutdated, "from {from}");
    }
    assert_eq!(
        checked.apply(&stamped(2, 3, step(1))),
        Applied::ContextAt(2),
        "a retry of the latest step"
    );
    assert_eq!(
        code(checked.apply(&stamped(2, 2, step(0)))),
        RefusalCode::ContextOutdated,
        "a retry of an earlier step would rewind"
    );
    checked.check();
}

#[test]
fn a_session_that_ended_is_collected_and_does_not_go_on() {
    let mut checked = begun();
    checked.apply(&stamped(2, 2, step(0)));
    assert_eq!(
        code(checked.apply(&stamped(1_000, 3, step(1)))),
        RefusalCode::Invalid
    );
    assert_eq!(
        checked.apply(&stamped(1_001, 4, collect(u64::MAX))),
        Applied::Collected { removed: 1 }
    );
    assert_eq!(
        code(checked.apply(&stamped(1_001, 5, step(1)))),
        RefusalCode::ContextOutdated
    );
    checked.check();
}

#[test]
fn one_collection_takes_a_bounded_number_of_facets() {
    let mut checked = begun();
    for number in 0..=COLLECTED_MAX as u64 {
        let mut facet = [0; 32];
        facet[..8].copy_from_slice(&number.to_be_bytes());
        let spend = Command::Spend(Spend {
            facet: FacetId(facet),
            expires_at: UnixSeconds(50),
            judged: judged("urn:h:alice:agent"),
        });
        assert_eq!(
            checked
                .state
                .apply(&stamped(2, 10 + number, spend), &Anyone),
            Applied::Spent
        );
    }
    assert_eq!(
        checked
            .state
            .apply(&stamped(60, 5_000, collect(60)), &Anyone),
        Applied::Collected {
            removed: COLLECTED_MAX as u64
        }
    );
    assert!(checked.state.has_ended(UnixMillis(60_000)), "there is more");
}

#[test]
fn a_revocation_ends_the_sessions_of_its_subject_and_the_uses_that_were_judged_before() {
    let mut checked = begun();
    assert_eq!(
        checked.apply(&stamped(2, 2, step(0))),
        Applied::ContextAt(1)
    );
    assert_eq!(checked.apply(&stamped(2, 3, spend(7, 100))), Applied::Spent);
    let all = Command::Revoke(revoke(vec![subtree("urn:h:alice")]));
    checked.apply(&stamped(3, 4, all));
    assert_eq!(checked.state.context_count(), 0);
    // Both were judged before the revocation, and reach the log after it.
    let late = checked.apply(&stamped(4, 5, step(1)));
    assert_eq!(code(late), RefusalCode::Revoked);
    let late = checked.apply(&stamped(4, 6, spend(8, 100)));
    assert_eq!(code(late), RefusalCode::Revoked);
    let won = checked.apply(&stamped(4, 3, spend(7, 100)));
    assert_eq!(won, Applied::Spent, "what has happened is told again");
    checked.check();
}

#[test]
fn a_subject_beside_the_revoked_one_keeps_its_sessions() {
    let mut checked = begun();
    checked.apply(&stamped(2, 2, step(0)));
    for beside in [
        "urn:h:alice:agen",
        "urn:h:alice:agent-2",
        "urn:h:alice:agent:sub",
    ] {
        checked.apply(&stamped(
            3,
            4,
            Command::Revoke(revoke(vec![subtree(beside)])),
        ));
        assert_eq!(checked.state.context_count(), 1, "{beside}");
    }
    checked.check();
}

#[test]
fn one_subject_cannot_take_the_sessions_that_all_share() {
    let mut checked = begun();
    let begin = |number: u64, subject: &str| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Command::Context(ContextStep {
            session: SessionId(id),
            from: 0,
            expires_at: UnixSeconds(1_000),
            judged: judged(subject),
        })
    };
    for number in 0..CONTEXTS_PER_BASE_MAX as u64 {
        let below = format!("urn:h:alice:a{number}");
        let begun = checked
            .state
            .apply(&stamped(2, 10 + number, begin(number, &below)), &Anyone);
        assert_eq!(begun, Applied::ContextAt(1));
    }
    let more = checked.state.apply(
        &stamped(2, 1_000_000, begin(1_000_000, "urn:h:alice:b")),
        &Anyone,
    );
    assert_eq!(code(more), RefusalCode::Limit);
    let other = checked.state.apply(
        &stamped(2, 1_000_001, begin(1_000_001, "urn:h:bob")),
        &Anyone,
    );
    assert_eq!(other, Applied::ContextAt(1));
}

#[test]
fn a_ledger_from_the_future_is_refused() {
    let mut checked = begun();
    checked.apply(&stamped(2, 2, spend(7, 100)));
    let later = Record::Spent(
        FacetId([8; 32]),
        Spent {
            request: RequestId([1; 16]),
            at: UnixMillis(9_000_000),
            until: UnixSeconds(9_000),
            subject: identity("urn:h:alice"),
        },
    );
    let records = checked.state.records().chain([later]);
    assert!(Machine::from_records(records).is_err());
}

proptest! {
    /// In any order, with clocks that disagree: no second request wins a facet.
    #[test]
    fn a_facet_has_at_most_one_winner(
        commands in proptest::collection::vec((1..40_u64, 2..200_u64, 0..3_u8, any::<bool>()), 1..80)
    ) {
        let mut checked = begun();
        let mut winners = std::collections::BTreeMap::new();
        for (at, request, facet, collects) in commands {
            let ends = 10 + 10 * u64::from(facet);
            let command = if collects { collect(at) } else { spend(facet, ends) };
            // Ids of collections are their own: an id names one request.
            let request = if collects { 10_000 + request } else { request * 3 + u64::from(facet) };
            if checked.apply(&stamped(at, request, command)) == Applied::Spent {
                let winner = winners.entry(facet).or_insert(request);
                prop_assert_eq!(*winner, request);
            }
        }
        checked.check();
    }
}
