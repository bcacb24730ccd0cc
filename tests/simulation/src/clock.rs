//! Clocks that disagree: every process has its own start, its own drift, and a wall clock that may step.

use std::sync::Mutex;
use std::time::Duration;

use hessra_revocation::{Monotonic, UnixMillis};
use rand::Rng;
use tokio::time::Instant;

use crate::runtime::random;

/// Beginning of every simulation: 2026-01-01T00:00:00Z.
const BEGINNING: UnixMillis = UnixMillis(1_767_225_600_000);

/// The longest short step of a wall clock.
const HOUR_MS: i64 = 60 * 60 * 1_000;
/// The longest long step: 40 days.
const DAYS_MS: i64 = 40 * 24 * HOUR_MS;

/// One machine's clocks.
#[derive(Debug)]
pub struct Clock {
    beginning: Instant,
    /// Reading of the monotonic clock at the beginning; another after a start of the process.
    offset: Mutex<Duration>,
    drift_ppm: i64,
    wall_step_ms: Mutex<i64>,
}

impl Clock {
    /// A clock with a drift of at most 100 parts per million and a wall clock off by at most two seconds.
    pub fn random(beginning: Instant) -> Self {
        Self {
            beginning,
            offset: Mutex::new(any_offset()),
            drift_ppm: random().gen_range(-100..=100),
            wall_step_ms: Mutex::new(random().gen_range(-2_000..=2_000)),
        }
    }

    /// Restarts the process's monotonic clock: it has nothing to do with that of the process before it.
    pub fn restart(&self) {
        *self.offset.lock().expect("one thread") = any_offset();
    }

    /// Monotonic time, as this process reads it.
    pub fn monotonic(&self) -> Monotonic {
        let true_us = self.beginning.elapsed().as_micros();
        let read_us =
            i128::try_from(true_us).unwrap_or(i128::MAX) * (1_000_000 + i128::from(self.drift_ppm));
        let elapsed_ms = u64::try_from(read_us / 1_000_000_000).unwrap_or(u64::MAX);
        Monotonic(u64::try_from(self.offset().as_millis()).unwrap_or(u64::MAX) + elapsed_ms)
    }

    /// The true instant at which this process read `reading`.
    pub fn truly(&self, reading: Monotonic) -> Instant {
        let read = Duration::from_millis(reading.0).saturating_sub(self.offset());
        let drift = 1.0 + f64::from(i32::try_from(self.drift_ppm).unwrap_or(0)) / 1_000_000.0;
        self.beginning + read.div_f64(drift)
    }

    /// Wall-clock time, as this process reads it.
    pub fn wall(&self) -> UnixMillis {
        let elapsed = i64::try_from(self.beginning.elapsed().as_millis()).unwrap_or(i64::MAX);
        let step = *self.wall_step_ms.lock().expect("one thread");
        UnixMillis(BEGINNING.0.saturating_add_signed(elapsed + step))
    }

    /// Steps the wall clock: by at most an hour, or by many days, either way.
    pub fn step(&self) {
        let most = if random().gen_bool(0.5) {
            HOUR_MS
        } else {
            DAYS_MS
        };
        *self.wall_step_ms.lock().expect("one thread") = random().gen_range(-most..=most);
    }

    /// True when the wall clock is off by more than two seconds.
    pub fn is_off(&self) -> bool {
        self.wall_step_ms.lock().expect("one thread").abs() > 2_000
    }

    /// Sets the wall clock right, within two seconds.
    pub fn set_right(&self) {
        *self.wall_step_ms.lock().expect("one thread") = random().gen_range(-2_000..=2_000);
    }

    /// True time, as no process reads it.
    pub fn true_wall(&self) -> UnixMillis {
        let elapsed = u64::try_from(self.beginning.elapsed().as_millis()).unwrap_or(u64::MAX);
        UnixMillis(BEGINNING.0.saturating_add(elapsed))
    }

    fn offset(&self) -> Duration {
        *self.offset.lock().expect("one thread")
    }
}

fn any_offset() -> Duration {
    Duration::from_millis(random().gen_range(0..1_000_000))
}
