//! Instants as records write them: RFC 3339, UTC, milliseconds, always 24 characters, so that text order is time order.

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

/// Civil time in UTC, not jiff's `Timestamp`: that ends a day before the year 9999 does.
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Unix milliseconds as `2026-03-14T15:09:26.535Z`. Beyond the year 9999 it stays at its end.
///
/// ```
/// use hessra_audit::time::rfc3339;
/// assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
/// assert_eq!(rfc3339(951_827_696_789), "2000-02-29T12:34:56.789Z");
/// assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
/// ```
#[must_use]
pub fn rfc3339(millis: u64) -> String {
    let since = SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
    let instant = EPOCH.saturating_add(since);
    format!("{instant:.3}Z")
}

/// Unix milliseconds of what [`rfc3339`] wrote; `None` for anything else.
///
/// ```
/// use hessra_audit::time::{millis, rfc3339};
/// assert_eq!(millis(&rfc3339(951_827_696_789)), Some(951_827_696_789));
/// assert_eq!(millis("yesterday"), None);
/// ```
#[must_use]
pub fn millis(text: &str) -> Option<u64> {
    let instant: DateTime = text.strip_suffix('Z')?.parse().ok()?;
    let millis = u64::try_from(instant.duration_since(EPOCH).as_millis()).ok()?;
    // One text for one instant: jiff understands many more.
    (rfc3339(millis) == text).then_some(millis)
}
