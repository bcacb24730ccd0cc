//! Files that survive a crash whole, directories that survive it at all, and secrets that others must not read.
//!
//! ```
//! use hessra_files::{Mode, Writers, make_private_directory, replace};
//! # let root = tempfile::tempdir()?;
//! let folder = root.path().join("node-1/state");
//! make_private_directory(&folder)?;
//! replace(&folder.join("mark"), b"revision 7\n", Mode::Private, Writers::One)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | its story |
//! |---|---|
//! | [`replace()`], [`create`] | a file's bytes change in one step, durably |
//! | [`make_private_directory`], [`close_to_others`], [`sync`] | a directory's name is durable, and nobody else looks in |
//! | [`open_secret`], [`check_secret`], [`read_bounded`] | who may read a secret |
//!
//! Unix only. Knows neither formats nor locks: a caller that must be alone takes a lock of its own.

mod directory;
mod replace;
mod secret;

use std::io;
use std::path::{Path, PathBuf};

pub use directory::{close_to_others, make_private_directory, sync};
pub use replace::{Mode, Writers, create, replace};
pub use secret::{Readers, SecretError, check_secret, open_secret, read_bounded};

/// A step on a file or directory that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct FileError {
    /// The step: `make`, `make private`, `write` or `sync`.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The reason of the system.
    pub source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError {
        action,
        path,
        source,
    }
}

/// The directory that a path's last part is in. A relative path of one part has the empty path as parent, which means
/// here.
fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
