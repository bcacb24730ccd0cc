//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Polls until `condition` gives a value.
///
/// # Panics
/// After `limit`, with the sentence that should have become true.
pub fn until<T>(sentence: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {sentence}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
