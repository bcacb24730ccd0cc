//! Instants as records write them: RFC 3339, UTC, milliseconds, always 24 characters, so that text order is time order.

const DAY_MILLIS: u64 = 86_400_000;

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
    const END: u64 = 253_402_300_799_999;
    let millis = millis.min(END);
    let (year, month, day) = civil(millis / DAY_MILLIS);
    let of_day = millis % DAY_MILLIS;
    let (seconds, fraction) = (of_day / 1_000, of_day % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
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
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let days = days(number(0..4)?, number(5..7)?, number(8..10)?)?;
    let seconds = number(11..13)? * 3_600 + number(14..16)? * 60 + number(17..19)?;
    let millis = days * DAY_MILLIS + seconds * 1_000 + number(20..23)?;
    (rfc3339(millis) == text).then_some(millis)
}

/// Year, month and day of a day since 1970-01-01 (H. Hinnant, `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse (`days_from_civil`); `None` before 1970 and for a month that is none.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = (month + 9) % 12;
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    (era * 146_097 + of_era).checked_sub(719_468)
}
