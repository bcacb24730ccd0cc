//! Feed keys that sign no more, except to introduce their successors.
//!
//! A verifier that was away while keys rotated knows only an older key. What it is sent first is signed with that one,
//! and tells it of the newer ones. The private halves come from the state, where retired feed keys keep them for a
//! month. A revoked key introduces nothing: whoever stole it could, too. A verifier that knows no other fails closed, with an
//! alarm that says what to do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hessra_revocation::{KeyPurpose, KeyState};
use hessra_state::{SealedKey, State};

use super::active::ActiveKey;

/// Keys kept open at most: one per rotation that verifiers may still have missed.
const OPEN_MAX: usize = 16;

#[derive(Default)]
pub(super) struct FormerFeedKeys {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    open: BTreeMap<u32, Arc<ActiveKey>>,
    sealed: BTreeMap<u32, SealedKey>,
}

impl FormerFeedKeys {
    /// Keeps a key that was active until now.
    pub(super) fn keep(&self, key: Arc<ActiveKey>) {
        self.lock().keep(key);
    }

    /// Takes over the retired feed keys of a state, and drops every other, open ones too.
    pub(super) fn follow(&self, state: &State) {
        let is_former = |key: &&SealedKey| {
            key.purpose == KeyPurpose::Feed
                && key.state == KeyState::Retired
                && !key.sealed.is_empty()
        };
        let former = state.keys().values().filter(is_former);
        let former: BTreeMap<u32, SealedKey> = former.map(|key| (key.id, key.clone())).collect();
        let mut kept = self.lock();
        kept.open.retain(|id, open| {
            let known = former.get(id);
            known.is_some_and(|known| known.public_key == open.public_key)
        });
        kept.sealed = former;
    }

    /// The newest former key that is known and can be opened.
    pub(super) fn newest(
        &self,
        known: &dyn Fn(u32) -> bool,
        open: impl Fn(&SealedKey) -> Option<ActiveKey>,
    ) -> Option<Arc<ActiveKey>> {
        let mut kept = self.lock();
        let ids = kept.open.keys().chain(kept.sealed.keys()).copied();
        let id = ids.filter(|id| known(*id)).max()?;
        if let Some(key) = kept.open.get(&id) {
            return Some(Arc::clone(key));
        }
        let key = Arc::new(open(kept.sealed.get(&id)?)?);
        kept.keep(Arc::clone(&key));
        Some(key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, key: Arc<ActiveKey>) {
        self.open.insert(key.id, key);
        while self.open.len() > OPEN_MAX {
            self.open.pop_first();
        }
    }
}
