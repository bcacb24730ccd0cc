//! View: the content of a feed up to one revision.
//!
//! The authority's state and every verifier hold one, changed only by [`View::apply`], so equal revisions have equal
//! roots. A verifier may instead take a whole view from a carrier, [`View::from_snapshot`], and believes it only when
//! its roots are those of a signed checkpoint.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::bytes::Reader;
use crate::checkpoint::VERSION;
use crate::merkle::Frontier;
use crate::{
    Change, Checkpoint, DecodeError, Epoch, FeedEntry, FeedId, FeedSalt, Hash, KeyPurpose,
    KeyState, PublicKeyRecord, Revision, RevocationSet, UnixMillis,
};

/// Domain of `state_root`: the first bytes that are hashed.
const STATE_DOMAIN: &[u8] = b"hessra state v1\n";

/// Set, keys and position. Cheap to clone: rules are shared.
#[derive(Clone, Debug)]
pub struct View {
    /// Id of the feed.
    pub feed_id: FeedId,
    /// Number of the feed's history.
    pub epoch: Epoch,
    /// Newest revision that was applied.
    pub revision: Revision,
    /// All rules.
    pub set: RevocationSet,
    /// All keys that are not forgotten, by id.
    pub keys: BTreeMap<u32, PublicKeyRecord>,
    /// Version of the key set: +1 for every key entry.
    pub keyset_version: u64,
    /// Digest of the policy in force; zeros before the first.
    pub policy_digest: Hash,
    /// Right frontier over all entries; its size is the revision.
    pub log: Frontier,
}

impl View {
    /// Empty view, at revision 0.
    #[must_use]
    pub fn new(feed_id: FeedId, epoch: Epoch, salt: FeedSalt) -> Self {
        Self {
            feed_id,
            epoch,
            revision: Revision(0),
            set: RevocationSet::new(salt),
            keys: BTreeMap::new(),
            keyset_version: 0,
            policy_digest: [0; 32],
            log: Frontier::default(),
        }
    }

    /// Makes a view from parts that a carrier brought, if they are the ones that the checkpoint names.
    ///
    /// The caller must have verified the checkpoint: its roots are compared with those of the parts.
    ///
    /// # Errors
    /// [`ViewError::Root`] when a root differs.
    pub fn from_snapshot(
        checkpoint: &Checkpoint,
        set: RevocationSet,
        keys: BTreeMap<u32, PublicKeyRecord>,
        policy_digest: Hash,
        frontier: Vec<Hash>,
    ) -> Result<Self, ViewError> {
        let revision = checkpoint.revision;
        let view = Self {
            feed_id: checkpoint.feed_id,
            epoch: checkpoint.epoch,
            revision,
            set,
            keys,
            keyset_version: checkpoint.keyset_version,
            policy_digest,
            log: Frontier::from_parts(revision.0, frontier).ok_or(ViewError::Root { revision })?,
        };
        if view.log_root() == checkpoint.log_root && view.state_root() == checkpoint.state_root {
            Ok(view)
        } else {
            Err(ViewError::Root { revision })
        }
    }

    /// Applies the next revision.
    ///
    /// # Errors
    /// [`ViewError::Hole`] unless the entry is the next revision, [`ViewError::Epoch`] unless a restore raises the
    /// epoch. The view is then as it was.
    pub fn apply(&mut self, entry: &FeedEntry) -> Result<(), ViewError> {
        if entry.revision != self.revision.next() {
            return Err(ViewError::Hole {
                have: self.revision,
                got: entry.revision,
            });
        }
        match &entry.change {
            Change::Put(rule) => self.set.put(*rule),
            Change::Remove { kind, digest } => {
                self.set.remove(*kind, digest);
            }
            Change::Key(key) => {
                self.keys.insert(key.id, *key);
                self.keyset_version += 1;
            }
            Change::ForgetKey { id } => {
                self.keys.remove(id);
                self.keyset_version += 1;
            }
            Change::Policy { digest } => self.policy_digest = *digest,
            Change::Restore { epoch } if *epoch > self.epoch => self.epoch = *epoch,
            Change::Restore { epoch } => {
                return Err(ViewError::Epoch {
                    have: self.epoch,
                    got: *epoch,
                });
            }
        }
        self.revision = entry.revision;
        self.log.append(&entry.to_bytes());
        Ok(())
    }

    /// Root over everything in the view but the log. A snapshot from any carrier is checked against it.
    ///
    /// `SHA-256("hessra state v1\n", feed id, salt, epoch, revision, root of the rules, keyset version, policy digest,
    /// canonical key set)`, numbers big-endian; only the last part has no fixed length.
    #[must_use]
    pub fn state_root(&self) -> Hash {
        Sha256::new()
            .chain_update(STATE_DOMAIN)
            .chain_update(self.feed_id.0)
            .chain_update(self.set.salt().0)
            .chain_update(self.epoch.0.to_be_bytes())
            .chain_update(self.revision.0.to_be_bytes())
            .chain_update(self.set.root())
            .chain_update(self.keyset_version.to_be_bytes())
            .chain_update(self.policy_digest)
            .chain_update(self.keys_bytes())
            .finalize()
            .into()
    }

    /// RFC 6962 root over all entries since revision 1.
    #[must_use]
    pub fn log_root(&self) -> Hash {
        self.log.root()
    }

    /// Canonical key set: 38 bytes for each key, by ascending id.
    #[must_use]
    pub fn keys_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.keys.len() * 38);
        self.keys.values().for_each(|key| key.write(&mut bytes));
        bytes
    }

    /// Public feed keys whose checkpoints may be believed: all but the revoked ones.
    #[must_use]
    pub fn feed_keys(&self) -> BTreeMap<u32, [u8; 32]> {
        self.keys
            .values()
            .filter(|key| key.purpose == KeyPurpose::Feed && key.state != KeyState::Revoked)
            .map(|key| (key.id, key.public_key))
            .collect()
    }
}

/// Statement about a view: here and not beside the struct, which need not know what a view is.
impl Checkpoint {
    /// Makes the statement about a view.
    #[must_use]
    pub fn of(
        view: &View,
        floor: Revision,
        issued_at: UnixMillis,
        tick_ms: u64,
        fresh_for_ms: u32,
        node: u64,
    ) -> Self {
        Self {
            version: VERSION,
            feed_id: view.feed_id,
            epoch: view.epoch,
            revision: view.revision,
            log_root: view.log_root(),
            state_root: view.state_root(),
            keyset_version: view.keyset_version,
            floor_revision: floor,
            issued_at,
            tick_ms,
            fresh_for_ms,
            node,
        }
    }
}

/// Reads the bytes that [`View::keys_bytes`] makes, and no others.
///
/// # Errors
/// [`DecodeError`] when the bytes are not a canonical key set, [`DecodeError::Unknown`] when a newer cluster made it.
pub fn keys_from_bytes(bytes: &[u8]) -> Result<BTreeMap<u32, PublicKeyRecord>, DecodeError> {
    let mut keys = BTreeMap::new();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let key = PublicKeyRecord::read(&mut reader)?;
        if keys
            .last_key_value()
            .is_some_and(|(last, _)| *last >= key.id)
        {
            return Err(DecodeError::Invalid("keys are not in ascending order"));
        }
        keys.insert(key.id, key);
    }
    Ok(keys)
}

/// Error of an entry or a snapshot that was not applied; the view is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// A revision is missing, or came twice.
    #[error("revision {got} does not follow revision {have}: take the entries between them first")]
    Hole {
        /// Revision of the view.
        have: Revision,
        /// Revision of the entry.
        got: Revision,
    },
    /// A restore that does not raise the epoch.
    #[error(
        "epoch {got} does not follow epoch {have}: the restore was not made by this cluster's tools"
    )]
    Epoch {
        /// Epoch of the view.
        have: Epoch,
        /// Epoch of the entry.
        got: Epoch,
    },
    /// The parts are not what the checkpoint is about.
    #[error(
        "the snapshot is not what the checkpoint of revision {revision} is about: take it from another node"
    )]
    Root {
        /// Revision of the checkpoint.
        revision: Revision,
    },
}
