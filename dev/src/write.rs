//! Writing of the files of a dev directory, each durably and with the mode that it needs.

use std::path::Path;

use hessra_files::{FileError, Mode, Writers};

use crate::error::DevError;

pub(crate) fn make_directory(path: &Path) -> Result<(), DevError> {
    hessra_files::make_private_directory(path)
        .map_err(|FileError { source, .. }| DevError::file(path, &source))
}

/// Writes a file that everyone may read, as far as the directory, which is 0700, lets them.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), DevError> {
    create(path, text, Mode::Readable)
}

/// Writes a file for the owner alone.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), DevError> {
    create(path, text, Mode::Private)
}

fn create(path: &Path, text: &str, mode: Mode) -> Result<(), DevError> {
    hessra_files::create(path, text.as_bytes(), mode)
        .map_err(|FileError { source, .. }| DevError::file(path, &source))
}

/// Replaces a file in one step. The lock of the directory makes this process the only writer.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), DevError> {
    hessra_files::replace(path, text.as_bytes(), Mode::Readable, Writers::One)
        .map_err(|FileError { source, .. }| DevError::file(path, &source))
}
