//! Meaning of a commit for the policy that stands.

use hessra_revocation::{FeedId, FeedSalt, KeyPurpose, KeyState, Revision, UnixMillis};
use hessra_state::{
    Applied, Command, Init, Machine, Policy, PolicyChange, PolicyOrigin, SealedKey, State,
};

use super::decide::{Decision, Permitted, applied_last, decide};
use crate::anyone;

const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";
const STRICT: Permitted = Permitted {
    rewind: false,
    correct_drift: false,
};

fn policy(text: &str) -> Policy {
    Policy::new(format!("# {text}"), String::new())
}

fn key(id: u32, purpose: KeyPurpose) -> SealedKey {
    SealedKey {
        id,
        purpose,
        state: KeyState::Active,
        public_key: [id as u8; 32],
        sealed: vec![1; 72],
        changed_at: Revision(0),
        published: UnixMillis(0),
        since: UnixMillis(0),
    }
}

/// A cluster that began with the policy `start` and had these applied since.
fn state(applied: &[(PolicyOrigin, &str)]) -> Machine {
    let mut state = Machine::new();
    let apply = |state: &mut Machine, command| anyone::apply(state, UnixMillis(1), command);
    apply(
        &mut state,
        Command::Init(Init {
            feed_id: FeedId([7; 16]),
            salt: FeedSalt([9; 16]),
            keys: vec![key(1, KeyPurpose::Token), key(2, KeyPurpose::Feed)],
            policy: policy("start"),
        }),
    );
    for (origin, text) in applied {
        let change = PolicyChange {
            origin: origin.clone(),
            ..PolicyChange::default()
        };
        let based_on = state.policy().0;
        let command = Command::ApplyPolicy {
            based_on,
            policy: policy(text),
            change,
        };
        let answer = apply(&mut state, command);
        assert!(
            matches!(answer, Applied::PolicyApplied { .. }),
            "{answer:?}"
        );
    }
    state
}

fn decided(
    state: &State,
    commit: &str,
    text: &str,
    descends: bool,
    permitted: Permitted,
) -> Decision {
    decide(
        state.policies(),
        commit,
        policy(text).digest,
        descends,
        permitted,
    )
}

fn git(commit: &str) -> PolicyOrigin {
    PolicyOrigin::Git(commit.to_owned())
}

#[test]
fn the_first_commit_and_each_that_descends_is_applied_over_what_stands() {
    let fresh = state(&[]);
    let based_on = fresh.policy().0;
    assert_eq!(
        decided(&fresh, NEW, "a", true, STRICT),
        Decision::Apply { based_on }
    );
    let applied = state(&[(git(OLD), "a")]);
    let based_on = applied.policy().0;
    assert_eq!(
        decided(&applied, NEW, "b", true, STRICT),
        Decision::Apply { based_on }
    );
}

#[test]
fn what_stands_already_is_in_sync_whoever_applied_it() {
    let by_hand = state(&[(git(OLD), "a"), (PolicyOrigin::Operator, "b")]);
    assert_eq!(decided(&by_hand, NEW, "b", false, STRICT), Decision::InSync);
    assert_eq!(
        decide(Machine::new().policies(), NEW, [1; 32], true, STRICT),
        Decision::InSync
    );
}

#[test]
fn a_commit_that_does_not_descend_is_refused_unless_that_is_allowed() {
    let applied = state(&[(git(OLD), "a"), (PolicyOrigin::Operator, "b")]);
    let refused = Decision::Rewind {
        applied: OLD.to_owned(),
    };
    assert_eq!(decided(&applied, NEW, "c", false, STRICT), refused);
    let rewind = Permitted {
        rewind: true,
        ..STRICT
    };
    let based_on = applied.policy().0;
    assert_eq!(
        decided(&applied, NEW, "c", false, rewind),
        Decision::Apply { based_on }
    );
}

#[test]
fn what_an_operator_applied_over_the_newest_commit_stands_until_the_next_one() {
    let by_hand = state(&[(git(OLD), "a"), (PolicyOrigin::Operator, "b")]);
    assert_eq!(applied_last(by_hand.policies()), Some(OLD));
    assert_eq!(decided(&by_hand, OLD, "a", true, STRICT), Decision::Drift);
    let based_on = by_hand.policy().0;
    assert_eq!(
        decided(&by_hand, NEW, "c", true, STRICT),
        Decision::Apply { based_on }
    );
    let corrected = Permitted {
        correct_drift: true,
        ..STRICT
    };
    assert_eq!(
        decided(&by_hand, OLD, "a", true, corrected),
        Decision::Apply { based_on }
    );
}
