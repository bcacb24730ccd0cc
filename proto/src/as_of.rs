//! Age of an answer: how much the node that gave it knew, and whether a quorum confirmed it.
//!
//! Every answer of the operators' services that reads carries it, in the response header [`AS_OF_KEY`]:
//!
//! ```
//! use hessra_proto::as_of::AsOf;
//! let text = "node=2 revision=17 age_ms=12000 confirmed=false";
//! let as_of: AsOf = text.parse()?;
//! assert_eq!((as_of.node, as_of.revision, as_of.confirmed), (2, 17, false));
//! assert_eq!(as_of.to_string(), text);
//! # Ok::<(), hessra_proto::as_of::AsOfError>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Response header that carries an [`AsOf`].
pub const AS_OF_KEY: &str = "hessra-as-of";

/// Age of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// Node that answered.
    pub node: u64,
    /// Revision of the feed that the answer holds, with everything below it.
    pub revision: u64,
    /// Time since the node's newest confirmation by a quorum began; `None`: it has none since it was started.
    pub age: Option<Duration>,
    /// True when a quorum confirmed, after the request came, that the answer holds everything acknowledged before it.
    pub confirmed: bool,
}

/// Text that is no age of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not say how old an answer is: the node runs another version. Upgrade it")]
pub struct AsOfError(String);

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node={} revision={}", self.node, self.revision)?;
        if let Some(age) = self.age {
            write!(f, " age_ms={}", age.as_millis())?;
        }
        write!(f, " confirmed={}", self.confirmed)
    }
}

impl FromStr for AsOf {
    type Err = AsOfError;

    fn from_str(text: &str) -> Result<Self, AsOfError> {
        parse(text).ok_or_else(|| AsOfError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<AsOf> {
    let field = |name: &str| {
        let mut fields = text.split(' ').filter_map(|field| field.split_once('='));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let age: Option<u64> = match field("age_ms") {
        Some(millis) => Some(millis.parse().ok()?),
        None => None,
    };
    Some(AsOf {
        node: field("node")?.parse().ok()?,
        revision: field("revision")?.parse().ok()?,
        age: age.map(Duration::from_millis),
        confirmed: field("confirmed")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_read_as_it_was_written_and_nothing_else_is_read() {
        for age in [None, Some(Duration::from_millis(3))] {
            let as_of = AsOf {
                node: 3,
                revision: 9,
                age,
                confirmed: age.is_some(),
            };
            assert_eq!(as_of.to_string().parse(), Ok(as_of));
        }
        for wrong in [
            "",
            "node=1",
            "node=1 revision=x confirmed=true",
            "node=1 revision=2 age_ms=never confirmed=true",
        ] {
            assert!(wrong.parse::<AsOf>().is_err(), "{wrong}");
        }
    }
}
