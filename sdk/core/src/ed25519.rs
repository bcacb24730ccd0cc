//! Ed25519 verification as the feed needs it.

use std::sync::{Mutex, PoisonError};

use ed25519_dalek::{Signature, VerifyingKey};

use hessra_revocation::VerifySignature;

/// True when `signature` is an Ed25519 signature (RFC 8032) by `public_key` over `message`.
///
/// Strict: refuses keys of small order and non-canonical encodings, so that one message and one key have one signature
/// that every verifier agrees about.
#[must_use]
pub fn verify_ed25519(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(public_key).is_ok_and(|key| is_right(&key, message, signature))
}

fn is_right(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = Signature::from_bytes(signature);
    key.verify_strict(message, &signature).is_ok()
}

/// Signature check of a [`hessra_revocation::Follower`], as [`verify_ed25519`] does it. Keeps the point of the key that was used
/// last: a feed is signed with one for months, and finding the point takes a fifth of a verification.
#[derive(Debug, Default)]
pub struct Ed25519 {
    last: Mutex<Option<VerifyingKey>>,
}

impl Ed25519 {
    fn point(&self, public_key: &[u8; 32]) -> Option<VerifyingKey> {
        // No code panics while it holds the lock.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.as_bytes() != public_key) {
            *last = VerifyingKey::from_bytes(public_key).ok();
        }
        *last
    }
}

impl VerifySignature for Ed25519 {
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let key = self.point(public_key);
        key.is_some_and(|key| is_right(&key, message, signature))
    }
}
