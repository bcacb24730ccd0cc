//! Key-encryption keys: they wrap data keys, and name themselves.
//!
//! A cloud's key service is one more implementation of [`Kek`].

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{NONCE, SealError, decrypt, encrypt};

/// Name of a KEK that says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KekId(pub [u8; 8]);

impl KekId {
    /// The beginning of a SHA-256 over a domain and what makes the key this one.
    pub(super) fn of(domain: &[u8], parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new_with_prefix(domain);
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let digest = hasher.finalize();
        Self(std::array::from_fn(|index| digest[index]))
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A key-encryption key. It may live in another device; what it wraps are data keys of 32 bytes.
pub trait Kek: fmt::Debug + Send + Sync {
    /// Id of this key.
    fn id(&self) -> KekId;

    /// Source of the key, for people.
    fn name(&self) -> &str;

    /// Wraps a data key, bound to `associated`. `random` is fresh.
    ///
    /// # Errors
    /// The device does not answer.
    fn wrap(
        &self,
        data_key: &[u8; 32],
        associated: &[u8],
        random: &[u8; NONCE],
    ) -> Result<Vec<u8>, SealError>;

    /// Unwraps a data key; `None` when it was not wrapped by this key with these `associated` bytes.
    ///
    /// # Errors
    /// The device does not answer.
    fn unwrap(
        &self,
        wrapped: &[u8],
        associated: &[u8],
    ) -> Result<Option<Zeroizing<[u8; 32]>>, SealError>;
}

/// A KEK of 32 bytes in memory. Zeroed when dropped.
pub struct MemoryKek {
    key: Zeroizing<[u8; 32]>,
    name: String,
}

impl MemoryKek {
    /// A KEK of these bytes. `name`: where they came from.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>, name: String) -> Self {
        Self { key, name }
    }
}

impl fmt::Debug for MemoryKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKek")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Kek for MemoryKek {
    fn id(&self) -> KekId {
        KekId::of(b"hessra kek id v2", &[self.key.as_slice()])
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn wrap(
        &self,
        data_key: &[u8; 32],
        associated: &[u8],
        random: &[u8; NONCE],
    ) -> Result<Vec<u8>, SealError> {
        let wrapped = encrypt(&self.key, random, associated, data_key);
        Ok([&random[..], &wrapped].concat())
    }

    fn unwrap(
        &self,
        wrapped: &[u8],
        associated: &[u8],
    ) -> Result<Option<Zeroizing<[u8; 32]>>, SealError> {
        Ok(decrypt(&self.key, wrapped, associated))
    }
}
