//! Clocks of the members, compared: a machine whose clock is wrong neither stamps entries nor issues tokens.
//!
//! Members ask each other once a second (`neighbours`), and every answer carries the wall clock of its node. A clock is
//! right when it is near the median of the members' clocks: with three members one wrong clock cannot move it (Lamport and
//! Melliar-Smith, "Synchronizing Clocks in the Presence of Faults", 1985). Of an even number that
//! differ no clock is known to be right.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hessra_revocation::{Monotonic, UnixMillis};
use hessra_settings::duration::rounded;

use crate::world::World;

/// Largest difference from the median that is still right: five times what a badly synchronised clock has.
pub const OFF_MAX: Duration = Duration::from_secs(5);
/// Age at which a comparison says nothing any more: either clock may have been set since. Three rounds of asking.
const COMPARED_WITHIN: Duration = Duration::from_secs(3);
/// Clock of a node, beside those of the other members. Differences in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// It was not compared with a majority of the members lately, or as many say one thing as another.
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

/// Time as the state tells it: its clock, and what has passed on the monotonic clock since it moved last. Never far behind the
/// truth while the cluster works, and never ahead of it by more than the state is.
#[derive(Debug)]
pub(crate) struct Estimate {
    last: Mutex<(UnixMillis, Monotonic)>,
}

impl Estimate {
    /// Begins with the clock of the state at the start of a process.
    pub(crate) fn new(clock: UnixMillis, now: Monotonic) -> Self {
        Self {
            last: Mutex::new((clock, now)),
        }
    }

    /// Stamp of a leader that does not know whether its clock is right: its own time where that is near the estimate, else the
    /// estimate. `clock`: the state's.
    pub(crate) fn stamp(&self, clock: UnixMillis, now: Now) -> UnixMillis {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Only an operator sets the state's clock back: what was estimated before is as wrong as it was.
        if clock < last.0 {
            *last = (clock, now.monotonic);
        }
        let (then, since) = *last;
        let passed = now.monotonic.since(since);
        let estimated = UnixMillis(then.0.saturating_add(millis(passed)));
        let estimated = if clock > estimated {
            *last = (clock, now.monotonic);
            clock
        } else {
            estimated
        };
        // Its own stamps must not carry the estimate away, one after the other.
        match now.wall.0.abs_diff(estimated.0) <= millis(OFF_MAX) {
            true => now.wall,
            false => estimated,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Both clocks of a process, now.
pub(crate) fn now<W: World>(world: &W) -> Now {
    Now {
        wall: world.wall(),
        monotonic: world.monotonic(),
    }
}

/// Comparisons of one node. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks {
    compared: Arc<Mutex<BTreeMap<u64, Compared>>>,
}

/// Comparison with one member: its wall clock at an instant of this node's monotonic clock. So a step of this node's own wall
/// clock shows at once, and not with the next answer.
#[derive(Clone, Copy, Debug)]
struct Compared {
    its: UnixMillis,
    at: Monotonic,
}

impl Compared {
    /// Its clock, less this node's, now.
    fn ahead(&self, now: Now) -> i64 {
        let passed = now.monotonic.0.saturating_sub(self.at.0);
        let its = self.its.0.saturating_add(passed);
        its.wrapping_sub(now.wall.0).cast_signed()
    }
}

/// Both clocks of this node at one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: UnixMillis,
    pub(crate) monotonic: Monotonic,
}

impl Clocks {
    /// Notes the clock of a member: `asked` and `answered` are this node's monotonic clock around the question.
    pub(crate) fn note(&self, id: u64, its: UnixMillis, (asked, answered): (Monotonic, Monotonic)) {
        let at = Monotonic(asked.0.midpoint(answered.0));
        self.lock().insert(id, Compared { its, at });
    }

    /// Differences of other members' clocks from this node's, as they were compared lately.
    pub(crate) fn ahead(&self, now: Now) -> BTreeMap<u64, i64> {
        let compared = self.lock();
        let lately = compared
            .iter()
            .filter(|(_, compared)| now.monotonic.since(compared.at) <= COMPARED_WITHIN);
        lately
            .map(|(id, compared)| (*id, compared.ahead(now)))
            .collect()
    }

    /// State of this node's clock. `leader`: the one that it knows.
    pub(crate) fn state(
        &self,
        own: u64,
        leader: Option<u64>,
        voters: &[u64],
        now: Now,
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
    // The two in the middle differ: nothing tells which is right. Members go with their leader, which moves the time of the
    // state no faster than its monotonic clock.
    let is_tie = high - low > bound;
    match leader {
        _ if !is_tie => ClockState::Right,
        Leader::Ahead(ahead) if ahead.abs() > bound => ClockState::Off(-ahead),
        Leader::Ahead(_) => ClockState::Right,
        Leader::Itself | Leader::Unknown => ClockState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_own_clock_shows_before_the_next_answer() {
        let clocks = Clocks::default();
        let at = |wall, monotonic| Now {
            wall: UnixMillis(wall),
            monotonic: Monotonic(monotonic),
        };
        for id in [2, 3] {
            clocks.note(id, UnixMillis(1_000_000), (Monotonic(100), Monotonic(120)));
        }
        let state = |now| clocks.state(1, Some(1), &[1, 2, 3], now);
        assert_eq!(state(at(1_000_890, 1_000)), ClockState::Right);
        assert_eq!(state(at(1_060_890, 1_000)), ClockState::Off(60_000));
        assert_eq!(
            state(at(1_004_000, 4_110)),
            ClockState::Unknown,
            "too long ago"
        );
    }

    #[test]
    fn a_leader_that_is_not_sure_stamps_near_what_has_passed() {
        let estimate = Estimate::new(UnixMillis(1_000_000), Monotonic(500));
        let at = |wall, monotonic| Now {
            wall: UnixMillis(wall),
            monotonic: Monotonic(monotonic),
        };
        let clock = UnixMillis(1_000_000);
        let near = UnixMillis(1_004_000);
        assert_eq!(estimate.stamp(clock, at(1_004_000, 1_500)), near);
        for wrong in [9_000_000, 7] {
            let stamped = estimate.stamp(clock, at(wrong, 1_500));
            assert_eq!(stamped, UnixMillis(1_001_000));
            // Its own stamp carries it nowhere.
            let again = estimate.stamp(stamped, at(wrong, 1_500));
            assert_eq!(again, UnixMillis(1_001_000));
        }
        let moved = UnixMillis(1_500_000);
        assert_eq!(estimate.stamp(moved, at(7, 1_500)), moved);
        assert_eq!(estimate.stamp(moved, at(7, 3_500)), UnixMillis(1_502_000));
    }

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
    fn of_two_clocks_that_differ_neither_is_known_to_be_right_and_the_leaders_counts() {
        assert_eq!(judge(Leader::Itself, &[DAYS_40], 3), ClockState::Unknown);
        assert_eq!(judge(Leader::Itself, &[20], 3), ClockState::Right);
        assert_eq!(
            judge(Leader::Ahead(-DAYS_40), &[-DAYS_40], 3),
            ClockState::Off(DAYS_40)
        );
        assert_eq!(judge(Leader::Unknown, &[DAYS_40], 3), ClockState::Unknown);
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
