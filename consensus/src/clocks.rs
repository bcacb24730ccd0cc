//! Clocks of the members, compared: a machine whose clock is wrong neither stamps entries nor issues tokens.
//!
//! Members ask each other once a second (`neighbours`), and every answer carries the wall clock of its node. A clock is
//! right when it is near the median of the members' clocks: with three members one wrong clock cannot move it (Lamport and
//! Melliar-Smith, "Synchronizing Clocks in the Presence of Faults", 1985). Of an even number the leader's side counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hessra_revocation::{Monotonic, UnixMillis};
use hessra_settings::duration::rounded;

/// Largest difference from the median that is still right: five times what a badly synchronised clock has.
pub const OFF_MAX: Duration = Duration::from_secs(5);
/// Age at which a comparison says nothing any more: either clock may have been set since.
const COMPARED_WITHIN: Duration = Duration::from_secs(10);
/// Largest step of the state's clock while a leader has not compared its own with a majority yet.
pub const UNSURE_STEP: Duration = Duration::from_secs(60);

/// Clock of a node, beside those of the other members. Differences in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// It was not compared with a majority of the members lately.
    Unknown,
    /// It is near the median.
    Right,
    /// It is so far ahead of the median; behind, when negative.
    Off(i64),
}

/// Sentence about a node whose clock is off. `ahead`: in milliseconds; behind, when negative.
#[must_use]
pub fn off(node: u64, ahead: i64) -> String {
    let by = rounded(Duration::from_millis(ahead.unsigned_abs()));
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    format!("the clock of node {node} is {by} {side} the others'")
}

/// Comparisons of one node. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks {
    compared: Arc<Mutex<BTreeMap<u64, Compared>>>,
}

/// Comparison with one member.
#[derive(Clone, Copy, Debug)]
struct Compared {
    /// Its clock, less this node's.
    ahead_ms: i64,
    at: Monotonic,
}

impl Clocks {
    /// Notes the clock of a member: `asked` and `answered` are this node's own wall clock around the question.
    pub(crate) fn note(
        &self,
        id: u64,
        its: UnixMillis,
        (asked, answered): (UnixMillis, UnixMillis),
        at: Monotonic,
    ) {
        let own = asked.0.midpoint(answered.0);
        let ahead_ms = its.0.wrapping_sub(own).cast_signed();
        self.lock().insert(id, Compared { ahead_ms, at });
    }

    /// Differences of other members' clocks from this node's, as they were compared lately.
    pub(crate) fn ahead(&self, now: Monotonic) -> BTreeMap<u64, i64> {
        let compared = self.lock();
        let lately = compared
            .iter()
            .filter(|(_, compared)| now.since(compared.at) <= COMPARED_WITHIN);
        lately
            .map(|(id, compared)| (*id, compared.ahead_ms))
            .collect()
    }

    /// State of this node's clock. `leader`: the one that it knows.
    pub(crate) fn state(
        &self,
        own: u64,
        leader: Option<u64>,
        voters: &[u64],
        now: Monotonic,
    ) -> ClockState {
        let ahead = self.ahead(now);
        let of_voters = ahead.iter().filter(|(id, _)| voters.contains(id));
        let others: Vec<i64> = of_voters.map(|(_, ahead)| *ahead).collect();
        let leader = match leader {
            Some(leader) if leader == own => Leader::Itself,
            Some(leader) => ahead
                .get(&leader)
                .map_or(Leader::Unknown, |ahead| Leader::Ahead(*ahead)),
            None => Leader::Unknown,
        };
        let members = voters.iter().filter(|id| **id != own).count() + 1;
        judge(leader, &others, members)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Compared>> {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leader's clock, as a node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    Itself,
    Ahead(i64),
    Unknown,
}

/// Judges a clock by the differences of others from it. `members`: this node and all others that vote.
fn judge(leader: Leader, others: &[i64], members: usize) -> ClockState {
    let bound = i64::try_from(OFF_MAX.as_millis()).unwrap_or(i64::MAX);
    let mut all: Vec<i64> = others.iter().copied().chain([0]).collect();
    all.sort_unstable();
    if all.len() * 2 <= members {
        return ClockState::Unknown;
    }
    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    if low > bound {
        return ClockState::Off(-low);
    }
    if high < -bound {
        return ClockState::Off(-high);
    }
    // The two in the middle differ, and one of them is this node's: nothing but the leader tells which is right.
    let is_tie = high - low > bound;
    match leader {
        Leader::Ahead(ahead) if is_tie && ahead.abs() > bound => ClockState::Off(-ahead),
        _ => ClockState::Right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS_40: i64 = 40 * 24 * 60 * 60 * 1_000;

    #[test]
    fn of_three_clocks_the_one_that_is_alone_is_off() {
        assert_eq!(judge(Leader::Itself, &[20, -30], 3), ClockState::Right);
        assert_eq!(judge(Leader::Unknown, &[DAYS_40, 10], 3), ClockState::Right);
        assert_eq!(
            judge(Leader::Itself, &[DAYS_40, DAYS_40 + 5], 3),
            ClockState::Off(-DAYS_40),
            "also when it leads"
        );
        assert_eq!(
            judge(Leader::Ahead(-DAYS_40), &[-DAYS_40, -DAYS_40], 3),
            ClockState::Off(DAYS_40)
        );
    }

    #[test]
    fn of_two_clocks_the_leaders_counts() {
        assert_eq!(judge(Leader::Itself, &[DAYS_40], 3), ClockState::Right);
        assert_eq!(
            judge(Leader::Ahead(-DAYS_40), &[-DAYS_40], 3),
            ClockState::Off(DAYS_40)
        );
        assert_eq!(judge(Leader::Unknown, &[DAYS_40], 3), ClockState::Right);
    }

    #[test]
    fn a_clock_that_was_compared_with_too_few_is_unknown() {
        assert_eq!(judge(Leader::Itself, &[], 3), ClockState::Unknown);
        assert_eq!(judge(Leader::Itself, &[3], 5), ClockState::Unknown);
        assert_eq!(
            judge(Leader::Itself, &[], 1),
            ClockState::Right,
            "the only one"
        );
    }

    #[test]
    fn of_clocks_that_all_differ_the_middle_one_is_right() {
        let hour = 3_600_000;
        assert_eq!(judge(Leader::Unknown, &[hour, -hour], 3), ClockState::Right);
        assert_eq!(
            judge(Leader::Unknown, &[hour, 2 * hour], 3),
            ClockState::Off(-hour)
        );
    }
}
