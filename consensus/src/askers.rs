//! Last question of each member to a leader: who has not asked since cannot have been confirmed since.
//!
//! A node gives its verifiers what a leader confirmed, and asks for every confirmation. So a leader that is one knows when a
//! member that does not answer can have been confirmed last, and from when on no verifier there permits. Confirmations by
//! leaders before it began before it led: a quorum was with it by then.
//!
//! Its answer is of use to others when its quorum confirmed it, and holds for every instant up to the beginning of that
//! confirmation: whatever another leader confirmed later began later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hessra_revocation::Monotonic;

/// Knowledge of a leader about questions, as ages at the instant of its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    /// Time for which it has led, as far as it noticed.
    pub leads_for: Duration,
    /// Ages of the last question of each member that asked since; its own is 0.
    pub asked: BTreeMap<u64, Duration>,
}

/// Answer of a leader to a reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadIndex {
    /// Log index that a linearizable reader must have applied.
    pub index: u64,
    /// Questions of the members.
    pub lately: Lately,
}

/// Instants, on this node's clock, before or at which members asked a leader last. Right for all confirmations that began at
/// or before `confirmed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAsked {
    /// Beginning of the confirmation that proved the leader.
    pub confirmed: Monotonic,
    since: Monotonic,
    asked: BTreeMap<u64, Monotonic>,
}

impl LastAsked {
    /// Knowledge of a leader that answered just now.
    #[must_use]
    pub fn new(confirmed: Monotonic, lately: &Lately, now: Monotonic) -> Self {
        let before = |age: &Duration| Monotonic(now.0.saturating_sub(whole_millis(*age)));
        let asked = lately.asked.iter();
        Self {
            confirmed,
            since: before(&lately.leads_for),
            asked: asked.map(|(id, age)| (*id, before(age))).collect(),
        }
    }

    /// Instant after which no confirmation for this node has begun, up to `confirmed`.
    #[must_use]
    pub fn of(&self, node: u64) -> Monotonic {
        let asked = self.asked.get(&node).copied();
        asked.map_or(self.since, |asked| asked.max(self.since))
    }
}

fn whole_millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

/// Questions of the members to this node, while it leads; and what the leader said last of those to it. Cheap to clone; all
/// clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Askers {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Term of which these are, and when it was noticed.
    term: Option<(u64, Monotonic)>,
    asked: BTreeMap<u64, Monotonic>,
    last: Option<LastAsked>,
}

impl Inner {
    /// Forgets the questions of another term.
    fn in_term(&mut self, term: u64, now: Monotonic) -> Monotonic {
        match self.term {
            Some((known, since)) if known == term => since,
            _ => {
                self.asked.clear();
                self.term = Some((term, now));
                now
            }
        }
    }
}

impl Askers {
    /// Notes a question, before it is answered. `term`: the one in which this node leads.
    pub(crate) fn note(&self, term: u64, member: u64, now: Monotonic) {
        let mut inner = self.lock();
        inner.in_term(term, now);
        inner.asked.insert(member, now);
    }

    /// Knowledge of this leader, after a quorum confirmed it.
    pub(crate) fn lately(&self, term: u64, own: u64, now: Monotonic) -> Lately {
        let mut inner = self.lock();
        let since = inner.in_term(term, now);
        let asked = inner.asked.iter().map(|(id, at)| (*id, now.since(*at)));
        Lately {
            leads_for: now.since(since),
            asked: asked.chain([(own, Duration::ZERO)]).collect(),
        }
    }

    /// Takes the knowledge of a leader.
    pub(crate) fn take(&self, last: LastAsked) {
        self.lock().last = Some(last);
    }

    /// Newest knowledge of a leader.
    pub(crate) fn last(&self) -> Option<LastAsked> {
        self.lock().last.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(askers: &Askers, term: u64, now: u64) -> LastAsked {
        let now = Monotonic(now);
        LastAsked::new(now, &askers.lately(term, 1, now), now)
    }

    #[test]
    fn a_member_that_never_asked_this_leader_may_have_been_confirmed_until_it_led() {
        let askers = Askers::default();
        askers.note(5, 2, Monotonic(100));
        askers.note(5, 2, Monotonic(200));
        let last = last(&askers, 5, 300);
        assert_eq!(last.of(2), Monotonic(200));
        assert_eq!(last.of(3), Monotonic(100));
        assert_eq!(last.of(1), Monotonic(300), "the leader confirms itself");
    }

    #[test]
    fn what_was_asked_in_an_earlier_term_says_nothing_of_the_time_between() {
        let askers = Askers::default();
        askers.note(5, 2, Monotonic(100));
        assert_eq!(last(&askers, 7, 900).of(2), Monotonic(900));
    }
}
