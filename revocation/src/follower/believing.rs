//! Trust in checkpoints: the keys that are believed, and the roots that a checkpoint must agree with.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::messages::{Action, Alarm, SignedWelcome, Welcome};
use super::trouble::{Trouble, fork_at, unreadable};
use crate::publisher::{FEED_KEYS_MAX, Nonce};
use crate::{Checkpoint, KeyState, SignedCheckpoint, Target, View};

/// Ed25519 (RFC 8032) verification; the cryptography lives with the driver.
pub trait VerifySignature {
    /// True when `signature` is by `public_key` over `message`. Verification must be strict.
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;
}

/// Grounds on which a follower believes a checkpoint: pinned keys, and the view that it holds.
pub(super) struct Trust<'a, V> {
    pub(super) verify: &'a V,
    pub(super) pinned: &'a BTreeMap<u32, [u8; 32]>,
    pub(super) view: Option<&'a View>,
}

impl<V: VerifySignature> Trust<'_, V> {
    /// Reads a checkpoint, if it is signed by a key that is believed and is about the feed of the welcome.
    pub(super) fn believe(
        &self,
        welcome: &Welcome,
        signed: &SignedCheckpoint,
    ) -> Result<Checkpoint, Trouble> {
        self.check_signature(welcome, signed.key_id, &signed.body, &signed.signature)?;
        let checkpoint = Checkpoint::from_bytes(&signed.body).map_err(unreadable)?;
        if checkpoint.feed_id != welcome.feed_id {
            let (expected, got) = (welcome.feed_id, checkpoint.feed_id);
            return Err(Trouble::Alarm(Alarm::OtherFeed { expected, got }));
        }
        Ok(checkpoint)
    }

    /// Returns the welcome, if it was signed for the stream of this nonce.
    pub(super) fn believe_welcome(
        &self,
        nonce: &Nonce,
        signed: SignedWelcome,
    ) -> Result<Welcome, Trouble> {
        let SignedWelcome {
            welcome,
            key_id,
            signature,
        } = signed;
        self.check_signature(&welcome, key_id, &welcome.to_bytes(nonce), &signature)?;
        Ok(welcome)
    }

    fn check_signature(
        &self,
        welcome: &Welcome,
        key_id: u32,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), Trouble> {
        let keys = self.trusted_keys(welcome);
        let key = keys
            .get(&key_id)
            .ok_or(Trouble::Alarm(Alarm::UnknownKey { key_id }))?;
        match self.verify.verify(key, message, signature) {
            true => Ok(()),
            false => Err(Trouble::Alarm(Alarm::Forged { key_id })),
        }
    }

    /// Keys to verify with: the pinned ones, and the feed's own keys once it has been followed; the welcome's only when
    /// there is nothing else. A key that the feed revoked is not believed even if it is pinned.
    fn trusted_keys(&self, welcome: &Welcome) -> BTreeMap<u32, [u8; 32]> {
        if self.view.is_none() && self.pinned.is_empty() {
            return welcome.feed_keys.clone();
        }
        self.introduced_keys()
    }

    /// Ids of believed keys, for the hello: a node that has rotated since signs with one of these first, and so
    /// introduces the newer ones. Empty = the welcome's keys are believed.
    pub(super) fn believed_keys(&self) -> Vec<u32> {
        let ids: Vec<u32> = self.introduced_keys().into_keys().collect();
        ids[ids.len().saturating_sub(FEED_KEYS_MAX)..].to_vec()
    }

    fn introduced_keys(&self) -> BTreeMap<u32, [u8; 32]> {
        let Some(view) = self.view else {
            return self.pinned.clone();
        };
        let mut keys = view.feed_keys();
        keys.extend(self.pinned);
        keys.retain(|id, _| {
            let is_revoked_by_rule = || {
                let target = Target::Key(*id);
                let digest = target.digest(view.set.salt());
                view.set.rule(target.kind(), &digest).is_some()
            };
            match view.keys.get(id) {
                Some(key) => key.state != KeyState::Revoked,
                // Forgotten, or never a key of this cluster.
                None => !is_revoked_by_rule(),
            }
        });
        keys
    }

    pub(super) fn refuse_the_past(&self, checkpoint: &Checkpoint) -> Result<(), Trouble> {
        let Some(view) = self.view else {
            return Ok(());
        };
        let (epoch, revision) = (checkpoint.epoch, checkpoint.revision);
        match (epoch, revision).cmp(&(view.epoch, view.revision)) {
            Ordering::Less => Err(Trouble::Alarm(Alarm::Rollback { epoch, revision })),
            Ordering::Equal => check_roots(view, checkpoint).map(|_| ()),
            Ordering::Greater => Ok(()),
        }
    }
}

/// Checks that the checkpoint is about this view, and returns the acknowledgement to send.
pub(super) fn check_roots(view: &View, checkpoint: &Checkpoint) -> Result<Action, Trouble> {
    let state_root = view.state_root();
    if view.log_root() != checkpoint.log_root || state_root != checkpoint.state_root {
        return Err(fork_at(checkpoint.revision));
    }
    Ok(Action::SendAck {
        revision: view.revision,
        state_root,
    })
}
