//! Durations and sizes as people write them: `5s`, `250ms`, `1h30m`; `64MiB`, `16KiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time. Written `5s`, `250ms`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lasting(pub Duration);

impl Lasting {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }
}

impl FromStr for Lasting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || format!("`{text}` is not a length of time. Write `250ms`, `5s` or `1h30m`");
        let parsed: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
        Duration::try_from(parsed).map(Self).map_err(|_| refused())
    }
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        // jiff's friendly form, without its spaces: `1h 30m` reads as two values in a file.
        f.write_str(&format!("{signed:#}").replace(' ', ""))
    }
}

/// How often something is done by itself. Written `off`, `90d`, `12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(pub Option<Duration>);

impl Every {
    /// Never by itself.
    pub const OFF: Self = Self(None);
}

const DAY: Duration = Duration::from_secs(86_400);

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        // A calendar's day has no fixed length; a key's has.
        let days = text
            .strip_suffix('d')
            .and_then(|days| days.parse::<u32>().ok());
        let refused = |_| format!("`{text}` is not a length of time. Write `off`, `90d` or `12h`");
        match days {
            Some(days) => Ok(Self(Some(DAY * days))),
            None => text
                .parse()
                .map(|Lasting(every)| Self(Some(every)))
                .map_err(refused),
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(every) if every.as_secs() > 0 && every.as_secs() % DAY.as_secs() == 0 => {
                write!(f, "{}d", every.as_secs() / DAY.as_secs())
            }
            Some(every) => Lasting(every).fmt(f),
        }
    }
}

/// A number of bytes. Written `64MiB`, `16KiB`, `512B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl ByteSize {
    /// So many KiB.
    #[must_use]
    pub const fn kibibytes(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many MiB.
    #[must_use]
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// For interfaces that count in `usize`.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |number: &str, unit: u64| number.trim().parse::<u64>().ok()?.checked_mul(unit);
        UNITS
            .iter()
            .find_map(|(suffix, unit)| parse(text.strip_suffix(suffix)?, *unit))
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is not a size. Write `512B`, `16KiB`, `64MiB` or `1GiB`")
            })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS
            .iter()
            .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        let (suffix, unit) = exact.unwrap_or(&("B", 1));
        write!(f, "{}{suffix}", self.0 / unit)
    }
}

macro_rules! as_text {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )+};
}
as_text!(Lasting, Every, ByteSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_parses_back() {
        for text in ["250ms", "5s", "1h30m", "0s"] {
            assert_eq!(text.parse::<Lasting>().unwrap().to_string(), text);
        }
        for text in ["off", "90d", "12h", "1m"] {
            assert_eq!(text.parse::<Every>().unwrap().to_string(), text);
        }
        for text in ["512B", "16KiB", "64MiB", "1GiB", "0B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_length_or_a_size_is_refused() {
        for text in ["", "5", "-5s", "five"] {
            assert!(text.parse::<Lasting>().is_err(), "{text}");
        }
        for text in ["", "5", "-1d", "never"] {
            assert!(text.parse::<Every>().is_err(), "{text}");
        }
        for text in ["", "5", "5kb", "-1KiB", "99999999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
