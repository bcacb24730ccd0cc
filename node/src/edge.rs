//! The only place of a node that names the machine's clock and its randomness.
//!
//! Deciding code takes `now` or a source of random bytes as an argument; a running node gets both here. openraft is the
//! exception: it draws its election time-outs from a generator of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngCore;
use rand::rngs::OsRng;
use tokio::time::Instant;

use hessra_revocation::{Monotonic, UnixMillis};

/// A clock of wall time and monotonic time. Copies share one monotonic start: ticks of one process must compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the clock of a process, at tick 0.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Wall time. A clock set before 1970 reads as 1970.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn wall(&self) -> UnixMillis {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Wall time as the operating system has it, for spans: finer than [`Self::wall`].
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn system(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Monotonic time since the clock was started. Never goes back, even when the wall clock is set.
    #[must_use]
    pub fn monotonic(&self) -> Monotonic {
        Monotonic(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// The operating system's randomness, good enough for keys.
#[must_use]
pub fn system_random() -> OsRng {
    OsRng
}

/// Sixteen bytes from the operating system: request ids, feed ids, salts.
#[must_use]
pub fn random_16() -> [u8; 16] {
    random_bytes()
}

/// Bytes from the operating system, good enough for keys.
///
/// # Panics
/// When the operating system cannot give randomness: nothing that a node does is safe then.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    system_random().fill_bytes(&mut bytes);
    bytes
}
