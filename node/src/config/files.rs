//! The files that settings name: each can be opened, and no secret by everybody.

use std::path::{Path, PathBuf};

use hessra_files::{Readers, SecretError, open_secret};

use super::sections::Config;

/// A file that the configuration names and that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SecretFileError {
    #[error("cannot read `{path}`, named by `{setting}`: {reason}")]
    Unreadable {
        setting: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error(
        "`{path}`, named by `{setting}`, can be read by every user (mode {mode:04o}). Run: chmod 600 {path}"
    )]
    WorldReadable {
        setting: &'static str,
        path: PathBuf,
        mode: u32,
    },
}

pub(super) fn check(config: &Config) -> Result<(), SecretFileError> {
    let mut secrets = vec![
        ("public_tls.key", &config.public_tls.key),
        ("peer_tls.key", &config.peer_tls.key),
    ];
    secrets.extend(config.keys.kek.secret_file().map(|path| ("keys.kek", path)));
    let previous = config.keys.kek_previous.secret_file();
    secrets.extend(previous.map(|path| ("keys.kek_previous", path)));
    let git = &config.policy.git;
    let optional_secrets = [
        ("cluster.join_secret", &config.cluster.join_secret),
        ("policy.git.ssh_key", &git.ssh_key),
        ("policy.git.https_credentials", &git.https_credentials),
    ];
    let open = [
        ("public_tls.certificate", &config.public_tls.certificate),
        ("public_tls.client_ca", &config.public_tls.client_ca),
        ("public_tls.server_ca", &config.public_tls.server_ca),
        ("peer_tls.certificate", &config.peer_tls.certificate),
        ("peer_tls.ca", &config.peer_tls.ca),
        ("policy.git.allowed_signers", &git.allowed_signers),
        ("policy.git.ssh_known_hosts", &git.ssh_known_hosts),
        ("policy.git.https_ca", &git.https_ca),
    ];
    let named = |(_, path): &(&str, &PathBuf)| !path.as_os_str().is_empty();
    for (setting, path) in secrets
        .into_iter()
        .chain(optional_secrets.into_iter().filter(named))
    {
        secret(setting, path)?;
    }
    for (setting, path) in open
        .into_iter()
        .filter(|(_, path)| !path.as_os_str().is_empty())
    {
        readable(setting, path)?;
    }
    Ok(())
}

/// Checks a secret file. Members of its group may read it: that is how a container platform hands out secrets.
fn secret(setting: &'static str, path: &Path) -> Result<(), SecretFileError> {
    let opened = open_secret(path, Readers::OwnerAndGroup);
    opened.map(drop).map_err(|error| match error {
        SecretError::Unreadable(error) => unreadable(setting, path, &error),
        SecretError::Exposed { mode } => SecretFileError::WorldReadable {
            setting,
            path: path.into(),
            mode,
        },
    })
}

fn readable(setting: &'static str, path: &Path) -> Result<(), SecretFileError> {
    let opened = std::fs::File::open(path);
    opened
        .map(drop)
        .map_err(|error| unreadable(setting, path, &error))
}

fn unreadable(setting: &'static str, path: &Path, error: &std::io::Error) -> SecretFileError {
    SecretFileError::Unreadable {
        setting,
        path: path.into(),
        reason: error.to_string(),
    }
}
