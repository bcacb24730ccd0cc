//! A new key, sealed; and other envelopes around keys that there are.

use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use hessra_revocation::{KeyPurpose, KeyState, PublicKeyRecord};
use hessra_state::{Envelope, SealedKey, State};

use crate::edge::random_bytes;
use crate::seal::{KekRing, KeyLabel, SealError, SealingRandom};

/// A new key in the state that it is to begin with.
///
/// # Errors
/// The device that holds the key-encryption key does not answer.
pub fn new_key(
    keks: &KekRing,
    id: u32,
    purpose: KeyPurpose,
    state: KeyState,
) -> Result<SealedKey, SealError> {
    let private = Zeroizing::new(random_bytes());
    let public_key = SigningKey::from_bytes(&private).verifying_key().to_bytes();
    let label = KeyLabel {
        id,
        purpose,
        public_key,
    };
    let sealed = keks.seal(&label, &private, &SealingRandom::new(random_bytes()))?;
    let record = PublicKeyRecord {
        id,
        purpose,
        state,
        public_key,
    };
    Ok(SealedKey::new(record, sealed))
}

/// New envelopes, under the current key-encryption key, for every key that is not sealed under it yet. Each is opened
/// again before it is handed out: after a rewrap there is no other way to the key.
///
/// # Errors
/// A key that does not open, or a device that does not answer.
pub fn rewrapped(keks: &KekRing, state: &State) -> Result<Vec<Envelope>, SealError> {
    let kept = state.keys().values().filter(|key| key.needs_private_half());
    let others = kept.filter(|key| keks.is_current(&key.sealed) != Some(true));
    others.map(|key| rewrap(keks, key)).collect()
}

fn rewrap(keks: &KekRing, key: &SealedKey) -> Result<Envelope, SealError> {
    let signing = keks.open(key)?;
    let private = Zeroizing::new(signing.to_bytes());
    let random = SealingRandom::new(random_bytes());
    let sealed = keks.seal(&KeyLabel::of(key), &private, &random)?;
    let again = SealedKey {
        sealed: sealed.clone(),
        ..key.clone()
    };
    keks.open(&again)?;
    Ok(Envelope { id: key.id, sealed })
}
