//! Durations and instants as people write them: `86400`, `8h`, `1h30m`, `2026-11-21T10:00:00Z`.
//!
//! A bare number is seconds. Units go from large to small, each at most once: `w d h m s ms`. Nothing is guessed:
//! `1h 30`, `1.5h` and `90M` are refused with what is allowed.

use std::time::Duration;

use jiff::Timestamp;

/// Milliseconds per unit, from large to small.
const UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// What is allowed, for error texts.
const GRAMMAR: &str =
    "use seconds (`86400`) or units from large to small (`8h`, `1h30m`, `2d`, `500ms`)";

/// Reads a duration.
///
/// # Errors
/// A sentence that says what is allowed; also for what does not fit.
pub fn parse(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map(Duration::from_secs)
            .map_err(|_| too_long(text));
    }
    parse_units(text).map(Duration::from_millis)
}

/// Reads an end: a duration from `now`, or a timestamp of RFC 3339. The answer is unix seconds, later than `now`.
///
/// # Errors
/// A sentence that says what is allowed; also for an end that has passed.
pub fn parse_until(text: &str, now: u64) -> Result<u64, String> {
    let until = match parse(text) {
        Ok(duration) => now
            .checked_add(duration.as_secs())
            .ok_or_else(|| too_long(text))?,
        Err(_) => parse_timestamp(text)?,
    };
    if until <= now {
        return Err(format!("`{text}` is not in the future"));
    }
    Ok(until)
}

/// As people read it, with at most two units: `23h59m`, `14d`, `59s`, `214ms`, `0s`.
pub fn display(duration: Duration) -> String {
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

fn parse_units(text: &str) -> Result<u64, String> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit());
        let (unit, after) = split(after, |byte| byte.is_ascii_alphabetic());
        let (_, size) = units
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| refused(text))?;
        let number: u64 = number.parse().map_err(|_| refused(text))?;
        total = number
            .checked_mul(*size)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| too_long(text))?;
        rest = after;
    }
    if text.is_empty() {
        Err(refused(text))
    } else {
        Ok(total)
    }
}

fn split(text: &str, belongs: impl Fn(&u8) -> bool) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !belongs(&byte))
        .unwrap_or(text.len());
    text.split_at(end)
}

fn parse_timestamp(text: &str) -> Result<u64, String> {
    let timestamp: Timestamp = text.parse().map_err(|_| {
        format!(
            "{}, or a timestamp like `2026-11-21T10:00:00Z`",
            refused(text)
        )
    })?;
    u64::try_from(timestamp.as_second()).map_err(|_| format!("`{text}` is not in the future"))
}

fn refused(text: &str) -> String {
    format!("`{text}` is not a duration: {GRAMMAR}")
}

fn too_long(text: &str) -> String {
    format!("`{text}` is too long for a duration")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_numbers_are_seconds_and_units_add_up() {
        for (text, seconds) in [
            ("86400", 86_400),
            ("8h", 28_800),
            ("1h30m", 5_400),
            ("2d", 172_800),
            ("1w1s", 604_801),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("1s500ms"), Ok(Duration::from_millis(1_500)));
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        for text in [
            "",
            "h",
            "1h 30m",
            "1.5h",
            "90M",
            "30m1h",
            "1h1h",
            "-5",
            "1h30",
            "١h",
            "99999999999999999999w",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("duration"), "{text}: {error}");
        }
    }

    #[test]
    fn an_end_is_a_duration_from_now_or_a_timestamp() {
        assert_eq!(parse_until("2h", 1_000), Ok(8_200));
        assert_eq!(parse_until("7200", 1_000), Ok(8_200));
        assert_eq!(
            parse_until("2001-09-09T01:46:40Z", 1_000),
            Ok(1_000_000_000)
        );
    }

    #[test]
    fn an_end_that_has_passed_is_refused() {
        assert!(parse_until("2001-09-09T01:46:40Z", 2_000_000_000).is_err());
        assert!(parse_until("0", 5).is_err());
        assert!(parse_until("yesterday", 5).is_err());
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
            assert_eq!(display(Duration::from_millis(milliseconds)), text);
        }
    }
}
