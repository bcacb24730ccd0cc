//! Unsealed keys that sign tokens, and checkpoints of the feed and of the audit trail.
//!
//! [`Keyholder`] opens the active key of each purpose with the key-encryption key whenever the state's keys change, and
//! holds it in memory that is zeroed when dropped. [`TokenSigner`] and [`ActiveSigner`] are what minting, the feed and
//! the audit trail get: bytes in, signature out, never a private key, so that a hardware module or a threshold of nodes
//! can stand in their place.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use ed25519_dalek::{Signer as _, SigningKey};
use tracing::{error, info};

use hessra_revocation::{KeyPurpose, KeyState};
use hessra_sdk_core::{Signer, SignerError};
use hessra_state::{SealedKey, State};

use crate::seal::{KeyEncryptionKey, SealError};

/// Why nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SigningError {
    #[error("no key of this purpose is active yet")]
    NoActiveKey,
    #[error("{0}")]
    Sealed(String),
}

/// The active keys of this node, unsealed. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Keyholder {
    shared: Arc<Shared>,
}

struct Shared {
    kek: KeyEncryptionKey,
    token: ArcSwap<Slot>,
    feed: ArcSwap<Slot>,
    audit: ArcSwap<Slot>,
    /// Held while following, so that two states are never taken over at once.
    following: Mutex<()>,
}

/// The place of one active key.
enum Slot {
    Empty,
    Open(ActiveKey),
    Sealed {
        id: u32,
        public_key: [u8; 32],
        reason: SealError,
    },
}

struct ActiveKey {
    id: u32,
    public_key: [u8; 32],
    signing: SigningKey,
}

impl Keyholder {
    /// Holds no key until it follows a state.
    #[must_use]
    pub fn new(kek: KeyEncryptionKey) -> Self {
        let empty = || ArcSwap::from_pointee(Slot::Empty);
        Self {
            shared: Arc::new(Shared {
                kek,
                token: empty(),
                feed: empty(),
                audit: empty(),
                following: Mutex::new(()),
            }),
        }
    }

    /// Takes over the active keys of a state. Cheap when they have not changed.
    pub fn follow(&self, state: &State) {
        let _one_at_a_time = self
            .shared
            .following
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for purpose in KeyPurpose::ALL {
            self.follow_purpose(state, purpose, self.shared.slot(purpose));
        }
    }

    fn follow_purpose(&self, state: &State, purpose: KeyPurpose, slot: &ArcSwap<Slot>) {
        let active = active_key(state, purpose);
        if active.map(|key| (key.id, key.public_key)) == slot.load().holds() {
            return;
        }
        slot.store(Arc::new(active.map_or(Slot::Empty, |key| self.open(key))));
    }

    fn open(&self, key: &SealedKey) -> Slot {
        match self.shared.kek.open(key) {
            Ok(signing) => {
                info!(key = key.id, purpose = ?key.purpose, "key in use");
                Slot::Open(ActiveKey {
                    id: key.id,
                    public_key: key.public_key,
                    signing,
                })
            }
            Err(reason) => {
                error!(key = key.id, purpose = ?key.purpose, %reason, "key stays sealed");
                Slot::Sealed {
                    id: key.id,
                    public_key: key.public_key,
                    reason,
                }
            }
        }
    }

    /// Why this node cannot sign with a key that is active; `None` when all is well or nothing is active yet.
    #[must_use]
    pub fn sealed(&self) -> Option<String> {
        KeyPurpose::ALL
            .into_iter()
            .find_map(|purpose| match &**self.shared.slot(purpose).load() {
                Slot::Sealed { reason, .. } => Some(reason.to_string()),
                Slot::Empty | Slot::Open(_) => None,
            })
    }

    /// Signs tokens with the key that is active now; a later change of keys does not reach the signer.
    ///
    /// # Errors
    /// No active token key, or one that the key-encryption key does not open.
    pub fn token_signer(&self) -> Result<TokenSigner, SigningError> {
        let slot = self.shared.token.load_full();
        slot.active()?;
        Ok(TokenSigner { slot })
    }

    /// Signs with whichever key of a purpose is active at the time, following changes of keys.
    #[must_use]
    pub fn signer(&self, purpose: KeyPurpose) -> ActiveSigner {
        ActiveSigner {
            shared: Arc::clone(&self.shared),
            purpose,
        }
    }
}

impl Shared {
    fn slot(&self, purpose: KeyPurpose) -> &ArcSwap<Slot> {
        match purpose {
            KeyPurpose::Token => &self.token,
            KeyPurpose::Feed => &self.feed,
            KeyPurpose::Audit => &self.audit,
        }
    }
}

impl Slot {
    fn active(&self) -> Result<&ActiveKey, SigningError> {
        match self {
            Slot::Open(key) => Ok(key),
            Slot::Empty => Err(SigningError::NoActiveKey),
            Slot::Sealed { reason, .. } => Err(SigningError::Sealed(reason.to_string())),
        }
    }

    /// Which key this place is about, opened or not.
    fn holds(&self) -> Option<(u32, [u8; 32])> {
        match self {
            Slot::Empty => None,
            Slot::Open(key) => Some((key.id, key.public_key)),
            Slot::Sealed { id, public_key, .. } => Some((*id, *public_key)),
        }
    }
}

/// The active key of a purpose; the newest, should there be two.
#[must_use]
pub fn active_key(state: &State, purpose: KeyPurpose) -> Option<&SealedKey> {
    state
        .keys()
        .values()
        .rev()
        .find(|key| key.purpose == purpose && key.state == KeyState::Active)
}

/// One token-signing key.
pub struct TokenSigner {
    slot: Arc<Slot>,
}

impl TokenSigner {
    fn key(&self) -> &ActiveKey {
        self.slot
            .active()
            .expect("a signer is made from an open slot, and slots do not change")
    }
}

impl Signer for TokenSigner {
    fn key_id(&self) -> u32 {
        self.key().id
    }

    fn public_key(&self) -> [u8; 32] {
        self.key().public_key
    }

    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.key().signing.sign(payload).to_bytes())
    }
}

/// Signs statements with the active key of one purpose; follows the state.
#[derive(Clone)]
pub struct ActiveSigner {
    shared: Arc<Shared>,
    purpose: KeyPurpose,
}

impl ActiveSigner {
    /// The id of the key, and its Ed25519 signature over the bytes. What is signed must name its own domain in its first
    /// bytes, so that a statement of one kind is never one of another.
    ///
    /// # Errors
    /// No active key of the purpose, or one that the key-encryption key does not open.
    pub fn sign(&self, bytes: &[u8]) -> Result<(u32, [u8; 64]), SigningError> {
        let slot = self.shared.slot(self.purpose).load();
        let key = slot.active()?;
        Ok((key.id, key.signing.sign(bytes).to_bytes()))
    }
}
