//! Signatures of the simulation: message and key are what matters here, not the curve.

use hessra_consensus::feed::{CheckpointSigner, SigningError};
use hessra_revocation::{Hash, VerifySignature};
use sha2::{Digest as _, Sha256};

/// Id of the feed key, and every byte of its public half.
pub const FEED_KEY: u32 = 2;

/// Signatures of two digests each, which only this check accepts.
#[derive(Clone, Copy, Debug)]
pub struct Signatures;

impl Signatures {
    /// Signs with the public key, which is no real signature.
    fn sign(public_key: &[u8; 32], message: &[u8]) -> [u8; 64] {
        let first: Hash = Sha256::new()
            .chain_update(public_key)
            .chain_update(message)
            .finalize()
            .into();
        let second: Hash = Sha256::digest(first).into();
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&first);
        signature[32..].copy_from_slice(&second);
        signature
    }
}

/// The public half of a key of the simulation.
pub fn public_key(id: u32) -> [u8; 32] {
    [u8::try_from(id).expect("ids are small"); 32]
}

impl VerifySignature for Signatures {
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        Self::sign(public_key, message) == *signature
    }
}

impl CheckpointSigner for Signatures {
    fn sign(
        &self,
        bytes: &[u8],
        _known: &dyn Fn(u32) -> bool,
    ) -> Result<(u32, [u8; 64]), SigningError> {
        Ok((FEED_KEY, Self::sign(&public_key(FEED_KEY), bytes)))
    }
}
