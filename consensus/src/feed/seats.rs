//! Seats: who may have how many streams of this node at once.
//!
//! A stream takes its seat before it has said anything, and gives it back when it ends or is evicted. Guests can take
//! a share of all seats only, so that there are some for the verifiers that the policy names; no caller can take what
//! all share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::FeedSettings;
use super::claim::Claim;

/// Seats of one node. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    limits: Limits,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    all: usize,
    guests: usize,
    per_identity: usize,
    per_guest: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    guests: usize,
    /// By identity, or by address of callers that proved none.
    by_caller: BTreeMap<Caller, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Identity(String),
    Address(String),
}

/// One stream's seat; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    caller: Caller,
    guest: bool,
}

impl Seats {
    pub(super) fn new(settings: &FeedSettings) -> Self {
        let limits = Limits {
            all: settings.subscribers_max,
            guests: settings.guests_max.min(settings.subscribers_max),
            per_identity: settings.subscribers_per_identity_max,
            per_guest: settings.guests_per_caller_max,
        };
        Self {
            limits,
            taken: Arc::default(),
        }
    }

    /// Takes a seat. `guest`: the policy names no verifier of this caller. `None` = there is none for it.
    pub(super) fn take(&self, claim: &dyn Claim, guest: bool) -> Option<Seat> {
        let caller = match claim.identity() {
            Some(identity) => Caller::Identity(identity.to_owned()),
            None => Caller::Address(claim.address().to_owned()),
        };
        let mut taken = self.lock();
        let own = taken.by_caller.get(&caller).copied().unwrap_or(0);
        let own_max = match guest {
            true => self.limits.per_guest,
            false => self.limits.per_identity,
        };
        let is_full = taken.all >= self.limits.all || own >= own_max;
        if is_full || (guest && taken.guests >= self.limits.guests) {
            return None;
        }
        taken.all += 1;
        taken.guests += usize::from(guest);
        taken.by_caller.insert(caller.clone(), own + 1);
        drop(taken);
        Some(Seat {
            seats: self.clone(),
            caller,
            guest,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Moves to the seats of guests. `false` = none of them is free.
    pub(super) fn among_guests(&mut self) -> bool {
        if self.guest {
            return true;
        }
        let mut taken = self.seats.lock();
        let is_free = taken.guests < self.seats.limits.guests;
        taken.guests += usize::from(is_free);
        drop(taken);
        self.guest = is_free;
        is_free
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.all -= 1;
        taken.guests -= usize::from(self.guest);
        let left = taken.by_caller.get_mut(&self.caller).map(|own| {
            *own -= 1;
            *own
        });
        if left == Some(0) {
            taken.by_caller.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::claim::tests::Shown;
    use super::*;

    fn seats() -> Seats {
        Seats::new(&FeedSettings {
            subscribers_max: 10,
            guests_max: 4,
            subscribers_per_identity_max: 5,
            guests_per_caller_max: 3,
            ..FeedSettings::default()
        })
    }

    #[test]
    fn guests_leave_seats_for_the_verifiers_of_the_policy() {
        let seats = seats();
        let mut kept = Vec::new();
        for who in ["a", "b", "c", "d"] {
            kept.push(seats.take(&Shown(Some(who)), true).expect("a seat"));
        }
        assert!(seats.take(&Shown(Some("e")), true).is_none());
        assert!(seats.take(&Shown(Some("orders")), false).is_some());
        kept.pop();
        assert!(seats.take(&Shown(Some("e")), true).is_some());
    }

    #[test]
    fn one_caller_cannot_take_what_all_share() {
        let seats = seats();
        let of = |who, guest, count: usize| -> Vec<Seat> {
            (0..count)
                .filter_map(|_| seats.take(&Shown(who), guest))
                .collect()
        };
        let anonymous = of(None, true, 10);
        assert_eq!(anonymous.len(), 3, "by address");
        let orders = of(Some("orders"), false, 10);
        assert_eq!(orders.len(), 5, "by identity");
        drop((anonymous, orders));
        let taken = seats.lock();
        assert_eq!((taken.all, taken.guests, taken.by_caller.len()), (0, 0, 0));
    }

    #[test]
    fn a_verifiers_identity_under_a_strange_id_takes_a_guests_seat() {
        let seats = seats();
        let guests: Vec<Option<Seat>> = ["a", "b", "c", "d"]
            .map(|who| seats.take(&Shown(Some(who)), true))
            .into();
        let mut seat = seats.take(&Shown(Some("orders")), false).expect("a seat");
        assert!(!seat.among_guests(), "none is free");
        drop(guests);
        assert!(seat.among_guests() && seat.among_guests());
        assert_eq!(seats.lock().guests, 1);
    }
}
