//! Revisions, epochs and instants. Revisions order everything; clocks only bound how old knowledge may be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Position in the feed: dense, +1 for every accepted entry, 0 before the first. Not the Raft log index.
    Revision
}
number! {
    /// Number of a feed's history: rises when a backup is restored. The first is 1.
    Epoch
}
number! {
    /// Wall-clock seconds since the Unix epoch.
    UnixSeconds
}
number! {
    /// Wall-clock milliseconds since the Unix epoch.
    UnixMillis
}

impl Revision {
    /// Revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl UnixMillis {
    /// Instant in whole seconds.
    #[must_use]
    pub fn seconds(self) -> UnixSeconds {
        UnixSeconds(self.0 / 1000)
    }
}

/// Monotonic time since an arbitrary start of the process that measures it, in milliseconds.
///
/// Comparable only with instants of the same process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// Time from `earlier` to this instant; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Id of a feed, which is also the cluster's: 16 random bytes chosen when the cluster was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedId(pub [u8; 16]);

/// Error of a text that is no id of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of a cluster has 32 hexadecimal digits, as `hessra status` shows it")]
pub struct FeedIdError;

impl FromStr for FeedId {
    type Err = FeedIdError;

    /// Reads exactly the texts that [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, FeedIdError> {
        let number = u128::from_str_radix(text, 16).map_err(|_| FeedIdError)?;
        let id = Self(number.to_be_bytes());
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(FeedIdError)
        }
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
