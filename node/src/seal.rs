//! Private keys at rest: an envelope under the key-encryption key.
//!
//! ```text
//! version 1 | kek id 8 | nonce 24 | data key, wrapped 32+16 | nonce 24 | private key, sealed 32+16
//! ```
//! The private half of a signing key is sealed with XChaCha20-Poly1305 under a data key of its own, and the data key under
//! the key-encryption key (KEK), so that changing the KEK rewraps data keys and leaves signing keys alone. Purpose, id and
//! public half of the signing key are associated data of both: an envelope moved to another key does not open.
//!
//! The KEK comes from a file of mode 0600 with 64 hexadecimal digits. It never enters the replicated state.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use hessra_revocation::KeyPurpose;
use hessra_state::SealedKey;

/// First byte of an envelope.
const VERSION: u8 = 1;
const KEK_ID: usize = 8;
const NONCE: usize = 24;
/// 32 bytes and the authentication tag.
const BOX: usize = 32 + 16;
const ENVELOPE: usize = 1 + KEK_ID + 2 * (NONCE + BOX);
const DOMAIN: &[u8] = b"hessra key envelope v1";

/// Why an envelope or a key-encryption key was refused. Never holds key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SealError {
    #[error(
        "cannot read key-encryption key `{path}`: {reason}. Set keys.encryption_key, or run: hessra-node keygen {path}"
    )]
    Unreadable { path: PathBuf, reason: String },
    #[error(
        "`{path}` is not a key-encryption key: it must hold 64 hexadecimal digits. Run: hessra-node keygen NEW-FILE"
    )]
    NotAKey { path: PathBuf },
    #[error("`{path}` exists already: a key-encryption key is never overwritten")]
    Exists { path: PathBuf },
    #[error(
        "key {id} is sealed under key-encryption key {sealed_under}, but `{path}` is {have}. Name the cluster's file in keys.encryption_key"
    )]
    OtherKek {
        id: u32,
        sealed_under: String,
        path: PathBuf,
        have: String,
    },
    #[error(
        "the envelope of key {id} has a form that this version does not know. Upgrade this node"
    )]
    UnknownForm { id: u32 },
    #[error(
        "the envelope of key {id} does not open with `{path}`: it was damaged or belongs to another key"
    )]
    Damaged { id: u32, path: PathBuf },
}

/// The key-encryption key, and the file it came from. Zeroed when dropped.
pub struct KeyEncryptionKey {
    key: Zeroizing<[u8; 32]>,
    path: PathBuf,
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEncryptionKey")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl KeyEncryptionKey {
    /// Reads a file of 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`SealError::Unreadable`] or [`SealError::NotAKey`].
    pub fn load(path: &Path) -> Result<Self, SealError> {
        let text = std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|error| unreadable(path, &error))?;
        let not_a_key = || SealError::NotAKey { path: path.into() };
        let bytes = HEXLOWER_PERMISSIVE
            .decode(text.trim_ascii())
            .map(Zeroizing::new)
            .map_err(|_| not_a_key())?;
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| not_a_key())?;
        Ok(Self {
            key: Zeroizing::new(key),
            path: path.into(),
        })
    }

    /// Writes random bytes as a new key file of mode 0600.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn create(path: &Path, random: [u8; 32]) -> Result<(), SealError> {
        let random = Zeroizing::new(random);
        let text = Zeroizing::new(format!("{}\n", HEXLOWER.encode(random.as_slice())));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())
                    .and_then(|()| file.sync_all())
            });
        written.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SealError::Exists { path: path.into() },
            _ => unreadable(path, &error),
        })
    }

    /// Which key this is, without saying anything about it.
    #[must_use]
    pub fn id(&self) -> String {
        HEXLOWER.encode(&self.id_bytes())
    }

    /// Seals the private half of a new key. `random` must never be used again.
    #[must_use]
    pub fn seal(&self, label: &KeyLabel, private: &[u8; 32], random: &SealingRandom) -> Vec<u8> {
        let associated = label.associated_data();
        let mut envelope = Vec::with_capacity(ENVELOPE);
        envelope.push(VERSION);
        envelope.extend_from_slice(&self.id_bytes());
        envelope.extend_from_slice(&random.wrap_nonce);
        envelope.extend(encrypt(
            &self.key,
            &random.wrap_nonce,
            &associated,
            random.data_key.as_slice(),
        ));
        envelope.extend_from_slice(&random.nonce);
        envelope.extend(encrypt(
            &random.data_key,
            &random.nonce,
            &associated,
            private,
        ));
        envelope
    }

    /// Opens the private half of a key of the state, and checks that it belongs to its public half.
    ///
    /// # Errors
    /// Sealed under another KEK, of an unknown form, or damaged.
    pub fn open(&self, key: &SealedKey) -> Result<SigningKey, SealError> {
        let id = key.id;
        if key.sealed.len() != ENVELOPE || key.sealed[0] != VERSION {
            return Err(SealError::UnknownForm { id });
        }
        let (kek_id, rest) = key.sealed[1..].split_at(KEK_ID);
        if kek_id != self.id_bytes() {
            let (sealed_under, have) = (HEXLOWER.encode(kek_id), self.id());
            return Err(SealError::OtherKek {
                id,
                sealed_under,
                path: self.path.clone(),
                have,
            });
        }
        let (wrapped, sealed) = rest.split_at(NONCE + BOX);
        let associated = KeyLabel::of(key).associated_data();
        let private = decrypt(&self.key, wrapped, &associated)
            .and_then(|data| decrypt(&data, sealed, &associated));
        let damaged = || SealError::Damaged {
            id,
            path: self.path.clone(),
        };
        let signing = SigningKey::from_bytes(&*private.ok_or_else(damaged)?);
        if signing.verifying_key().to_bytes() != key.public_key {
            return Err(damaged());
        }
        Ok(signing)
    }

    fn id_bytes(&self) -> [u8; KEK_ID] {
        let digest = Sha256::new()
            .chain_update(b"hessra kek id v1")
            .chain_update(self.key.as_slice())
            .finalize();
        std::array::from_fn(|index| digest[index])
    }
}

/// What an envelope is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KeyLabel {
    pub id: u32,
    pub purpose: KeyPurpose,
    pub public_key: [u8; 32],
}

impl KeyLabel {
    fn of(key: &SealedKey) -> Self {
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
    /// From 80 fresh random bytes.
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
    XChaCha20Poly1305::new(key.into())
        .encrypt(
            XNonce::from_slice(nonce),
            Payload {
                msg: message,
                aad: associated,
            },
        )
        .expect("a message of 32 bytes is below the cipher's limit")
}

/// `sealed` is a nonce and a box.
fn decrypt(key: &[u8; 32], sealed: &[u8], associated: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let (nonce, ciphertext) = sealed.split_at(NONCE);
    let payload = Payload {
        msg: ciphertext,
        aad: associated,
    };
    let plain = XChaCha20Poly1305::new(key.into())
        .decrypt(XNonce::from_slice(nonce), payload)
        .ok()?;
    let plain = Zeroizing::new(plain);
    let array: [u8; 32] = plain.as_slice().try_into().ok()?;
    Some(Zeroizing::new(array))
}

fn unreadable(path: &Path, error: &io::Error) -> SealError {
    SealError::Unreadable {
        path: path.into(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use hessra_revocation::{KeyState, Revision};

    use super::*;

    fn kek(fill: u8) -> KeyEncryptionKey {
        KeyEncryptionKey {
            key: Zeroizing::new([fill; 32]),
            path: "kek".into(),
        }
    }

    fn sealed(kek: &KeyEncryptionKey, id: u32, private: [u8; 32]) -> SealedKey {
        let public_key = SigningKey::from_bytes(&private).verifying_key().to_bytes();
        let label = KeyLabel {
            id,
            purpose: KeyPurpose::Token,
            public_key,
        };
        let random = SealingRandom::new(std::array::from_fn(|index| u8::try_from(index).unwrap()));
        let sealed = kek.seal(&label, &private, &random);
        SealedKey {
            id,
            purpose: label.purpose,
            state: KeyState::Active,
            public_key,
            sealed,
            changed_at: Revision(1),
        }
    }

    #[test]
    fn a_sealed_key_opens_to_the_same_key() {
        let key = sealed(&kek(1), 7, [9; 32]);
        assert_eq!(kek(1).open(&key).unwrap().to_bytes(), [9; 32]);
    }

    #[test]
    fn no_private_key_is_in_the_clear_in_an_envelope() {
        let key = sealed(&kek(1), 7, [9; 32]);
        assert!(
            !key.sealed.windows(8).any(|window| window == [9; 8]),
            "the private key shows"
        );
        assert!(
            !key.sealed.windows(8).any(|window| window == [1; 8]),
            "the key-encryption key shows"
        );
    }

    #[test]
    fn another_kek_is_refused_and_both_are_named() {
        let refused = kek(2)
            .open(&sealed(&kek(1), 7, [9; 32]))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("key 7")
                && refused.contains(&kek(1).id())
                && refused.contains(&kek(2).id())
        );
    }

    #[test]
    fn an_envelope_of_another_key_and_any_flipped_bit_are_refused() {
        let key = sealed(&kek(1), 7, [9; 32]);
        let moved = SealedKey {
            id: 8,
            ..key.clone()
        };
        assert_eq!(
            kek(1).open(&moved).unwrap_err(),
            SealError::Damaged {
                id: 8,
                path: "kek".into()
            }
        );
        let misused = SealedKey {
            purpose: KeyPurpose::Feed,
            ..key.clone()
        };
        assert!(kek(1).open(&misused).is_err());
        for position in 0..key.sealed.len() {
            let mut flipped = key.clone();
            flipped.sealed[position] ^= 0x10;
            assert!(kek(1).open(&flipped).is_err(), "byte {position}");
        }
        assert!(
            kek(1)
                .open(&SealedKey {
                    sealed: Vec::new(),
                    ..key
                })
                .is_err()
        );
    }

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        KeyEncryptionKey::create(&path, [5; 32]).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(*KeyEncryptionKey::load(&path).unwrap().key, [5; 32]);
        assert_eq!(
            KeyEncryptionKey::create(&path, [6; 32]),
            Err(SealError::Exists { path })
        );
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_nothing_of_it_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        std::fs::write(&path, "hunter2").unwrap();
        let refused = KeyEncryptionKey::load(&path).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
        assert!(!format!("{:?}", kek(1)).contains("1, 1"));
    }
}
