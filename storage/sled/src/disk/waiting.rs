//! Waiters for a flush, and the watch over the flush that is under way.
//!
//! A disk may stop answering without an error: a volume that went away, a frozen file system, a controller that retries
//! for minutes. And sled 0.34 may wait for ever for a write of its own that failed (its wake-up can come before its
//! wait). The waiters would be told nothing, and a leader with such a disk would go on leading. So a flush that takes
//! longer than `flush_max` ends the engine, as any error of the disk does: all waiters get an error, the node stops,
//! and another one leads.

use std::mem::take;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::first_error::FirstError;
use crate::StoreError;
use crate::engine::Done;

/// Most waiters at once. openraft waits for one append and one vote at a time, snapshots for one each: a full queue
/// means that some waiters were given up by their callers.
const WAITING_MAX: usize = 1024;
/// Interval at which the watch looks; a flush that does not end is noticed up to so much later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Queue of waiters. Clones are handles on the same.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Shared>);

#[derive(Default)]
struct Shared {
    line: Mutex<Line>,
    /// Signal for the flushing thread: there is something to do.
    work: Condvar,
    /// Signal for the others: `has_ended` or `is_stuck` was set.
    over: Condvar,
}

#[derive(Default)]
struct Line {
    /// Waiters for the next flush.
    queued: Vec<Done>,
    /// Waiters for the flush that is under way.
    served: Vec<Done>,
    /// Start of the wait for the disk; `None` while it is not waited for.
    began: Option<Instant>,
    is_closed: bool,
    /// The disk was given up: the flushing thread may never come back.
    is_stuck: bool,
    /// The flushing thread has ended.
    has_ended: bool,
}

/// Next step of the flushing thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Flush, because there are waiters; the flush counts as begun.
    Flush,
    /// Do other work: no waiter came in time.
    Nothing,
    /// End: no waiter will come any more.
    End,
}

impl Waiting {
    /// Lets `done` run after the next flush, or now with an error.
    pub(super) fn queue(&self, done: Done, failure: &FirstError) {
        let mut line = self.line();
        let refusal = if line.is_stuck {
            let first = failure.first.get().cloned();
            first.unwrap_or_else(|| StoreError::stopped("the disk does not answer"))
        } else if line.is_closed || line.has_ended {
            StoreError::stopped("the store is closed")
        } else if line.queued.len() >= WAITING_MAX {
            StoreError::stopped("too many flushes are waited for")
        } else {
            line.queued.push(done);
            self.0.work.notify_one();
            return;
        };
        drop(line);
        done(Err(refusal));
    }

    /// Waits for a waiter, at most for `patience`.
    pub(super) fn next(&self, patience: Option<Duration>) -> Next {
        let is_idle = |line: &mut Line| line.queued.is_empty() && !line.is_closed;
        let line = self.line();
        let mut line = match patience {
            Some(patience) => {
                let waited = self.0.work.wait_timeout_while(line, patience, is_idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.0.work.wait_while(line, is_idle);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        match (line.queued.is_empty(), line.is_closed) {
            (true, true) => Next::End,
            (true, false) => Next::Nothing,
            (false, _) => {
                line.served = take(&mut line.queued);
                line.began = Some(Instant::now());
                Next::Flush
            }
        }
    }

    /// Ends the flush, and returns the waiters that are still to be answered.
    pub(super) fn served(&self) -> Vec<Done> {
        let mut line = self.line();
        line.began = None;
        take(&mut line.served)
    }

    /// Carries out work on the disk under the watch, while there is no flush.
    pub(super) fn watched<T>(&self, act: impl FnOnce() -> T) -> T {
        self.line().began = Some(Instant::now());
        let done = act();
        self.line().began = None;
        done
    }

    /// Closes the queue: no new waiter is let in, and those in it are still served.
    pub(super) fn close(&self) {
        self.line().is_closed = true;
        self.0.work.notify_all();
    }

    /// Marks the end of the flushing thread. Waiters that it left, because it panicked, get an error.
    pub(super) fn end(&self) {
        let mut line = self.line();
        line.has_ended = true;
        let left = line.take_all();
        drop(line);
        self.0.over.notify_all();
        let error = StoreError::stopped("the flushing thread has ended");
        left.into_iter().for_each(|done| done(Err(error.clone())));
    }

    /// Returns true once the flushing thread has ended, false when it was given up.
    pub(super) fn ended(&self) -> bool {
        let goes_on = |line: &mut Line| !line.has_ended && !line.is_stuck;
        let waited = self.0.over.wait_while(self.line(), goes_on);
        waited.unwrap_or_else(PoisonError::into_inner).has_ended
    }

    /// Starts the watch. It ends with the flushing thread, or when it has given the disk up.
    pub(super) fn watch(&self, failure: FirstError, flush_max: Duration) -> std::io::Result<()> {
        let watched = self.clone();
        let thread = thread::Builder::new().name("hessra-watch".to_owned());
        thread
            .spawn(move || watched.look(&failure, flush_max))
            .map(drop)
    }

    fn look(&self, failure: &FirstError, flush_max: Duration) {
        let every = LOOK_EVERY.min(flush_max / 2);
        let mut looked = Instant::now();
        while !self.ends_within(every) {
            let now = Instant::now();
            // The whole process was stopped for a while: the disk may have answered since.
            let was_stopped = now.saturating_duration_since(looked) > every * 4;
            looked = now;
            if !was_stopped && self.is_overdue(now, flush_max) {
                return self.give_up(failure, flush_max);
            }
        }
    }

    fn ends_within(&self, time: Duration) -> bool {
        let goes_on = |line: &mut Line| !line.has_ended;
        let waited = self.0.over.wait_timeout_while(self.line(), time, goes_on);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    fn is_overdue(&self, now: Instant, flush_max: Duration) -> bool {
        let began = self.line().began;
        began.is_some_and(|began| now.saturating_duration_since(began) >= flush_max)
    }

    /// Gives the disk up: all waiters get the error, and no other one is let in.
    fn give_up(&self, failure: &FirstError, flush_max: Duration) {
        let error = failure.remember(StoreError::Stuck {
            file: failure.file.to_string(),
            seconds: flush_max.as_secs_f64(),
        });
        let mut line = self.line();
        line.is_stuck = true;
        let left = line.take_all();
        drop(line);
        self.0.over.notify_all();
        left.into_iter().for_each(|done| done(Err(error.clone())));
        // Last: the log may be on that very disk.
        tracing::error!(%error, "the disk does not answer");
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn take_all(&mut self) -> Vec<Done> {
        let mut all = take(&mut self.served);
        all.append(&mut self.queued);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const FLUSH_MAX: Duration = Duration::from_secs(10);

    fn failure() -> FirstError {
        FirstError {
            first: Arc::default(),
            file: "sled/db".into(),
        }
    }

    fn waiter() -> (Done, Receiver<Result<(), StoreError>>) {
        let (tell, told) = channel();
        let done = move |outcome| tell.send(outcome).expect("the test listens");
        (Box::new(done), told)
    }

    #[test]
    fn only_a_disk_that_is_waited_for_too_long_is_overdue() {
        let waiting = Waiting::default();
        let late = || Instant::now() + FLUSH_MAX;
        assert!(!waiting.is_overdue(late(), FLUSH_MAX), "nobody waits");
        waiting.queue(waiter().0, &failure());
        assert!(!waiting.is_overdue(late(), FLUSH_MAX), "no flush began");
        assert_eq!(waiting.next(None), Next::Flush);
        assert!(!waiting.is_overdue(Instant::now(), FLUSH_MAX));
        assert!(waiting.is_overdue(late(), FLUSH_MAX));
        assert_eq!(waiting.served().len(), 1);
        assert!(!waiting.is_overdue(late(), FLUSH_MAX), "it came back");
        waiting.watched(|| assert!(waiting.is_overdue(late(), FLUSH_MAX)));
        assert!(!waiting.is_overdue(late(), FLUSH_MAX));
    }

    #[test]
    fn waiters_get_one_error_when_the_disk_does_not_answer() {
        let (waiting, failure) = (Waiting::default(), failure());
        let ((first, told_first), (second, told_second)) = (waiter(), waiter());
        waiting.queue(first, &failure);
        assert_eq!(waiting.next(None), Next::Flush);
        waiting.queue(second, &failure);
        waiting.look(&failure, Duration::from_millis(2));
        let (late, told_late) = waiter();
        waiting.queue(late, &failure);
        for told in [told_first, told_second, told_late] {
            let outcome = told.try_recv().expect("it was told");
            let error = outcome.expect_err("no flush came back").to_string();
            let begin = "the disk has not finished a flush of sled/db for 0.002 s";
            assert!(error.starts_with(begin), "{error}");
        }
        assert!(
            waiting.served().is_empty(),
            "it came back, and all were told"
        );
        assert!(!waiting.ended(), "nobody waits for the flushing thread");
        let mut asked = false;
        let refused = failure.guard(|| {
            asked = true;
            Ok(())
        });
        assert!(refused.is_err());
        assert!(!asked, "such a disk is not asked again");
    }

    #[test]
    fn waiters_get_an_error_when_the_flush_thread_dies() {
        let (waiting, failure) = (Waiting::default(), failure());
        let ((served, told_served), (queued, told_queued)) = (waiter(), waiter());
        waiting.queue(served, &failure);
        assert_eq!(waiting.next(None), Next::Flush);
        waiting.queue(queued, &failure);
        waiting.end();
        let (late, told_late) = waiter();
        waiting.queue(late, &failure);
        for told in [told_served, told_queued, told_late] {
            assert!(told.try_recv().is_ok_and(|outcome| outcome.is_err()));
        }
    }

    #[test]
    fn waiters_are_served_before_the_queue_closes() {
        let waiting = Waiting::default();
        waiting.queue(waiter().0, &failure());
        waiting.close();
        let (late, told) = waiter();
        waiting.queue(late, &failure());
        assert!(told.try_recv().is_ok_and(|outcome| outcome.is_err()));
        assert_eq!(waiting.next(None), Next::Flush);
        assert_eq!(waiting.served().len(), 1);
        assert_eq!(waiting.next(None), Next::End);
    }
}
