//! One stream of one verifier, as the table of subscribers and the stream both see it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hessra_proto::VerifierId;
use hessra_revocation::Monotonic;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// One stream of one verifier.
pub(super) struct Connection {
    number: u64,
    verifier: VerifierId,
    /// Cancelled when the stream must end.
    evicted: CancellationToken,
    replaced: AtomicBool,
    /// Tick + 1 since which the transport has taken nothing; 0 = it waits for us.
    blocked_since: AtomicU64,
    /// Permit of the stream, given back when it ends or is evicted, whichever is first.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Connection {
    pub(super) fn new(number: u64, verifier: VerifierId, permit: OwnedSemaphorePermit) -> Self {
        Self {
            number,
            verifier,
            evicted: CancellationToken::new(),
            replaced: AtomicBool::new(false),
            blocked_since: AtomicU64::new(0),
            permit: Mutex::new(Some(permit)),
        }
    }

    /// Number of the stream, unlike that of any other of this process.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn verifier(&self) -> &VerifierId {
        &self.verifier
    }

    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }

    /// The transport asks for the next message.
    pub(super) fn taken(&self) {
        self.blocked_since.store(0, Ordering::Release);
    }

    /// The transport was given a message at `now`.
    pub(super) fn given(&self, now: Monotonic) {
        self.blocked_since.store(now.0 + 1, Ordering::Release);
    }

    /// Evicted because the same verifier opened a newer stream, not because it was slow.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// The same verifier opened a newer stream.
    pub(super) fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
        self.evict();
    }

    /// Gives its permit back at once; the stream ends when the transport next asks for something.
    pub(super) fn evict(&self) {
        self.evicted.cancel();
        drop(
            self.permit
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// Time for which the transport has not taken what it was given.
    pub(super) fn blocked_for(&self, now: Monotonic) -> Duration {
        let since = self.blocked_since.load(Ordering::Acquire).checked_sub(1);
        since.map_or(Duration::ZERO, |since| now.since(Monotonic(since)))
    }
}
