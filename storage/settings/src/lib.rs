//! Settings documents: TOML that is read so that every mistake is found and named with its place, and the values that
//! people write in it.
//!
//! ```
//! use hessra_settings::{Document, Faults, Lasting, Problems};
//! let text = "timeout = \"5\"\nretires = 3\n";
//! let mut faults = Faults::new("my.toml", text);
//! let document = Document::parse(text, &mut faults);
//! let mut section = document.section();
//! let timeout: Option<Lasting> = section.parsed("timeout", &mut faults);
//! let retries = section.number("retries", 0..=10, "retries are", &mut faults);
//! section.close(&mut faults);
//! assert_eq!((timeout, retries), (None, None));
//! let problems = Problems::new(faults.into_found(), &[("my.toml", text)]);
//! assert_eq!(
//!     problems.to_string(),
//!     "my.toml:1:11: `5` is not a length of time. Write `250ms`, `5s` or `1h30m`\n\
//!      my.toml:2:1: unknown key `retires`. Did you mean `retries`?"
//! );
//! ```
//!
//! [`Section`] is asked for the keys of a document and goes on after a mistake; [`Problems`] are what is wrong and how it
//! is shown; [`duration`] is the grammar of durations, also for command lines. Nothing here reads a file or a clock.

pub mod duration;
mod lasting;
mod nearest;
mod problem;
mod read;
mod size;

pub use lasting::{Every, Lasting};
pub use nearest::{SIMILAR, nearest, similarity};
pub use problem::{PROBLEMS_MAX, Problem, Problems};
pub use read::{Document, Faults, Located, Section, choice, near_or_known};
pub use size::ByteSize;

/// Error of a text that is not a value. Says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Text that is not a [`Lasting`].
    #[error("`{0}` is not a length of time. Write `250ms`, `5s` or `1h30m`")]
    Lasting(String),
    /// Text that is not an [`Every`].
    #[error("`{0}` is not a length of time. Write `off`, `90d` or `12h`")]
    Every(String),
    /// Text that is not a [`ByteSize`].
    #[error("`{0}` is not a size. Write `512B`, `16KiB`, `64MiB` or `1GiB`")]
    ByteSize(String),
}
