//! Clock of the command line, the only one.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds now; 0 on a computer that believes to be before 1970.
pub(crate) fn unix_seconds() -> u64 {
    unix_milliseconds() / 1000
}

/// Unix milliseconds now.
pub(crate) fn unix_milliseconds() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Wall time, for spans.
pub(crate) fn system() -> SystemTime {
    SystemTime::now()
}
