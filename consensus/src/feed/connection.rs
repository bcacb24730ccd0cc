//! One stream of one verifier, as the table of subscribers and the stream both see it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hessra_proto::status::Failure;
use hessra_proto::{Greeting, VerifierId};
use hessra_revocation::{Monotonic, Revision};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::claim::{Claim, Standing};
use super::seats::Seat;

/// One stream of one verifier.
pub(super) struct Connection {
    number: u64,
    greeting: Greeting,
    claim: Arc<dyn Claim>,
    standing: Standing,
    /// Cancelled when the stream must end.
    evicted: CancellationToken,
    /// Tick + 1 since which the transport has taken nothing; 0 = it waits for us.
    blocked_since: AtomicU64,
    /// Tick + 1 before which everything was confirmed that the stream was given; 0 = it was given nothing.
    confirmed: AtomicU64,
    /// Newest revision that was acknowledged.
    acknowledged: AtomicU64,
    held: Mutex<Held>,
}

struct Held {
    /// Seat of the stream, given back when it ends or is evicted, whichever is first.
    seat: Option<Seat>,
    /// Room of what the transport was given last; given back when it asks for more, or drops the stream.
    unread: Option<OwnedSemaphorePermit>,
    /// First reason for which the stream must end.
    reason: Option<Eviction>,
}

/// Reason for which a stream must end.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Eviction {
    /// It took nothing for too long.
    Slow,
    /// The same verifier opened a newer stream.
    Replaced,
    /// Its caller may not speak any more.
    Silenced(Failure),
    /// The policy gives its caller another standing now: a new stream has it.
    OtherStanding,
}

impl Connection {
    pub(super) fn new(
        number: u64,
        greeting: Greeting,
        (claim, standing): (Arc<dyn Claim>, Standing),
        seat: Seat,
    ) -> Self {
        Self {
            number,
            greeting,
            claim,
            standing,
            evicted: CancellationToken::new(),
            blocked_since: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            held: Mutex::new(Held {
                seat: Some(seat),
                unread: None,
                reason: None,
            }),
        }
    }

    /// Number of the stream, unlike that of any other of this process.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn verifier(&self) -> &VerifierId {
        &self.greeting.verifier_id
    }

    /// Name and version of the program, for people.
    pub(super) fn client(&self) -> &str {
        &self.greeting.client
    }

    pub(super) fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    pub(super) fn claim(&self) -> &Arc<dyn Claim> {
        &self.claim
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn is_enrolled(&self) -> bool {
        self.standing == Standing::Enrolled
    }

    /// True when no revision as new as this one was acknowledged on this stream before.
    pub(super) fn is_news(&self, acknowledged: Revision) -> bool {
        let before = self
            .acknowledged
            .fetch_max(acknowledged.0, Ordering::AcqRel);
        before < acknowledged.0
    }

    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }

    /// The transport asks for the next message.
    pub(super) fn taken(&self) {
        self.blocked_since.store(0, Ordering::Release);
        self.held().unread = None;
    }

    /// The transport was given a message at `now`, which has this room.
    pub(super) fn given(&self, now: Monotonic, room: Option<OwnedSemaphorePermit>) {
        self.held().unread = room;
        self.blocked_since.store(now.0 + 1, Ordering::Release);
    }

    /// It was given what rests on a confirmation of this instant, or of an earlier one.
    pub(super) fn confirmed(&self, began: Option<Monotonic>) {
        if let Some(began) = began {
            self.confirmed.fetch_max(began.0 + 1, Ordering::AcqRel);
        }
    }

    /// Newest confirmation that anything rests on which it was given.
    pub(super) fn newest_confirmation(&self) -> Option<Monotonic> {
        let newest = self.confirmed.load(Ordering::Acquire).checked_sub(1);
        newest.map(Monotonic)
    }

    /// Reason for which it was evicted.
    pub(super) fn eviction(&self) -> Option<Eviction> {
        self.held().reason.clone()
    }

    /// Gives its seat back at once; the stream ends when the transport next asks for something.
    pub(super) fn evict(&self, reason: Eviction) {
        let mut held = self.held();
        held.reason.get_or_insert(reason);
        let seat = held.seat.take();
        drop(held);
        drop(seat);
        self.evicted.cancel();
    }

    /// Time for which the transport has not taken what it was given.
    pub(super) fn blocked_for(&self, now: Monotonic) -> Duration {
        let since = self.blocked_since.load(Ordering::Acquire).checked_sub(1);
        since.map_or(Duration::ZERO, |since| now.since(Monotonic(since)))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
