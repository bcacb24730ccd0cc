//! Values as people write them in settings and on the command line.
//!
//! ```
//! use hessra_settings::{ByteSize, Lasting};
//! let wait: Lasting = "1h30m".parse()?;
//! assert_eq!(wait.0.as_secs(), 5_400);
//! assert_eq!(ByteSize::mebibytes(64).to_string(), "64MiB");
//! # Ok::<(), hessra_settings::ValueError>(())
//! ```
//!
//! What is shown parses back to the same value. Nothing here reads a file or a clock.

pub mod duration;
mod size;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub use duration::{Every, Lasting};
pub use size::ByteSize;

/// Why a text is not a value. Says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a [`Lasting`].
    #[error("`{0}` is not a length of time. Write `250ms`, `5s` or `1h30m`")]
    Lasting(String),
    /// Not an [`Every`].
    #[error("`{0}` is not a length of time. Write `off`, `90d` or `12h`")]
    Every(String),
    /// Not a [`ByteSize`].
    #[error("`{0}` is not a size. Write `512B`, `16KiB`, `64MiB` or `1GiB`")]
    ByteSize(String),
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
