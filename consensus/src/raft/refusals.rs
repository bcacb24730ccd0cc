//! Refusals of what this leader appends: by members to which the author of an entry is not proved.
//!
//! A leader checks authors as its members do, and may trust an authority that they do not trust yet or any more. The entry
//! that it then appends stays unacknowledged, and everything after it, while heartbeats go through: a leader for ever, under which
//! nothing is written. Raft has no way back for an entry but another leader. So one that a quorum has refused stands
//! back (`RaftHandle::stand_back`), for a member that does not have the entry to be elected.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hessra_proto::status::Reason;

use crate::peers::PeerError;
use crate::status::Members;

/// Members that refuse the entries of this leader. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<Refused>>);

#[derive(Default)]
struct Refused {
    term: u64,
    by: BTreeSet<u64>,
}

impl Refusals {
    /// Takes note of a member's answer to entries of this term. An answer to none says nothing.
    pub(super) fn heard<T>(&self, member: u64, term: u64, answer: &Result<T, PeerError>) {
        let mut refused = self.of_term(term);
        match answer {
            Ok(_) => drop(refused.by.remove(&member)),
            Err(PeerError::Failed(failure)) if failure.reason == Reason::Unauthenticated => {
                refused.by.insert(member);
            }
            Err(_) => {}
        }
    }

    /// True when those that refuse the entries of this term are a quorum, and could elect one of them.
    pub(super) fn are_of_quorum(&self, term: u64, members: &Members) -> bool {
        let refused = self.of_term(term);
        members.has_quorum(|id| refused.by.contains(&id))
    }

    fn of_term(&self, term: u64) -> MutexGuard<'_, Refused> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.term < term {
            *refused = Refused {
                term,
                by: BTreeSet::new(),
            };
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use hessra_proto::status::Failure;

    use super::*;

    fn members(voters: &[&[u64]]) -> Members {
        Members {
            voters: voters
                .iter()
                .map(|set| set.iter().copied().collect())
                .collect(),
            ..Members::default()
        }
    }

    fn refusal(reason: Reason) -> Result<(), PeerError> {
        Err(PeerError::Failed(Failure::new(reason, "no")))
    }

    #[test]
    fn a_quorum_that_refuses_is_one_that_could_elect_another_leader() {
        let refusals = Refusals::default();
        let three = members(&[&[1, 2, 3]]);
        refusals.heard(2, 5, &refusal(Reason::Unauthenticated));
        assert!(!refusals.are_of_quorum(5, &three), "the third may take it");
        refusals.heard(3, 5, &refusal(Reason::Unavailable));
        assert!(!refusals.are_of_quorum(5, &three), "it did not answer");
        refusals.heard(3, 5, &refusal(Reason::Unauthenticated));
        assert!(refusals.are_of_quorum(5, &three));
        assert!(!refusals.are_of_quorum(5, &members(&[&[1, 2, 3], &[1, 4, 5]])));
        refusals.heard(3, 5, &Ok(()));
        assert!(!refusals.are_of_quorum(5, &three), "it takes them now");
    }

    #[test]
    fn what_was_refused_in_another_term_says_nothing() {
        let refusals = Refusals::default();
        for member in [2, 3] {
            refusals.heard(member, 5, &refusal(Reason::Unauthenticated));
        }
        assert!(!refusals.are_of_quorum(6, &members(&[&[1, 2, 3]])));
    }
}
