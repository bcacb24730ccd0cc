//! Private keys at rest: an envelope under the key-encryption key.
//!
//! ```text
//! version 2 | kek id 8 | length 2 | data key, wrapped by the KEK | nonce 24 | private key, sealed 32+16
//! ```
//! The private half of a signing key is sealed with XChaCha20-Poly1305 under a data key of its own, and the data key is
//! wrapped by the key-encryption key (KEK), so that changing the KEK rewraps data keys and leaves signing keys alone.
//! Purpose, id and public half of the signing key are associated data of both: an envelope moved to another key does
//! not open. An envelope names its KEK, so that a node can hold two while the cluster goes from one to the other.
//!
//! | module | its story |
//! |---|---|
//! | [`kek`] | what a KEK does, and the two kinds of it: 32 bytes in memory, or a key that never leaves its device |
//! | [`source`] | where a KEK comes from, as `node.toml` names it |
//! | [`pkcs11`] | a key in a hardware module |
//!
//! A KEK never enters the replicated state.

pub mod kek;
mod pkcs11;
pub mod source;

use std::path::PathBuf;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use hessra_revocation::KeyPurpose;
use hessra_state::SealedKey;

pub use kek::{Kek, KekId, MemoryKek};
pub use source::{KekSource, create_file};

/// First byte of an envelope.
const VERSION: u8 = 2;
const NONCE: usize = 24;
/// Bytes of a sealed key: 32, and the authentication tag.
const BOX: usize = 32 + 16;
const DOMAIN: &[u8] = b"hessra key envelope v2";

/// Error of an envelope or a key-encryption key that was refused. Never holds key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SealError {
    #[error(
        "cannot read the key-encryption key from {source_name}: {reason}. Correct keys.kek, or make a key: hessra-node keygen FILE"
    )]
    Unreadable { source_name: String, reason: String },
    #[error(
        "{source_name} holds no key-encryption key: it must be 64 hexadecimal digits. Make one: hessra-node keygen FILE"
    )]
    NotAKey { source_name: String },
    #[error(
        "{source_name} can be read by every user (mode {mode:04o}). Run: chmod 600 {}",
        path.display()
    )]
    WorldReadable {
        source_name: String,
        path: PathBuf,
        mode: u32,
    },
    #[error("`{}` exists already: a key-encryption key is never overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("cannot write `{}`: {reason}. Name another file", path.display())]
    Unwritable { path: PathBuf, reason: String },
    #[error(
        "key {id} is sealed under key-encryption key {sealed_under}, and this node has {have}. Name the cluster's key in keys.kek, or in keys.kek_previous while it changes"
    )]
    OtherKek {
        id: u32,
        sealed_under: String,
        have: String,
    },
    #[error(
        "the envelope of key {id} has a form that this version does not know. Upgrade this node"
    )]
    UnknownForm { id: u32 },
    #[error(
        "the envelope of key {id} does not open with {kek}: it was damaged or belongs to another key"
    )]
    Damaged { id: u32, kek: String },
    #[error(
        "{kek} does not answer: {reason}. Look at the device and its PIN, then start this node again"
    )]
    Device { kek: String, reason: String },
    #[error("a setting of `{setting}` cannot be used: {reason}")]
    Setting {
        setting: &'static str,
        reason: String,
    },
}

/// The key-encryption keys of a node: the one that seals, and while the cluster changes it the one before, which only
/// opens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KekRing {
    current: Arc<dyn Kek>,
    previous: Option<Arc<dyn Kek>>,
}

impl KekRing {
    /// A ring that seals with `current` and opens with either.
    #[must_use]
    pub fn new(current: Arc<dyn Kek>, previous: Option<Arc<dyn Kek>>) -> Self {
        Self { current, previous }
    }

    /// Id of the key that seals.
    #[must_use]
    pub fn id(&self) -> KekId {
        self.current.id()
    }

    /// Ids of the keys that open.
    #[must_use]
    pub fn ids(&self) -> Vec<KekId> {
        self.all().map(|kek| kek.id()).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<dyn Kek>> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Seals the private half of a key. `random` must never be used again.
    ///
    /// # Errors
    /// The device that holds the KEK does not answer.
    pub fn seal(
        &self,
        label: &KeyLabel,
        private: &[u8; 32],
        random: &SealingRandom,
    ) -> Result<Vec<u8>, SealError> {
        let associated = label.associated_data();
        let wrapped = self
            .current
            .wrap(&random.data_key, &associated, &random.wrap_nonce)?;
        let length = u16::try_from(wrapped.len()).expect("a wrapped data key has a hundred bytes");
        let sealed = encrypt(&random.data_key, &random.nonce, &associated, private);
        Ok([
            &[VERSION][..],
            &self.current.id().0,
            &length.to_be_bytes(),
            &wrapped,
            &random.nonce,
            &sealed,
        ]
        .concat())
    }

    /// Opens the private half of a key of the state, and checks that it belongs to its public half.
    ///
    /// # Errors
    /// Sealed under another KEK, of an unknown form, or damaged; the device does not answer.
    pub fn open(&self, key: &SealedKey) -> Result<SigningKey, SealError> {
        let envelope = Envelope::parse(&key.sealed).ok_or(SealError::UnknownForm { id: key.id })?;
        let kek = self.find(key.id, envelope.kek)?;
        let damaged = || SealError::Damaged {
            id: key.id,
            kek: kek.name().to_owned(),
        };
        let associated = KeyLabel::of(key).associated_data();
        let data_key = kek
            .unwrap(envelope.wrapped, &associated)?
            .ok_or_else(damaged)?;
        let private = decrypt(&data_key, envelope.sealed, &associated).ok_or_else(damaged)?;
        let signing = SigningKey::from_bytes(&private);
        if signing.verifying_key().to_bytes() == key.public_key {
            Ok(signing)
        } else {
            Err(damaged())
        }
    }

    /// True when this envelope is under the KEK that seals. `None` when it is no envelope of this version.
    #[must_use]
    pub fn is_current(&self, sealed: &[u8]) -> Option<bool> {
        Envelope::parse(sealed).map(|envelope| envelope.kek == self.id())
    }

    fn find(&self, id: u32, wanted: KekId) -> Result<&Arc<dyn Kek>, SealError> {
        let found = self.all().find(|kek| kek.id() == wanted);
        found.ok_or_else(|| SealError::OtherKek {
            id,
            sealed_under: wanted.to_string(),
            have: self
                .all()
                .map(|kek| format!("{} ({})", kek.id(), kek.name()))
                .collect::<Vec<_>>()
                .join(" and "),
        })
    }
}

/// The KEK that an envelope of this version names.
#[must_use]
pub fn kek_of(sealed: &[u8]) -> Option<KekId> {
    Envelope::parse(sealed).map(|envelope| envelope.kek)
}

/// The parts of an envelope.
struct Envelope<'a> {
    kek: KekId,
    wrapped: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (kek, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (wrapped, sealed) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        (sealed.len() == NONCE + BOX).then_some(Self {
            kek: KekId(*kek),
            wrapped,
            sealed,
        })
    }
}

/// Label that an envelope is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KeyLabel {
    pub id: u32,
    pub purpose: KeyPurpose,
    pub public_key: [u8; 32],
}

impl KeyLabel {
    /// The label of a key of the state.
    #[must_use]
    pub fn of(key: &SealedKey) -> Self {
        Self {
            id: key.id,
            purpose: key.purpose,
            public_key: key.public_key,
        }
    }

    fn associated_data(&self) -> Vec<u8> {
        let purpose: u8 = match self.purpose {
            KeyPurpose::Token => 1,
            KeyPurpose::Feed => 2,
            KeyPurpose::Audit => 3,
        };
        [DOMAIN, &[purpose], &self.id.to_be_bytes(), &self.public_key].concat()
    }
}

/// The randomness of one envelope.
pub struct SealingRandom {
    data_key: Zeroizing<[u8; 32]>,
    wrap_nonce: [u8; NONCE],
    nonce: [u8; NONCE],
}

impl SealingRandom {
    /// Randomness from 80 fresh random bytes.
    #[must_use]
    pub fn new(random: [u8; 80]) -> Self {
        let random = Zeroizing::new(random);
        Self {
            data_key: Zeroizing::new(std::array::from_fn(|index| random[index])),
            wrap_nonce: std::array::from_fn(|index| random[32 + index]),
            nonce: std::array::from_fn(|index| random[56 + index]),
        }
    }
}

fn encrypt(key: &[u8; 32], nonce: &[u8; NONCE], associated: &[u8], message: &[u8]) -> Vec<u8> {
    let payload = Payload {
        msg: message,
        aad: associated,
    };
    XChaCha20Poly1305::new(key.into())
        .encrypt(XNonce::from_slice(nonce), payload)
        .expect("a message of 32 bytes is never too long to encrypt")
}

/// Decrypts `boxed`: the nonce, then what was encrypted.
fn decrypt(key: &[u8; 32], boxed: &[u8], associated: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let (nonce, message) = boxed.split_at_checked(NONCE)?;
    let payload = Payload {
        msg: message,
        aad: associated,
    };
    let plain = XChaCha20Poly1305::new(key.into())
        .decrypt(XNonce::from_slice(nonce), payload)
        .ok()
        .map(Zeroizing::new)?;
    let array: [u8; 32] = plain.as_slice().try_into().ok()?;
    Some(Zeroizing::new(array))
}

#[cfg(test)]
mod tests;
