//! Unread bytes: what streams were given and their readers have not taken, bounded for the whole node.
//!
//! A stream asks for room before it makes a message, and holds it until the transport asks for the next one or the
//! stream is gone. A reader that takes nothing holds one message; all of them together hold what the budget allows, and
//! the rest wait, until the transport closes the connection of a reader that takes nothing for too long. Guests have a budget of their own, so that what they leave unread delays no verifier of the policy.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::FeedSettings;
use super::claim::Standing;

/// Bytes that one permit stands for.
const UNIT: usize = 1024;
/// Copies of a message while it is under way: the one that was made, and the transport's.
const COPIES: usize = 2;
/// Share of the budget that guests have: a quarter, as of the seats.
const GUESTS_SHARE: usize = 4;

/// Budget of one node.
#[derive(Debug)]
pub(super) struct Unread {
    enrolled: Budget,
    guests: Budget,
}

#[derive(Debug)]
struct Budget {
    units: u32,
    free: Arc<Semaphore>,
}

impl Unread {
    pub(super) fn new(settings: &FeedSettings) -> Self {
        let units = settings.unread_bytes_max / UNIT;
        let guests = units / GUESTS_SHARE;
        Self {
            enrolled: Budget::new(units - guests),
            guests: Budget::new(guests),
        }
    }

    /// Waits until there is room for a message of so many bytes. A message larger than the budget has all of it.
    pub(super) async fn room(&self, standing: Standing, bytes: usize) -> OwnedSemaphorePermit {
        let budget = self.of(standing);
        let units = u32::try_from((bytes * COPIES).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let units = units.clamp(1, budget.units);
        let permit = Arc::clone(&budget.free).acquire_many_owned(units).await;
        permit.expect("the budget is never closed")
    }

    /// Bytes that are held now.
    pub(super) fn held(&self) -> usize {
        self.enrolled.held() + self.guests.held()
    }

    fn of(&self, standing: Standing) -> &Budget {
        match standing {
            Standing::Enrolled => &self.enrolled,
            Standing::Guest => &self.guests,
        }
    }
}

impl Budget {
    fn new(units: usize) -> Self {
        let units = u32::try_from(units).unwrap_or(u32::MAX).max(1);
        Self {
            units,
            free: Arc::new(Semaphore::new(units as usize)),
        }
    }

    fn held(&self) -> usize {
        (self.units as usize - self.free.available_permits()) * UNIT
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn unread(kib: usize) -> Unread {
        Unread::new(&FeedSettings {
            unread_bytes_max: kib * UNIT,
            ..FeedSettings::default()
        })
    }

    #[tokio::test]
    async fn unread_messages_of_guests_hold_back_guests_alone() {
        let unread = unread(400);
        let first = unread.room(Standing::Guest, 50 * UNIT).await;
        assert!(unread.room(Standing::Guest, 1).now_or_never().is_none());
        assert!(
            unread
                .room(Standing::Enrolled, 100 * UNIT)
                .now_or_never()
                .is_some()
        );
        assert_eq!(unread.held(), 100 * UNIT);
        drop(first);
        assert!(unread.room(Standing::Guest, 1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_message_larger_than_the_budget_waits_for_all_of_it_and_goes() {
        let unread = unread(8);
        let all = unread.room(Standing::Guest, 1_000 * UNIT).now_or_never();
        assert!(all.is_some());
    }
}
