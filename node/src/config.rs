//! The one file of settings: read, checked, shown.
//!
//! Every setting stands once, in `config/sections.rs`, with its comment: meaning and unit; its default after `=` and
//! its range after `in`. `hessra-node config show` prints these comments and ranges around the values in force, and
//! docs/limits.md has them. Unknown keys and values out of range are refused, all at once, with file, line and what to
//! do, and so are secrets that others can read. Relative paths are relative to the file. A value that no operator can
//! choose well is a constant beside the code that it is for.

#[macro_use]
mod table;
mod check;
mod files;
#[cfg(test)]
mod page;
mod sections;
mod setting;
mod show;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use hessra_settings::{Document, Faults, Problems};

use crate::seal::{KekRing, KekSource, SealError};

pub use files::SecretFileError;
pub use hessra_settings::{ByteSize, Every, Lasting};
pub use sections::*;
pub use setting::{FeedAdmits, InitialMember, LogFormat, OtlpProtocol};

use check::Rules;

/// Error of a configuration that is not used.
#[derive(Clone, Debug, thiserror::Error, miette::Diagnostic)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("cannot read configuration `{path}`: {reason}. Name another file with --config")]
    Read { path: PathBuf, reason: String },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Problems),
    #[error(transparent)]
    Secret(#[from] SecretFileError),
}

impl Config {
    /// Reads a file, checks its values, and makes its paths absolute. The files that it names are not opened; see
    /// [`Config::check_files`].
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error: std::io::Error| ConfigError::Read {
            path: path.into(),
            reason: error.to_string(),
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let mut config = Self::parse(&path.display().to_string(), &text)?;
        config.make_absolute(absolute.parent().unwrap_or(Path::new("/")));
        Ok(config)
    }

    /// Parses a text and checks its values. `file` is how errors name it.
    ///
    /// # Errors
    /// Everything in it that is wrong.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let mut faults = Faults::new(file, text);
        let document = Document::parse(text, &mut faults);
        // What could be read of a broken text does not say what was meant.
        if !faults.is_empty() {
            return Err(faults.into_problems());
        }
        let config = Self::read(document.section(), &mut faults);
        let mut rules = Rules {
            document: &document,
            faults: &mut faults,
        };
        check::values(&config, &mut rules);
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(faults.into_problems())
        }
    }

    /// The file in force with every comment: parses back to the same settings.
    #[must_use]
    pub fn show(&self) -> String {
        show::commented(self)
    }

    /// Checks the files that the configuration names: each exists, and no secret can be read by others.
    ///
    /// # Errors
    /// Names the file and what to do.
    pub fn check_files(&self) -> Result<(), SecretFileError> {
        files::check(self)
    }

    /// The key-encryption keys.
    ///
    /// # Errors
    /// One of them cannot be read, or can be read by everybody.
    pub fn keks(&self) -> Result<KekRing, SealError> {
        let load = |source: &KekSource| source.load(&self.cluster.name);
        let previous = Some(&self.keys.kek_previous).filter(|source| !source.is_none());
        Ok(KekRing::new(
            load(&self.keys.kek)?,
            previous.map(load).transpose()?,
        ))
    }

    fn make_absolute(&mut self, directory: &Path) {
        let keks = [&mut self.keys.kek, &mut self.keys.kek_previous];
        let mut paths: Vec<&mut PathBuf> =
            keks.into_iter().flat_map(KekSource::paths_mut).collect();
        paths
            .iter_mut()
            .for_each(|path| **path = directory.join(&**path));
        for path in self.paths_mut() {
            if !path.as_os_str().is_empty() {
                *path = directory.join(&*path);
            }
        }
    }

    fn paths_mut(&mut self) -> [&mut PathBuf; 16] {
        [
            &mut self.cluster.join_secret,
            &mut self.storage.path,
            &mut self.public_tls.certificate,
            &mut self.public_tls.key,
            &mut self.public_tls.client_ca,
            &mut self.public_tls.server_ca,
            &mut self.peer_tls.certificate,
            &mut self.peer_tls.key,
            &mut self.peer_tls.ca,
            &mut self.policy.clients,
            &mut self.policy.resources,
            &mut self.policy.git.allowed_signers,
            &mut self.policy.git.ssh_key,
            &mut self.policy.git.ssh_known_hosts,
            &mut self.policy.git.https_ca,
            &mut self.policy.git.https_credentials,
        ]
    }
}
