//! Durations as values of settings.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use crate::ValueError;
use crate::duration::{DAY, parse};

/// A length of time. Written `5s`, `250ms`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lasting(pub Duration);

impl Lasting {
    /// No bound.
    pub const MAX: Self = Self(Duration::MAX);

    /// Length of so many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Length of so many milliseconds.
    #[must_use]
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }
}

impl FromStr for Lasting {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse(text)
            .map(Self)
            .map_err(|_| ValueError::Lasting(text.to_owned()))
    }
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        // jiff's friendly form, without its spaces: `1h 30m` reads as two values in a file.
        f.write_str(&format!("{signed:#}").replace(' ', ""))
    }
}

/// Interval at which something is done by itself. Written `off`, `90d`, `12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(pub Option<Duration>);

impl Every {
    /// No interval: never by itself.
    pub const OFF: Self = Self(None);

    /// Interval of so many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Some(Duration::from_secs(seconds)))
    }
}

impl FromStr for Every {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        parse(text)
            .map(|every| Self(Some(every)))
            .map_err(|_| ValueError::Every(text.to_owned()))
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(every) if every.as_secs() > 0 && every.as_secs() % DAY == 0 => {
                write!(f, "{}d", every.as_secs() / DAY)
            }
            Some(every) => Lasting(every).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_parses_back() {
        for text in ["250ms", "5s", "1h30m", "0s", "8760h"] {
            assert_eq!(text.parse::<Lasting>().unwrap().to_string(), text);
        }
        for text in ["off", "90d", "12h", "1m"] {
            assert_eq!(text.parse::<Every>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_length_is_refused() {
        for text in ["", "5", "-5s", "five"] {
            assert!(text.parse::<Lasting>().is_err(), "{text}");
        }
        for text in ["", "5", "-1d", "never"] {
            assert!(text.parse::<Every>().is_err(), "{text}");
        }
    }
}
