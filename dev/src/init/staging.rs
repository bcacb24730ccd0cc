//! Files that appear all at once: they are written into a directory beside, which takes its name at the end.

use std::path::{Path, PathBuf};

use hessra_files::{FileError, Mode};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::error::InitError;
use crate::certificates::Pair;

/// A directory that is being filled. Gone with everything in it, unless it was given its name.
pub(crate) struct Staging {
    path: PathBuf,
    goal: PathBuf,
}

impl Staging {
    /// Makes `.NAME.new` beside a directory that is to be.
    pub(crate) fn beside(goal: &Path) -> Result<Self, InitError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(goal.file_name().unwrap_or_default());
        name.push(".new");
        let path = goal.with_file_name(name);
        if path.exists() {
            return Err(InitError::Unfinished { directory: path });
        }
        make_directory(&path)?;
        let goal = goal.to_owned();
        Ok(Self { path, goal })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it. Returns its path.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, InitError> {
        let path = self.path.join(name);
        make_directory(&path)?;
        Ok(path)
    }

    /// Gives it its name, which nothing has, or an empty directory.
    pub(crate) fn finish(self) -> Result<(), InitError> {
        std::fs::rename(&self.path, &self.goal).map_err(|error| match error.kind() {
            std::io::ErrorKind::DirectoryNotEmpty => InitError::NotEmpty {
                directory: self.goal.clone(),
            },
            _ => InitError::file(&self.goal, &error),
        })?;
        self.sync()
    }

    /// Exchanges it with the directory that has its name, in one step. The other one goes.
    pub(crate) fn exchange(self) -> Result<(), InitError> {
        renameat_with(CWD, &self.path, CWD, &self.goal, RenameFlags::EXCHANGE)
            .map_err(|error| InitError::file(&self.goal, &error.into()))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), InitError> {
        let above = self
            .goal
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        hessra_files::sync(above.unwrap_or(Path::new("."))).map_err(of_file)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After `finish` nothing has this name; after `exchange` it is what was replaced.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Makes a directory for the owner alone.
pub(crate) fn make_directory(path: &Path) -> Result<(), InitError> {
    hessra_files::make_private_directory(path).map_err(of_file)
}

/// Writes a file that everybody may read, as far as its directory lets them.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), InitError> {
    hessra_files::create(path, text.as_bytes(), Mode::Readable).map_err(of_file)
}

/// Writes a file for the owner alone.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), InitError> {
    hessra_files::create(path, text.as_bytes(), Mode::Private).map_err(of_file)
}

/// Writes `NAME.pem` and `NAME.key`.
pub(crate) fn write_pair(folder: &Path, name: &str, pair: &Pair) -> Result<(), InitError> {
    write_secret(&folder.join(format!("{name}.key")), &pair.key)?;
    write(&folder.join(format!("{name}.pem")), &pair.certificate)
}

/// Copies a file, secret or not.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), InitError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(from).map_err(|error| InitError::file(from, &error))?;
    let bytes = std::fs::read(from).map_err(|error| InitError::file(from, &error))?;
    // What others may not read here, they may not read there.
    let mode = match metadata.permissions().mode() & 0o077 {
        0 => Mode::Private,
        _ => Mode::Readable,
    };
    hessra_files::create(to, &bytes, mode).map_err(of_file)
}

fn of_file(error: FileError) -> InitError {
    let FileError { path, source, .. } = error;
    InitError::file(&path, &source)
}
