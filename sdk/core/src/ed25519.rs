//! Ed25519 verification as the feed needs it.

use ed25519_dalek::{Signature, VerifyingKey};

use hessra_revocation::VerifySignature;

/// True when `signature` is an Ed25519 signature (RFC 8032) by `public_key` over `message`.
///
/// Strict: refuses keys of small order and non-canonical encodings, so that one message and one key have one signature
/// that every verifier agrees about.
#[must_use]
pub fn verify_ed25519(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(public_key).is_ok_and(|key| {
        key.verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    })
}

/// Signature check of a [`hessra_revocation::Follower`], by [`verify_ed25519`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ed25519;

impl VerifySignature for Ed25519 {
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        verify_ed25519(public_key, message, signature)
    }
}
