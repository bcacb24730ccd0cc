//! Clocks, the only ones of this crate. Everything that decides takes `now` as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use hessra_revocation::{Monotonic, UnixSeconds};

/// Monotonic milliseconds that go on while the machine sleeps.
///
/// A plain monotonic clock stands still while a machine is suspended, so a verifier that wakes up would take knowledge
/// of yesterday for fresh. Linux has a clock that does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[must_use]
pub fn monotonic() -> Monotonic {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
    Monotonic(seconds * 1000 + nanoseconds / 1_000_000)
}

/// Monotonic milliseconds since the first call. May stand still while the machine sleeps.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[must_use]
pub fn monotonic() -> Monotonic {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
    Monotonic(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// Wall-clock seconds, for what tokens say about themselves. A clock before 1970 reads as 1970: everything that has
/// an issue time is then in the future, and refused.
#[must_use]
pub fn wall() -> UnixSeconds {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixSeconds(elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_does_not_run_backwards() {
        let earlier = monotonic();
        assert!(monotonic() >= earlier);
    }
}
