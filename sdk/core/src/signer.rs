//! Signer, the seam to the holder of a private key: bytes in, signature out.
//!
//! A hardware module, a cloud key or a threshold of nodes can stand behind [`Signer`]. A key that this process holds
//! can be handed over as [`LocalKey`], which costs one signature and no detour.

use std::fmt;

use biscuit_auth::builder::Algorithm;
use biscuit_auth::{KeyPair, PrivateKey};

/// Signer with one Ed25519 token key.
pub trait Signer {
    /// Id of the key, which becomes the token's `root_key_id`.
    fn key_id(&self) -> u32;

    /// Public half of the key.
    fn public_key(&self) -> [u8; 32];

    /// Ed25519 signature (RFC 8032) over the payload.
    ///
    /// # Errors
    /// When the holder of the key does not sign.
    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError>;

    /// Key itself, where this process holds it: then a token costs one signature and no detour. It must be the key
    /// whose public half is [`Self::public_key`].
    fn local(&self) -> Option<&LocalKey> {
        None
    }
}

/// Token key that this process holds, in the form in which the Biscuit library signs. Zeroed when it is dropped.
pub struct LocalKey(KeyPair);

impl LocalKey {
    /// Key from the 32 bytes of an Ed25519 private key (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn new(private: &[u8; 32]) -> Self {
        let private = PrivateKey::from_bytes(private, Algorithm::Ed25519);
        Self(KeyPair::from(&private.expect("32 bytes are a key")))
    }

    pub(crate) fn key_pair(&self) -> &KeyPair {
        &self.0
    }
}

/// Hides the key.
impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// Error of a signer that did not sign. The text is for operators and must not carry key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign: {0}")]
pub struct SignerError(pub String);
