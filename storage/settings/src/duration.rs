//! Durations: one grammar for settings and command lines.
//!
//! | written | means |
//! |---|---|
//! | `8h`, `1h30m`, `2d`, `1w`, `500ms` | units from large to small, each at most once: `w d h m s ms` |
//! | `1.5h`, `1h 30m`, `90 minutes` | the other forms of jiff's friendly format, in settings only |
//! | `86400` | seconds, on a command line only |
//!
//! A day has 24 hours and a week 7 days: what lasts has no calendar.

use std::time::Duration;

use jiff::SignedDuration;

pub(crate) const DAY: u64 = 86_400;
/// Units of whole numbers, from large to small, with their milliseconds.
const UNITS: [(&str, u64); 6] = [
    ("w", 7 * DAY * 1_000),
    ("d", DAY * 1_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Error of a text that is not a duration. Says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Text of another form.
    #[error(
        "`{0}` is not a duration: use seconds (`86400`) or units from large to small (`8h`, `1h30m`, `2d`, `500ms`)"
    )]
    NotADuration(String),
    /// Text of the right form, longer than can be counted.
    #[error("`{0}` is too long for a duration")]
    TooLong(String),
}

/// Reads a duration of a settings document.
///
/// # Errors
/// [`DurationError`]; a bare number is no duration here.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let refused = || DurationError::NotADuration(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let (weeks, rest) = leading(text, 'w').unwrap_or((0, text));
    let (days, rest) = leading(rest, 'd').unwrap_or((0, rest));
    let seconds = weeks
        .checked_mul(7)
        .and_then(|of_weeks| of_weeks.checked_add(days))
        .and_then(|days| days.checked_mul(DAY))
        .ok_or_else(too_long)?;
    if rest.is_empty() && rest.len() < text.len() {
        return Ok(Duration::from_secs(seconds));
    }
    // After a week or a day only a number goes on: no sign, no space, no other form.
    if rest.len() < text.len() && !rest.starts_with(|next: char| next.is_ascii_digit()) {
        return Err(refused());
    }
    // jiff refuses weeks and days, which in a calendar have no fixed length.
    let below: SignedDuration = rest.parse().map_err(|_| refused())?;
    let below = Duration::try_from(below).map_err(|_| refused())?;
    Duration::from_secs(seconds)
        .checked_add(below)
        .ok_or_else(too_long)
}

/// Reads a duration of a command line: whole numbers with short units and nothing between them, or seconds. Nothing is
/// guessed: `1h 30`, `1.5h` and `90M` are refused.
///
/// # Errors
/// [`DurationError`].
pub fn parse_argument(text: &str) -> Result<Duration, DurationError> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map(Duration::from_secs)
            .map_err(|_| DurationError::TooLong(text.to_owned()));
    }
    if !is_plain(text) {
        return Err(DurationError::NotADuration(text.to_owned()));
    }
    // Of this form only what cannot be counted, in milliseconds, is refused.
    parse(text)
        .ok()
        .filter(|duration| u64::try_from(duration.as_millis()).is_ok())
        .ok_or_else(|| DurationError::TooLong(text.to_owned()))
}

/// Duration as people read it, with at most two units: `23h59m`, `14d`, `59s`, `214ms`, `0s`.
#[must_use]
pub fn rounded(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    let mut units = 0;
    // Weeks are read, not written: `15d` says more than `2w1d`.
    for (unit, size) in UNITS.into_iter().skip(1) {
        // Milliseconds matter only when there is nothing larger.
        let shown = units < 2 && (size > 1 || units == 0);
        if rest >= size && shown {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
            units += 1;
        } else if units > 0 {
            break;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// A whole number with this unit in front of a text, and what comes after it.
fn leading(text: &str, unit: char) -> Option<(u64, &str)> {
    let (number, after) = split(text, |byte| byte.is_ascii_digit());
    let after = after.strip_prefix(unit)?;
    Some((number.parse().ok()?, after))
}

/// Numbers and units of [`UNITS`], each at most once, from large to small.
fn is_plain(text: &str) -> bool {
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit());
        let (unit, after) = split(after, |byte| byte.is_ascii_alphabetic());
        if number.is_empty() || !units.any(|(name, _)| *name == unit) {
            return false;
        }
        rest = after;
    }
    !text.is_empty()
}

fn split(text: &str, belongs: impl Fn(&u8) -> bool) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !belongs(&byte))
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text, its milliseconds in a settings document, and on a command line; `None` = refused.
    const TABLE: &[(&str, Option<u64>, Option<u64>)] = &[
        // Plain: the same in both.
        ("8h", Some(28_800_000), Some(28_800_000)),
        ("1h30m", Some(5_400_000), Some(5_400_000)),
        ("5s", Some(5_000), Some(5_000)),
        ("250ms", Some(250), Some(250)),
        ("1s500ms", Some(1_500), Some(1_500)),
        ("2d", Some(172_800_000), Some(172_800_000)),
        ("90d", Some(7_776_000_000), Some(7_776_000_000)),
        ("1w1s", Some(604_801_000), Some(604_801_000)),
        ("1w2d3h4m5s6ms", Some(788_645_006), Some(788_645_006)),
        ("0s", Some(0), Some(0)),
        ("0d", Some(0), Some(0)),
        ("00001h", Some(3_600_000), Some(3_600_000)),
        // Seconds without a unit: on a command line only.
        ("86400", None, Some(86_400_000)),
        ("0", None, Some(0)),
        // Forms that settings always had, and command lines never.
        ("1h 30m", Some(5_400_000), None),
        ("1d 2h", None, None),
        ("1.5h", Some(5_400_000), None),
        ("0.5s", Some(500), None),
        ("1,5s", Some(1_500), None),
        ("90 minutes", Some(5_400_000), None),
        ("1 hour, 30 minutes", Some(5_400_000), None),
        ("01:30:00", Some(5_400_000), None),
        ("PT5S", Some(5_000), None),
        ("+5s", Some(5_000), None),
        ("5s ", Some(5_000), None),
        ("1ms500us", Some(1), None),
        // Nonsense.
        ("", None, None),
        ("h", None, None),
        ("five", None, None),
        ("never", None, None),
        ("-5", None, None),
        ("-5s", None, None),
        ("-1d", None, None),
        ("1d-2h", None, None),
        ("1d+2h", None, None),
        ("1dPT2H", None, None),
        ("1h ago", None, None),
        ("90M", None, None),
        ("1H", None, None),
        ("30m1h", None, None),
        ("1h1d", None, None),
        ("1d1w", None, None),
        ("1d1d", None, None),
        ("1h1h", None, None),
        ("1h30", None, None),
        ("1d30", None, None),
        (" 5s", None, None),
        ("1e3s", None, None),
        ("5days", None, None),
        ("1y", None, None),
        ("١h", None, None),
        ("99999999999999999999w", None, None),
        ("99999999999999999w", None, None),
        ("99999999999999999h", None, None),
    ];

    #[test]
    fn settings_and_command_lines_have_one_grammar() {
        for (text, setting, argument) in TABLE {
            let milliseconds =
                |read: Result<Duration, _>| read.ok().map(|read| read.as_millis() as u64);
            assert_eq!(milliseconds(parse(text)), *setting, "{text}");
            assert_eq!(milliseconds(parse_argument(text)), *argument, "{text}");
            if argument.is_some() && !text.bytes().all(|byte| byte.is_ascii_digit()) {
                assert_eq!(argument, setting, "{text}");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_is_allowed_or_that_it_is_too_long() {
        let said = |text| parse_argument(text).unwrap_err().to_string();
        assert_eq!(
            said("1h 30m"),
            "`1h 30m` is not a duration: use seconds (`86400`) or units from large to small (`8h`, `1h30m`, `2d`, \
             `500ms`)"
        );
        for text in [
            "99999999999999999w",
            "99999999999999999999",
            "99999999999999999h",
        ] {
            assert_eq!(said(text), format!("`{text}` is too long for a duration"));
        }
    }

    #[test]
    fn people_read_two_units_at_most() {
        for (milliseconds, text) in [
            (0, "0s"),
            (214, "214ms"),
            (1_999, "1s"),
            (86_399_000, "23h59m"),
            (1_209_600_000, "14d"),
            (3_601_000, "1h"),
            (90_000, "1m30s"),
        ] {
            assert_eq!(rounded(Duration::from_millis(milliseconds)), text);
        }
    }
}
