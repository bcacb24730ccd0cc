//! Option values with a grammar of their own.

use std::str::FromStr;

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("`{0}` is not none, commit, verifiers, verifiers:95% or verifiers:N")]
    WaitFor(String),
    #[error("`{0}` is not a share (1% to 100%) or a number of verifiers above 0")]
    WaitShare(String),
}

/// When `revoke` returns.
///
/// `none` and `commit` are one thing: an answer before the commit would promise nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WaitFor {
    /// After the commit.
    Commit,
    /// When enough verifiers enforce it.
    Verifiers(WaitShare),
}

/// How many verifiers are enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WaitShare {
    /// All that are enrolled.
    All,
    /// A share of them, above 0 and at most 1.
    Fraction(f64),
    /// This many.
    Count(u32),
}

impl FromStr for WaitFor {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once(':') {
            None if text == "none" || text == "commit" => Ok(Self::Commit),
            None if text == "verifiers" => Ok(Self::Verifiers(WaitShare::All)),
            Some(("verifiers", share)) => share.parse().map(Self::Verifiers),
            _ => Err(ValueError::WaitFor(text.to_owned())),
        }
    }
}

impl FromStr for WaitShare {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let share = match text.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|percent| (1..=100).contains(percent))
                .map(Self::percent),
            None => text
                .parse()
                .ok()
                .filter(|count| *count > 0)
                .map(Self::Count),
        };
        share.ok_or_else(|| ValueError::WaitShare(text.to_owned()))
    }
}

impl WaitShare {
    fn percent(percent: u8) -> Self {
        if percent == 100 {
            Self::All
        } else {
            Self::Fraction(f64::from(percent) / 100.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        assert_eq!("none".parse(), Ok(WaitFor::Commit));
        assert_eq!("commit".parse(), Ok(WaitFor::Commit));
        assert_eq!("verifiers".parse(), Ok(WaitFor::Verifiers(WaitShare::All)));
        assert_eq!(
            "verifiers:100%".parse(),
            Ok(WaitFor::Verifiers(WaitShare::All))
        );
        assert_eq!(
            "verifiers:95%".parse(),
            Ok(WaitFor::Verifiers(WaitShare::Fraction(0.95)))
        );
        assert_eq!(
            "verifiers:7".parse(),
            Ok(WaitFor::Verifiers(WaitShare::Count(7)))
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "all",
            "verifiers:",
            "verifiers:0",
            "verifiers:0%",
            "verifiers:101%",
            "commit:1",
            "Verifiers",
        ] {
            assert!(text.parse::<WaitFor>().is_err(), "{text}");
        }
    }
}
