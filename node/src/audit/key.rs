//! The audit key of a node: made at its first start, sealed under the key-encryption key, in a file beside the chains.
//!
//! ```text
//! audit/key    hessra audit key v1 PUBLIC SEALED      one line, hexadecimal
//! ```
//! The cluster learns its public half with the first head that it witnesses, and from then on knows the node's chains by
//! it. So the key of another member cannot sign them, and a key that is lost is a loss of the audit: the
//! node records nothing until an operator has accepted it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use hessra_files::{FileError, Mode, Writers};
use hessra_revocation::{KeyPurpose, KeyState, PublicKeyRecord};
use hessra_state::SealedKey;

use crate::edge::random_bytes;
use crate::seal::{KekRing, KeyLabel, SealError, SealingRandom};

/// Name of the file beside the chains.
const FILE: &str = "key";
const HEAD: &str = "hessra audit key v1";
/// Longest file: an envelope whose data key a hardware module wrapped, in hexadecimal, twice over.
const BYTES_MAX: u64 = 16 * 1024;
/// Id that the envelope is bound to. The key is not one of the state's, so the id is one that none of them begins with.
const LABEL_ID: u32 = 0;

/// Error of an audit key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NodeKeyError {
    #[error(
        "cannot {action} the audit key of this node, `{path}`: {source}. Look at its disk and its owner"
    )]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "`{path}` is no audit key of a node: it was damaged. Restore it, or accept the loss of this node's audit with \
         `hessra audit accept-loss` and move the folder `audit` away"
    )]
    Damaged { path: PathBuf },
    #[error("the audit key of this node, `{path}`, does not open: {source}")]
    Sealed { path: PathBuf, source: SealError },
}

/// The audit key of this node. Cheap to clone.
#[derive(Clone)]
pub struct NodeKey {
    signing: Arc<SigningKey>,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey")
    }
}

impl NodeKey {
    /// The key with this private half.
    #[must_use]
    pub fn new(private: &[u8; 32]) -> Self {
        Self {
            signing: Arc::new(SigningKey::from_bytes(private)),
        }
    }

    /// Opens the key in this folder; makes one when there is none. One that is sealed under the key-encryption key before
    /// is sealed anew.
    ///
    /// # Errors
    /// See [`NodeKeyError`].
    pub fn open(folder: &Path, keks: &KekRing) -> Result<Self, NodeKeyError> {
        hessra_files::make_private_directory(folder)
            .map_err(|FileError { source, .. }| failed("make the folder of", folder, source))?;
        let path = folder.join(FILE);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > BYTES_MAX => Err(NodeKeyError::Damaged { path }),
            Ok(_) => Self::read(path, keks),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::make(&path, keks),
            Err(source) => Err(failed("read", &path, source)),
        }
    }

    /// The public half, Ed25519.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// Signs. The bytes must name their own domain first.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.signing.sign(bytes).to_bytes()
    }

    fn make(path: &Path, keks: &KekRing) -> Result<Self, NodeKeyError> {
        let key = Self::new(&Zeroizing::new(random_bytes()));
        key.write(path, keks)?;
        Ok(key)
    }

    fn read(path: PathBuf, keks: &KekRing) -> Result<Self, NodeKeyError> {
        let text =
            std::fs::read_to_string(&path).map_err(|source| failed("read", &path, source))?;
        let Some(sealed) = parse(&text) else {
            return Err(NodeKeyError::Damaged { path });
        };
        let signing = match keks.open(&sealed) {
            Ok(signing) => Arc::new(signing),
            Err(source) => return Err(NodeKeyError::Sealed { path, source }),
        };
        let key = Self { signing };
        if keks.is_current(&sealed.sealed) != Some(true) {
            key.write(&path, keks)?;
        }
        Ok(key)
    }

    fn write(&self, path: &Path, keks: &KekRing) -> Result<(), NodeKeyError> {
        let label = KeyLabel {
            id: LABEL_ID,
            purpose: KeyPurpose::Audit,
            public_key: self.public(),
        };
        let private = Zeroizing::new(self.signing.to_bytes());
        let random = SealingRandom::new(random_bytes());
        let sealed = keks.seal(&label, &private, &random);
        let sealed = sealed.map_err(|source| NodeKeyError::Sealed {
            path: path.to_owned(),
            source,
        })?;
        let (public, sealed) = (HEXLOWER.encode(&self.public()), HEXLOWER.encode(&sealed));
        let line = format!("{HEAD} {public} {sealed}\n");
        hessra_files::replace(path, line.as_bytes(), Mode::Private, Writers::One)
            .map_err(|FileError { source, .. }| failed("write", path, source))
    }
}

fn parse(text: &str) -> Option<SealedKey> {
    let (public, sealed) = text
        .trim_end()
        .strip_prefix(HEAD)?
        .trim_start()
        .split_once(' ')?;
    let public_key = HEXLOWER.decode(public.as_bytes()).ok()?.try_into().ok()?;
    let record = PublicKeyRecord {
        id: LABEL_ID,
        purpose: KeyPurpose::Audit,
        state: KeyState::Active,
        public_key,
    };
    let sealed = HEXLOWER.decode(sealed.as_bytes()).ok()?;
    Some(SealedKey::new(record, sealed))
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> NodeKeyError {
    NodeKeyError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
