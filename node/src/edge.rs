//! The only clock and the only randomness of a node.
//!
//! Everything that decides takes `now` or random bytes as an argument; what it gets comes from here. So a test or the
//! simulation replaces time by pausing tokio's clock, and nothing else in the node reads the machine's.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngCore;
use rand::rngs::OsRng;
use tokio::time::Instant;

use hessra_revocation::{Monotonic, UnixMillis};

/// Reads wall time and monotonic time. All clocks of one process share one monotonic start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// The clock of this process.
    #[must_use]
    pub fn new() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        Self { start }
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

    /// Monotonic time since this process first asked. Never goes back, whatever is done to the wall clock.
    #[must_use]
    pub fn monotonic(&self) -> Monotonic {
        Monotonic(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
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
    OsRng.fill_bytes(&mut bytes);
    bytes
}
