//! A key that is unsealed.

use ed25519_dalek::{Signer as _, SigningKey};
use hessra_sdk_core::LocalKey;

/// An unsealed key. Its private half is zeroed when it is dropped.
pub(super) struct ActiveKey {
    pub(super) id: u32,
    pub(super) public_key: [u8; 32],
    pub(super) signing: SigningKey,
    /// The same key as tokens are signed with; none of another purpose.
    pub(super) for_tokens: Option<LocalKey>,
}

impl ActiveKey {
    pub(super) fn sign(&self, bytes: &[u8]) -> (u32, [u8; 64]) {
        (self.id, self.signing.sign(bytes).to_bytes())
    }
}
