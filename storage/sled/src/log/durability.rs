//! Durability of the log: what of it is on the disk already, and who must wait for the rest.
//!
//! openraft 0.9 is told that an append is done once it is *written*: so a leader sends an entry while its own disk takes
//! it, and one wait for the disk stands in the way of a commit instead of two after each other (decision 0022). Three
//! gates hold what rests on the disk: a follower's acknowledgement (`consensus/inbound`), whatever a leader says to be
//! committed (`consensus/raft/network`), and what is applied ([`crate::StateMachine`]).

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::StoreError;
use crate::plant::{Plant, is_planted};

/// Appends that may be written and not yet durable. A leader has two entries under way; the rest is for members and retries.
const PENDING_MAX: usize = 64;

/// Flushes that ended and are remembered.
const ENDED_KEPT: usize = 64;

/// Durability of one log. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Durability(Arc<watch::Sender<Flushes>>);

/// Appends that are written, in their order.
#[derive(Debug, Default)]
struct Flushes {
    /// Number of the newest append.
    written: u64,
    /// Number of the newest append that is durable, with all before it.
    durable: u64,
    pending: VecDeque<Pending>,
    /// The newest flushes that ended.
    ended: VecDeque<Flush>,
    failure: Option<StoreError>,
}

/// Append that is not durable yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    number: u64,
    /// Log index of its first entry.
    first: u64,
    written: Instant,
}

/// Append that is durable: when it was written, and when the disk had it. For traces and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    first: u64,
    /// Instant at which it was written.
    pub written: Instant,
    /// Instant at which the disk had it.
    pub durable: Instant,
}

impl Durability {
    /// Waits for room for one more append.
    ///
    /// # Errors
    /// When the disk has failed.
    pub(super) async fn room(&self) -> Result<(), StoreError> {
        self.when(|flushes| flushes.pending.len() < PENDING_MAX)
            .await
    }

    /// Notes that an append from `first` on is written, and returns its number for [`Self::ended`].
    pub(super) fn begin(&self, first: u64) -> u64 {
        let mut number = 0;
        self.0.send_modify(|flushes| {
            flushes.written += 1;
            number = flushes.written;
            let written = Instant::now();
            flushes.pending.push_back(Pending {
                number,
                first,
                written,
            });
        });
        if is_planted(Plant::AckBeforeFsync) {
            self.ended(number, Ok(()));
        }
        number
    }

    /// Notes how the flush of an append ended. A flush makes everything durable that was written before it.
    pub(super) fn ended(&self, number: u64, outcome: Result<(), StoreError>) {
        self.0.send_modify(|flushes| match outcome {
            Ok(()) => {
                flushes.durable = flushes.durable.max(number);
                flushes.end_up_to(number, Instant::now());
            }
            Err(error) => drop(flushes.failure.get_or_insert(error)),
        });
    }

    /// Returns once the entry at `index`, as it stands in the log now, and all before it are durable.
    ///
    /// # Errors
    /// When the disk has failed: they may never be.
    pub async fn through(&self, index: u64) -> Result<(), StoreError> {
        let number = self.0.borrow().number_of(index);
        self.when(|flushes| flushes.durable >= number).await
    }

    /// True when the entry at `index`, as it stands in the log now, and all before it are durable.
    #[must_use]
    pub fn has(&self, index: u64) -> bool {
        let flushes = self.0.borrow();
        flushes.durable >= flushes.number_of(index)
    }

    /// The flush that made the entry at `index` durable, if it ended lately.
    #[must_use]
    pub fn flush_of(&self, index: u64) -> Option<Flush> {
        let flushes = self.0.borrow();
        let newest = flushes
            .ended
            .iter()
            .rev()
            .find(|flush| flush.first <= index);
        newest.copied()
    }

    /// Resolves with the error with which the disk failed.
    pub async fn failed(&self) -> StoreError {
        let closed = || StoreError::stopped("the store is closed");
        let mut flushes = self.0.subscribe();
        let failed = flushes.wait_for(|flushes| flushes.failure.is_some()).await;
        failed.map_or_else(
            |_| closed(),
            |flushes| flushes.failure.clone().unwrap_or_else(closed),
        )
    }

    async fn when(&self, reached: impl Fn(&Flushes) -> bool) -> Result<(), StoreError> {
        let mut flushes = self.0.subscribe();
        let over = |flushes: &Flushes| flushes.failure.is_some() || reached(flushes);
        match flushes.wait_for(over).await {
            Ok(flushes) => flushes.failure.clone().map_or(Ok(()), Err),
            // The sender lives as long as `self`.
            Err(_) => Err(StoreError::stopped("the store is closed")),
        }
    }
}

impl Flushes {
    fn end_up_to(&mut self, number: u64, durable: Instant) {
        while let Some(pending) = self
            .pending
            .pop_front_if(|pending| pending.number <= number)
        {
            if self.ended.len() == ENDED_KEPT {
                self.ended.pop_front();
            }
            self.ended.push_back(Flush {
                first: pending.first,
                written: pending.written,
                durable,
            });
        }
    }

    /// Number of the append that must be durable for the entry at `index` to be. What was truncated and appended anew is in the
    /// newest append that begins at or below it.
    fn number_of(&self, index: u64) -> u64 {
        let newest = self
            .pending
            .iter()
            .rev()
            .find(|pending| pending.first <= index);
        newest.map_or(0, |pending| pending.number)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn is_durable(durability: &Durability, index: u64) -> bool {
        let now = durability.through(index).now_or_never();
        assert_eq!(now.is_some(), durability.has(index));
        now.is_some_and(|waited| waited.is_ok())
    }

    #[test]
    fn an_entry_is_durable_when_its_own_append_is_flushed() {
        let durability = Durability::default();
        let (first, second) = (durability.begin(1), durability.begin(6));
        assert!(!is_durable(&durability, 1));
        durability.ended(first, Ok(()));
        assert!(
            is_durable(&durability, 5),
            "the append after it is not waited for"
        );
        assert!(!is_durable(&durability, 6));
        durability.ended(second, Ok(()));
        assert!(is_durable(&durability, 6));
    }

    #[test]
    fn a_flush_makes_durable_what_was_written_before_it() {
        let durability = Durability::default();
        let (first, second) = (durability.begin(1), durability.begin(2));
        durability.ended(second, Ok(()));
        assert!(is_durable(&durability, 1));
        durability.ended(first, Ok(()));
        assert!(
            is_durable(&durability, 2),
            "a late answer takes nothing back"
        );
    }

    #[test]
    fn an_entry_in_the_place_of_another_waits_for_its_own_flush() {
        let durability = Durability::default();
        let first = durability.begin(1);
        let anew = durability.begin(3);
        durability.ended(first, Ok(()));
        assert!(is_durable(&durability, 2));
        assert!(
            !is_durable(&durability, 3),
            "it was truncated and is written anew"
        );
        durability.ended(anew, Ok(()));
        assert!(is_durable(&durability, 3));
    }

    #[test]
    fn whoever_waits_is_told_that_the_disk_failed() {
        let durability = Durability::default();
        let number = durability.begin(1);
        durability.ended(number, Err(StoreError::stopped("no disk")));
        let waited = durability.through(1).now_or_never();
        assert!(waited.is_some_and(|waited| waited.is_err()));
        assert!(durability.failed().now_or_never().is_some());
    }

    #[test]
    fn there_is_a_limit_to_what_is_written_and_not_durable() {
        let durability = Durability::default();
        for number in 1..=PENDING_MAX as u64 {
            assert!(durability.room().now_or_never().is_some());
            durability.begin(number);
        }
        assert!(durability.room().now_or_never().is_none());
        durability.ended(1, Ok(()));
        assert!(durability.room().now_or_never().is_some());
    }
}
