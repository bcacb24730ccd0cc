//! Ends and beginnings as people write them: a duration from now or before it (`8h`, `86400`), or an instant
//! (`2026-11-21T10:00:00Z`).

use hessra_settings::duration::{self, DurationError};
use jiff::Timestamp;

/// Error of a text that is not an end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UntilError {
    #[error("{0}, or a timestamp like `2026-11-21T10:00:00Z`")]
    NotAnEnd(DurationError),
    #[error(transparent)]
    TooLong(DurationError),
    #[error("`{0}` is not in the future")]
    Passed(String),
}

/// Reads an end: a duration from `now`, or a timestamp of RFC 3339. The answer is unix seconds, later than `now`.
///
/// # Errors
/// Neither of both, or an end that has passed.
pub(crate) fn parse(text: &str, now: u64) -> Result<u64, UntilError> {
    let until = match duration::parse_argument(text) {
        Ok(duration) => now
            .checked_add(duration.as_secs())
            .ok_or_else(|| UntilError::TooLong(DurationError::TooLong(text.to_owned())))?,
        Err(_) => {
            let refused = || UntilError::NotAnEnd(DurationError::NotADuration(text.to_owned()));
            let timestamp: Timestamp = text.parse().map_err(|_| refused())?;
            // Before 1970 is before now.
            u64::try_from(timestamp.as_second()).unwrap_or(0)
        }
    };
    if until <= now {
        return Err(UntilError::Passed(text.to_owned()));
    }
    Ok(until)
}

/// Reads a beginning: so long before `now`, or a timestamp of RFC 3339. The answer is unix seconds.
///
/// # Errors
/// Neither of both.
pub(crate) fn parse_since(text: &str, now: u64) -> Result<u64, UntilError> {
    let refused = || UntilError::NotAnEnd(DurationError::NotADuration(text.to_owned()));
    match duration::parse_argument(text) {
        Ok(duration) => Ok(now.saturating_sub(duration.as_secs())),
        Err(_) => {
            let timestamp: Timestamp = text.parse().map_err(|_| refused())?;
            Ok(u64::try_from(timestamp.as_second()).unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_duration_from_now_or_a_timestamp() {
        assert_eq!(parse("2h", 1_000), Ok(8_200));
        assert_eq!(parse("7200", 1_000), Ok(8_200));
        assert_eq!(parse("2001-09-09T01:46:40Z", 1_000), Ok(1_000_000_000));
    }

    #[test]
    fn a_beginning_is_so_long_ago_or_a_timestamp() {
        assert_eq!(parse_since("2h", 10_000), Ok(2_800));
        assert_eq!(parse_since("2h", 1_000), Ok(0));
        assert_eq!(
            parse_since("2001-09-09T01:46:40.000Z", 1_000),
            Ok(1_000_000_000)
        );
        assert!(parse_since("yesterday", 5).is_err());
    }

    #[test]
    fn an_end_that_has_passed_is_refused() {
        assert!(parse("2001-09-09T01:46:40Z", 2_000_000_000).is_err());
        assert!(parse("1969-01-01T00:00:00Z", 0).is_err());
        assert!(parse("0", 5).is_err());
        assert!(parse("yesterday", 5).is_err());
    }

    #[test]
    fn what_is_no_end_is_refused_with_both_forms() {
        let said = parse("yesterday", 5).expect_err("refused").to_string();
        assert!(
            said.starts_with("`yesterday` is not a duration: use seconds (`86400`) or units")
                && said.ends_with(", or a timestamp like `2026-11-21T10:00:00Z`"),
            "{said}"
        );
        assert_eq!(
            parse("18446744073709551615", 5),
            Err(UntilError::TooLong(DurationError::TooLong(
                "18446744073709551615".to_owned()
            )))
        );
    }
}
