//! Join secret of a cluster: what a node that no membership names yet asks of senders before it hears them.
//!
//! A certificate of the cluster's CA proves the id of a node, not that the cluster has it. Every member shows the secret with
//! what it sends to another one; a node that waits to be added compares. It goes over mutual TLS to members only, which have
//! the same file.

use std::fmt;
use std::path::{Path, PathBuf};

use hessra_files::{Readers, SecretError, open_secret, read_bounded};
use sha2::{Digest as _, Sha256};
use tonic::metadata::{Binary, MetadataMap, MetadataValue};

/// Metadata of a request between members that carries the secret.
const METADATA: &str = "hessra-join-secret-bin";
/// Bytes of a secret, at least: what `hessra-node keygen` writes has 64.
const BYTES_MIN: usize = 32;
/// Bytes of a secret, at most.
const BYTES_MAX: u64 = 1_024;

/// Error of a file that holds no join secret.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum JoinSecretError {
    #[error("the join secret `{path}`, named by `cluster.join_secret`, cannot be used: {reason}")]
    Unusable { path: PathBuf, reason: SecretError },
    #[error(
        "the join secret `{path}`, named by `cluster.join_secret`, has {found} bytes, and {BYTES_MIN} are the least. \
         `hessra-node keygen FILE` makes one"
    )]
    Short { path: PathBuf, found: usize },
}

/// Join secret of a cluster. Its bytes are in no debug output and in no log.
#[derive(Clone)]
pub struct JoinSecret(MetadataValue<Binary>);

impl JoinSecret {
    /// Reads a file that its owner alone, or its group, may read. White space around the secret is not part of it.
    ///
    /// # Errors
    /// The file cannot be read, others may read it, or it is too short or too long.
    pub fn read(path: &Path) -> Result<Self, JoinSecretError> {
        let unusable = |reason| JoinSecretError::Unusable {
            path: path.to_owned(),
            reason,
        };
        let file = open_secret(path, Readers::OwnerAndGroup).map_err(unusable)?;
        let bytes = read_bounded(file, BYTES_MAX).map_err(|error| unusable(error.into()))?;
        let secret = bytes.trim_ascii();
        if secret.len() < BYTES_MIN {
            return Err(JoinSecretError::Short {
                path: path.to_owned(),
                found: secret.len(),
            });
        }
        Ok(Self::from_bytes(secret))
    }

    fn from_bytes(secret: &[u8]) -> Self {
        let mut value = MetadataValue::from_bytes(secret);
        value.set_sensitive(true);
        Self(value)
    }

    /// Adds the secret to the metadata of a request.
    pub(crate) fn show(&self, metadata: &mut MetadataMap) {
        metadata.insert_bin(METADATA, self.0.clone());
    }

    /// True when a request shows this secret. Hashes are compared, so that the time taken tells nothing about it.
    pub(crate) fn is_shown(&self, metadata: &MetadataMap) -> bool {
        let digest = |value: &MetadataValue<Binary>| Some(Sha256::digest(value.to_bytes().ok()?));
        let shown = metadata.get_bin(METADATA).and_then(digest);
        shown.is_some() && shown == digest(&self.0)
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(text: &str, mode: u32) -> Result<JoinSecret, JoinSecretError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        JoinSecret::read(file.path())
    }

    #[test]
    fn the_secret_is_shown_by_those_that_have_the_same_file() {
        let text = "5".repeat(64);
        let (one, other) = (
            read(&text, 0o600).unwrap(),
            read(&format!("{text}\n"), 0o640).unwrap(),
        );
        let mut metadata = MetadataMap::new();
        assert!(!one.is_shown(&metadata));
        other.show(&mut metadata);
        assert!(one.is_shown(&metadata));
        assert!(!read(&"6".repeat(64), 0o600).unwrap().is_shown(&metadata));
        assert!(!format!("{one:?} {metadata:?}").contains("555"));
    }

    #[test]
    fn a_short_or_open_file_is_refused() {
        let short = read("secret\n", 0o600).unwrap_err().to_string();
        assert!(short.contains("has 6 bytes"), "{short}");
        let open = read(&"5".repeat(64), 0o644).unwrap_err().to_string();
        assert!(open.contains("mode 0644"), "{open}");
        assert!(read(&"5".repeat(2_000), 0o600).is_err());
    }
}
