//! Unsealed keys that sign tokens, and checkpoints of the feed and of the audit trail.
//!
//! [`Keyholder`] opens the active key of each purpose with the key-encryption key whenever the state's keys change, and
//! holds it in memory that is zeroed when dropped. Whoever signs brings the state, or is made with the source of it, and the
//! keys follow it first: no key signs once its revocation is applied on this node. [`TokenSigner`] and [`ActiveSigner`] are what minting, the feed and
//! the audit trail get: bytes in, signature out, never a private key, so that a hardware module or a threshold of nodes
//! can stand in their place.
//!
//! A verifier believes a feed key because an older one has introduced it. So older feed keys, until they are revoked, still
//! sign for those who know nothing newer, see [`CheckpointSigner`] and [`retired`].

mod active;
mod retired;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tracing::{error, info};

use hessra_consensus::feed::{CheckpointSigner, SigningError};
use hessra_revocation::{Epoch, FeedId, KeyPurpose, KeyState, View};
use hessra_sdk_core::{LocalKey, Signer, SignerError};
use hessra_sled::Published;
use hessra_state::{SealedKey, State};
use tokio::sync::watch;

use crate::seal::{KekRing, SealError};
use active::ActiveKey;
use retired::FormerFeedKeys;

/// The active keys of this node, unsealed. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Keyholder {
    shared: Arc<Shared>,
}

struct Shared {
    keks: KekRing,
    token: ArcSwap<Slot>,
    feed: ArcSwap<Slot>,
    audit: ArcSwap<Slot>,
    former: FormerFeedKeys,
    /// The key set that was taken over last. Held while following, so that two states are never taken over at once.
    following: Mutex<Option<KeySet>>,
}

/// Name of a set of keys: equal names, equal public halves.
pub(crate) type KeySet = (FeedId, Epoch, u64);

/// Name of the keys of a view.
pub(crate) fn keyset_of(view: &View) -> KeySet {
    (view.feed_id, view.epoch, view.keyset_version)
}

/// The place of one active key.
enum Slot {
    Empty,
    Open(Arc<ActiveKey>),
    Sealed { key: SealedKey, reason: SealError },
}

impl Keyholder {
    /// A holder of no key, until it follows a state.
    #[must_use]
    pub fn new(keks: KekRing) -> Self {
        let empty = || ArcSwap::from_pointee(Slot::Empty);
        Self {
            shared: Arc::new(Shared {
                keks,
                token: empty(),
                feed: empty(),
                audit: empty(),
                former: FormerFeedKeys::default(),
                following: Mutex::new(None),
            }),
        }
    }

    /// The key-encryption keys that it opens keys with.
    #[must_use]
    pub fn keks(&self) -> &KekRing {
        &self.shared.keks
    }

    /// Takes over the keys of a state, unless those of a later one were. Cheap when they have not changed.
    pub fn follow(&self, state: &State) {
        let mut following = self
            .shared
            .following
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let view = state.view();
        let keys = Some(keyset_of(view));
        // Several follow, and one that lags must not bring back a key that was revoked since.
        let is_later = |(feed, epoch, version): KeySet| {
            feed == view.feed_id && (epoch, version) > (view.epoch, view.keyset_version)
        };
        if following.is_some_and(is_later) {
            return;
        }
        // A key that stays sealed may have another envelope, which is no change of the set.
        if *following == keys && self.sealed().is_none() {
            return;
        }
        for purpose in KeyPurpose::ALL {
            self.follow_purpose(state, purpose, self.shared.slot(purpose));
        }
        self.shared.former.follow(state);
        *following = keys;
    }

    fn follow_purpose(&self, state: &State, purpose: KeyPurpose, slot: &ArcSwap<Slot>) {
        let active = active_key(state, purpose);
        let before = slot.load_full();
        if before.is_about(active) {
            return;
        }
        if let (Slot::Open(key), KeyPurpose::Feed) = (&*before, purpose) {
            self.shared.former.keep(Arc::clone(key));
        }
        slot.store(Arc::new(active.map_or(Slot::Empty, |key| self.open(key))));
    }

    fn open(&self, key: &SealedKey) -> Slot {
        match self.shared.open(key) {
            Ok(opened) => {
                info!(key = key.id, purpose = key.purpose.word(), "key in use");
                Slot::Open(Arc::new(opened))
            }
            Err(reason) => {
                error!(key = key.id, purpose = key.purpose.word(), %reason, "key stays sealed");
                Slot::Sealed {
                    key: key.clone(),
                    reason,
                }
            }
        }
    }

    /// Reason for which this node cannot sign with a key that is active; `None` when all is well or nothing is active
    /// yet.
    #[must_use]
    pub fn sealed(&self) -> Option<String> {
        KeyPurpose::ALL
            .into_iter()
            .find_map(|purpose| match &**self.shared.slot(purpose).load() {
                Slot::Sealed { reason, .. } => Some(reason.to_string()),
                Slot::Empty | Slot::Open(_) => None,
            })
    }

    /// A signer of tokens with the key that is active in this state, or a later one; a change of keys after that does not
    /// reach it.
    ///
    /// # Errors
    /// No active token key, or one that the key-encryption key does not open.
    pub fn token_signer(&self, state: &State) -> Result<TokenSigner, SigningError> {
        self.follow(state);
        let key = Arc::clone(self.shared.token.load().active()?);
        Ok(TokenSigner { key })
    }

    /// A signer with the key of a purpose that is active in the newest state.
    #[must_use]
    pub fn signer(
        &self,
        purpose: KeyPurpose,
        published: watch::Receiver<Arc<Published>>,
    ) -> ActiveSigner {
        ActiveSigner {
            keys: self.clone(),
            purpose,
            published,
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

    fn open(&self, key: &SealedKey) -> Result<ActiveKey, SealError> {
        let signing = self.keks.open(key)?;
        let for_tokens =
            (key.purpose == KeyPurpose::Token).then(|| LocalKey::new(signing.as_bytes()));
        Ok(ActiveKey {
            id: key.id,
            public_key: key.public_key,
            signing,
            for_tokens,
        })
    }
}

impl Slot {
    fn active(&self) -> Result<&Arc<ActiveKey>, SigningError> {
        match self {
            Slot::Open(key) => Ok(key),
            Slot::Empty => Err(SigningError::NoActiveKey),
            Slot::Sealed { reason, .. } => Err(SigningError::Sealed(reason.to_string())),
        }
    }

    /// True when nothing is to be done for this key. One that stayed sealed is tried again in another envelope.
    fn is_about(&self, active: Option<&SealedKey>) -> bool {
        match (self, active) {
            (Slot::Empty, None) => true,
            (Slot::Open(open), Some(key)) => (open.id, open.public_key) == (key.id, key.public_key),
            (Slot::Sealed { key: sealed, .. }, Some(key)) => {
                sealed.public_key == key.public_key && sealed.sealed == key.sealed
            }
            _ => false,
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
    key: Arc<ActiveKey>,
}

impl Signer for TokenSigner {
    fn key_id(&self) -> u32 {
        self.key.id
    }

    fn public_key(&self) -> [u8; 32] {
        self.key.public_key
    }

    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.key.sign(payload).1)
    }

    fn local(&self) -> Option<&LocalKey> {
        self.key.for_tokens.as_ref()
    }
}

/// A signer of statements with the active key of one purpose; follows the state before each.
#[derive(Clone)]
pub struct ActiveSigner {
    keys: Keyholder,
    purpose: KeyPurpose,
    published: watch::Receiver<Arc<Published>>,
}

impl ActiveSigner {
    /// The id of the key, and its Ed25519 signature over the bytes. What is signed must name its own domain in its first
    /// bytes, so that a statement of one kind is never one of another.
    ///
    /// # Errors
    /// No active key of the purpose, or one that the key-encryption key does not open.
    pub fn sign(&self, bytes: &[u8]) -> Result<(u32, [u8; 64]), SigningError> {
        Ok(self.slot().active()?.sign(bytes))
    }
}

impl ActiveSigner {
    fn slot(&self) -> Arc<Slot> {
        let state = Arc::clone(&self.published.borrow().state);
        self.keys.follow(&state);
        self.keys.shared.slot(self.purpose).load_full()
    }
}

impl CheckpointSigner for ActiveSigner {
    /// Signs with the active key if it is one of the known, else with the newest former feed key that is, else with the
    /// active key after all.
    fn sign(
        &self,
        bytes: &[u8],
        known: &dyn Fn(u32) -> bool,
    ) -> Result<(u32, [u8; 64]), SigningError> {
        let slot = self.slot();
        let active = slot.active()?;
        if known(active.id) || self.purpose != KeyPurpose::Feed {
            return Ok(active.sign(bytes));
        }
        let shared = &self.keys.shared;
        let former = shared.former.newest(known, |key| shared.open(key).ok());
        Ok(former.as_ref().unwrap_or(active).sign(bytes))
    }
}
