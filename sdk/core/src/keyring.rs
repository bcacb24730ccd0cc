//! Keyring: the public keys that a verifier believes, and the search for the one that signed a token.
//!
//! Prepared, active and retired keys verify; revoked ones do not. The key id in a token is not covered by a signature:
//! a holder can change or remove it. It says where to look first; the key that verifies decides.

use std::borrow::Cow;
use std::collections::BTreeMap;

use biscuit_auth::builder::Algorithm;
use biscuit_auth::{Biscuit, PublicKey};

use hessra_revocation::{KeyPurpose, KeyState, PublicKeyRecord, View};

use crate::reason::DenyReason;
use crate::signatures::Shown;
use crate::{KeyError, Token};

/// Most keys that are tried for a token without a key id. Origin: one active, one prepared and the retired ones whose
/// tokens still live; each try costs a signature verification.
pub const TRIED_KEYS_MAX: usize = 8;

/// Token-signing keys by id, or a single pinned one.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: BTreeMap<u32, Held>,
    pinned: Option<PublicKey>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    state: KeyState,
    key: PublicKey,
}

impl Keyring {
    /// Token keys of a feed. A key of which any entry is revoked is revoked under all its ids.
    #[must_use]
    pub fn from_view(view: &View) -> Self {
        Self::from_records(view.keys.values())
    }

    /// Token keys of a list; feed keys, and bytes that are not a key, are left out.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a PublicKeyRecord>) -> Self {
        let records = records
            .into_iter()
            .filter(|record| record.purpose == KeyPurpose::Token);
        let mut keys: BTreeMap<u32, Held> = records
            .filter_map(|record| {
                let key = parse(&record.public_key).ok()?;
                Some((
                    record.id,
                    Held {
                        state: record.state,
                        key,
                    },
                ))
            })
            .collect();
        let revoked: Vec<PublicKey> = keys
            .values()
            .filter(|held| held.state == KeyState::Revoked)
            .map(|held| held.key)
            .collect();
        for held in keys.values_mut().filter(|held| revoked.contains(&held.key)) {
            held.state = KeyState::Revoked;
        }
        Self { keys, pinned: None }
    }

    /// Keyring of one key for every token, whichever id it names: an SPKI document in PEM form, as `/public_key` serves
    /// it.
    ///
    /// # Errors
    /// [`KeyError::Pem`] unless it is of an Ed25519 key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = PublicKey::from_pem_with_algorithm(pem, Algorithm::Ed25519);
        key.map(Self::pin).map_err(|_| KeyError::Pem)
    }

    /// Keyring of one key for every token, as 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Bytes`].
    pub fn from_public_key(key: &[u8; 32]) -> Result<Self, KeyError> {
        parse(key).map(Self::pin)
    }

    fn pin(key: PublicKey) -> Self {
        Self {
            keys: BTreeMap::new(),
            pinned: Some(key),
        }
    }

    /// True when there is no key: every token is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.pinned.is_none()
    }

    /// Standing of the key that a token was verified with, which names its key as `named`: as [`Self::verify`] would find it.
    pub(crate) fn standing(&self, key: &[u8; 32], named: Option<u32>) -> Standing {
        let is_it =
            |held: &PublicKey| matches!(held, PublicKey::Ed25519(held) if held.to_bytes() == *key);
        if let Some(pinned) = &self.pinned {
            return match is_it(pinned) {
                true => Standing::Believed,
                false => Standing::Unknown,
            };
        }
        let found = match named {
            Some(id) => self
                .keys
                .get_key_value(&id)
                .filter(|(_, held)| is_it(&held.key)),
            None => self.tried().find(|(_, held)| is_it(&held.key)),
        };
        match found {
            Some((id, held)) if held.state == KeyState::Revoked => Standing::Revoked(*id),
            Some(_) => Standing::Believed,
            None => Standing::Unknown,
        }
    }

    /// Keys that are tried for a token that names none. The newest ids first: most tokens in use are young.
    fn tried(&self) -> impl Iterator<Item = (&u32, &Held)> {
        self.keys.iter().rev().take(TRIED_KEYS_MAX)
    }

    /// Verifies every signature of a token.
    pub(crate) fn verify(&self, token: &Token) -> Result<Signed, DenyReason> {
        self.verify_remembering(token, None)
    }

    /// Verifies every signature of a token, by the library, or those that are `shown` here: what is remembered costs nothing.
    pub(crate) fn verify_remembering(
        &self,
        token: &Token,
        shown: Option<&Shown<'_>>,
    ) -> Result<Signed, DenyReason> {
        if let Some(key) = self.pinned {
            return signed(token, shown, key, token.root_key_id()).ok_or(DenyReason::BadSignature);
        }
        match token.root_key_id() {
            Some(id) => self.verify_with(token, shown, id),
            None => self.try_all(token, shown),
        }
    }

    fn verify_with(
        &self,
        token: &Token,
        shown: Option<&Shown<'_>>,
        id: u32,
    ) -> Result<Signed, DenyReason> {
        let held = self
            .keys
            .get(&id)
            .ok_or(DenyReason::UnknownKey { key_id: id })?;
        if held.state == KeyState::Revoked {
            return Err(DenyReason::KeyRevoked { key_id: id });
        }
        signed(token, shown, held.key, Some(id)).ok_or(DenyReason::BadSignature)
    }

    fn try_all(&self, token: &Token, shown: Option<&Shown<'_>>) -> Result<Signed, DenyReason> {
        let mut verifying = self
            .tried()
            .filter_map(|(id, held)| Some((id, held, signed(token, shown, held.key, Some(*id))?)));
        match verifying.next() {
            Some((id, held, _)) if held.state == KeyState::Revoked => {
                Err(DenyReason::KeyRevoked { key_id: *id })
            }
            Some((_, _, signed)) => Ok(signed),
            None => Err(DenyReason::BadSignature),
        }
    }
}

/// Standing of a key in a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Believed,
    /// Revoked, under this id.
    Revoked(u32),
    /// Not found for the token.
    Unknown,
}

/// Proof that every signature of a token verifies, and with which key. Made by [`Keyring::verify`] only.
pub(crate) struct Signed {
    /// The library's proof; `None` when the signatures were verified without it.
    biscuit: Option<Biscuit>,
    key: [u8; 32],
    key_id: Option<u32>,
}

impl Signed {
    /// The library's form of the token, whose signatures it verifies if that was done without it. `None`: it does not
    /// agree.
    pub(crate) fn biscuit(&self, token: &Token) -> Option<Cow<'_, Biscuit>> {
        if let Some(biscuit) = &self.biscuit {
            return Some(Cow::Borrowed(biscuit));
        }
        let key = parse(&self.key).ok()?;
        let biscuit = token.biscuit().ok()?.clone().verify(key).ok()?;
        Some(Cow::Owned(biscuit))
    }

    /// Public half of the root key.
    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Id under which the keyring holds the key; of a pinned key the one that the token names.
    pub(crate) fn key_id(&self) -> Option<u32> {
        self.key_id
    }

    /// Id under which a feed knows the key; the one that the token names when the feed does not know it.
    pub(crate) fn id_in(&self, view: &View) -> Option<u32> {
        id_in(view, &self.key).or(self.key_id)
    }
}

/// Id under which a feed knows a key that signs tokens.
pub(crate) fn id_in(view: &View, key: &[u8; 32]) -> Option<u32> {
    let mut known = view.keys.values();
    known
        .find(|record| record.purpose == KeyPurpose::Token && record.public_key == *key)
        .map(|record| record.id)
}

fn signed(
    token: &Token,
    shown: Option<&Shown<'_>>,
    key: PublicKey,
    key_id: Option<u32>,
) -> Option<Signed> {
    let bytes = key.to_bytes().try_into().ok()?;
    let biscuit = match shown {
        Some(shown) => {
            shown.are_right(&bytes).then_some(())?;
            None
        }
        None => Some(token.biscuit().ok()?.clone().verify(key).ok()?),
    };
    Some(Signed {
        biscuit,
        key: bytes,
        key_id,
    })
}

fn parse(key: &[u8; 32]) -> Result<PublicKey, KeyError> {
    PublicKey::from_bytes(key, Algorithm::Ed25519).map_err(|_| KeyError::Bytes)
}

/// SPKI document in PEM form of an Ed25519 public key, as `/public_key` serves it.
///
/// # Errors
/// [`KeyError::Bytes`] when the bytes are not a key.
pub fn public_key_to_pem(key: &[u8; 32]) -> Result<String, KeyError> {
    parse(key)?.to_pem().map_err(|_| KeyError::Bytes)
}

/// Bytes of an Ed25519 public key in SPKI PEM form.
///
/// # Errors
/// [`KeyError::Pem`].
pub fn public_key_from_pem(pem: &str) -> Result<[u8; 32], KeyError> {
    let key =
        PublicKey::from_pem_with_algorithm(pem, Algorithm::Ed25519).map_err(|_| KeyError::Pem)?;
    key.to_bytes().try_into().map_err(|_| KeyError::Pem)
}
