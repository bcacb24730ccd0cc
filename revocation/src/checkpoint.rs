//! Checkpoint: the signed statement "complete through `revision`, as of `tick`".
//!
//! It names both roots, so a holder can take the entries or the rules from anyone and see that none is missing, added
//! or changed. This module makes and reads the bytes; keys and signatures are the caller's.

use crate::bytes::Reader;
use crate::{DecodeError, Epoch, FeedId, Hash, Revision, UnixMillis};

/// Domain of the bytes that are signed, so that no other signed message of a feed key can pass for a checkpoint.
const DOMAIN: &[u8] = b"hessra checkpoint v1\n";
/// Version that this crate makes and understands.
pub(crate) const VERSION: u8 = 1;

/// Statement that a feed key signs. Canonical bytes by [`Checkpoint::to_bytes`].
///
/// `tick` and `issued_at` are the instant at which the node *began* the quorum confirmation that this statement
/// rests on, on its monotonic and its wall clock. A node cut off from its quorum cannot move them, whatever it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Version, always 1; another is refused as made by a newer cluster.
    pub version: u8,
    /// Id of the feed.
    pub feed_id: FeedId,
    /// Number of the feed's history.
    pub epoch: Epoch,
    /// Revision up to which the roots hold everything.
    pub revision: Revision,
    /// [`View::log_root`](crate::View::log_root) at the revision.
    pub log_root: Hash,
    /// [`View::state_root`](crate::View::state_root) at the revision.
    pub state_root: Hash,
    /// [`View::keyset_version`](crate::View::keyset_version) at the revision.
    pub keyset_version: u64,
    /// Floor of the node: entries above this revision can be had from it as deltas.
    pub floor_revision: Revision,
    /// Wall clock of the quorum confirmation; for people and files.
    pub issued_at: UnixMillis,
    /// The node's monotonic clock at the quorum confirmation, in milliseconds; comparable with its own ticks only.
    pub tick_ms: u64,
    /// Time for which the cluster wants the statement to be relied upon, in milliseconds.
    pub fresh_for_ms: u32,
    /// Id of the node that made it.
    pub node: u64,
}

impl Checkpoint {
    /// Canonical bytes: a domain separator, then the fields in order, numbers big-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(170);
        bytes.extend(DOMAIN);
        bytes.push(self.version);
        bytes.extend(self.feed_id.0);
        bytes.extend(self.epoch.0.to_be_bytes());
        bytes.extend(self.revision.0.to_be_bytes());
        bytes.extend(self.log_root);
        bytes.extend(self.state_root);
        bytes.extend(self.keyset_version.to_be_bytes());
        bytes.extend(self.floor_revision.0.to_be_bytes());
        bytes.extend(self.issued_at.0.to_be_bytes());
        bytes.extend(self.tick_ms.to_be_bytes());
        bytes.extend(self.fresh_for_ms.to_be_bytes());
        bytes.extend(self.node.to_be_bytes());
        bytes
    }

    /// Reads the bytes that [`Self::to_bytes`] makes, and no others.
    ///
    /// # Errors
    /// [`DecodeError::Unknown`] for another version, the other kinds for bytes that no version makes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.expect(DOMAIN, DecodeError::Invalid("not a checkpoint"))?;
        let version = reader.u8()?;
        if version != VERSION {
            return Err(DecodeError::Unknown(version));
        }
        let checkpoint = Self {
            version,
            feed_id: FeedId(reader.array()?),
            epoch: Epoch(reader.u64()?),
            revision: Revision(reader.u64()?),
            log_root: reader.array()?,
            state_root: reader.array()?,
            keyset_version: reader.u64()?,
            floor_revision: Revision(reader.u64()?),
            issued_at: UnixMillis(reader.u64()?),
            tick_ms: reader.u64()?,
            fresh_for_ms: reader.u32()?,
            node: reader.u64()?,
        };
        reader.end()?;
        Ok(checkpoint)
    }
}

/// Checkpoint as it comes from a carrier: not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// Bytes of a [`Checkpoint`], as signed.
    pub body: Vec<u8>,
    /// Id of the feed key that signed.
    pub key_id: u32,
    /// Ed25519 over `body`.
    pub signature: [u8; 64],
}
