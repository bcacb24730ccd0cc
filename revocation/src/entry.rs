//! Log of the feed: one entry per revision, with everything a verifier needs, in one order.
//!
//! Canonical bytes, all numbers big-endian: `revision u64, at u64, variant u8`, then by variant: 1 put: a canonical
//! rule; 2 remove: `kind u8, digest 16`; 3 key: a canonical key (38 bytes); 4 policy: `digest 32`; 5 restore: `epoch
//! u64`; 6 forget key: `id u32`. An entry has exactly one encoding, and anything else is refused: the bytes are leaves
//! of `log_root`.

use crate::bytes::Reader;
use crate::decode_error::DecodeError;
use crate::{Digest, Epoch, Hash, Revision, Rule, RuleKind, UnixSeconds};

/// Purpose of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyPurpose {
    /// Signs tokens; its id is the `root_key_id` of a token.
    Token,
    /// Signs checkpoints.
    Feed,
    /// Signs checkpoints of the audit trail.
    Audit,
}

impl KeyPurpose {
    /// All purposes, in order.
    pub const ALL: [Self; 3] = [Self::Token, Self::Feed, Self::Audit];

    /// Word for people and programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Feed => "feed",
            Self::Audit => "audit",
        }
    }
}

/// State of a key, in SPIRE's words. Prepared, active and retired token keys verify; revoked ones do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// Known everywhere, does not sign yet.
    Prepared,
    /// Signs.
    Active,
    /// Signs no longer; its signatures stand.
    Retired,
    /// None of its signatures stand.
    Revoked,
}

impl KeyState {
    /// All states, in the order of a key's life.
    pub const ALL: [Self; 4] = [Self::Prepared, Self::Active, Self::Retired, Self::Revoked];

    /// Word for people and programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }
}

/// Public half of a key, as the feed carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKeyRecord {
    /// Key id; unique over all purposes.
    pub id: u32,
    /// Purpose of the key.
    pub purpose: KeyPurpose,
    /// State of the key.
    pub state: KeyState,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
}

impl PublicKeyRecord {
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.id.to_be_bytes());
        to.push(match self.purpose {
            KeyPurpose::Token => 1,
            KeyPurpose::Feed => 2,
            KeyPurpose::Audit => 3,
        });
        to.push(match self.state {
            KeyState::Prepared => 1,
            KeyState::Active => 2,
            KeyState::Retired => 3,
            KeyState::Revoked => 4,
        });
        to.extend(self.public_key);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id = reader.u32()?;
        let purpose = match reader.u8()? {
            1 => KeyPurpose::Token,
            2 => KeyPurpose::Feed,
            3 => KeyPurpose::Audit,
            other => return Err(DecodeError::Unknown(other)),
        };
        let state = match reader.u8()? {
            1 => KeyState::Prepared,
            2 => KeyState::Active,
            3 => KeyState::Retired,
            4 => KeyState::Revoked,
            other => return Err(DecodeError::Unknown(other)),
        };
        Ok(Self {
            id,
            purpose,
            state,
            public_key: reader.array()?,
        })
    }
}

/// Change that one revision makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Puts a rule in the place of the one with its kind and digest.
    Put(Rule),
    /// Removes a rule: a lift, or garbage collection.
    Remove {
        /// Kind of the rule.
        kind: RuleKind,
        /// Digest of the rule.
        digest: Digest,
    },
    /// Puts a key in the place of the one with its id.
    Key(PublicKeyRecord),
    /// Puts another policy in force.
    Policy {
        /// SHA-256 of the policy's texts.
        digest: Hash,
    },
    /// Forgets a retired key: all tokens that it signed have expired.
    ForgetKey {
        /// Id of the key; never used again.
        id: u32,
    },
    /// Begins a new epoch: a backup was restored.
    Restore {
        /// Epoch that begins; above the one before.
        epoch: Epoch,
    },
}

impl Change {
    fn variant(&self) -> u8 {
        match self {
            Self::Put(_) => 1,
            Self::Remove { .. } => 2,
            Self::Key(_) => 3,
            Self::Policy { .. } => 4,
            Self::Restore { .. } => 5,
            Self::ForgetKey { .. } => 6,
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.push(self.variant());
        match self {
            Self::Put(rule) => rule.write(to),
            Self::Remove { kind, digest } => {
                to.push(kind.number());
                to.extend(digest.0);
            }
            Self::Key(key) => key.write(to),
            Self::Policy { digest } => to.extend(digest),
            Self::Restore { epoch } => to.extend(epoch.0.to_be_bytes()),
            Self::ForgetKey { id } => to.extend(id.to_be_bytes()),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Rule::read(reader).map(Self::Put),
            2 => Ok(Self::Remove {
                kind: RuleKind::from_number(reader.u8()?),
                digest: Digest(reader.array()?),
            }),
            3 => PublicKeyRecord::read(reader).map(Self::Key),
            4 => Ok(Self::Policy {
                digest: reader.array()?,
            }),
            5 => Ok(Self::Restore {
                epoch: Epoch(reader.u64()?),
            }),
            6 => Ok(Self::ForgetKey { id: reader.u32()? }),
            other => Err(DecodeError::Unknown(other)),
        }
    }
}

/// Entry of the feed: one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Position in the feed.
    pub revision: Revision,
    /// Clock of the state when the change was accepted. For people; nothing is decided by it.
    pub at: UnixSeconds,
    /// Change that was made.
    pub change: Change,
}

impl FeedEntry {
    /// Canonical bytes: the leaf of `log_root`, as carried by the wire and the disk. At most 55 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(55);
        bytes.extend(self.revision.0.to_be_bytes());
        bytes.extend(self.at.0.to_be_bytes());
        self.change.write(&mut bytes);
        bytes
    }

    /// Reads the bytes that [`Self::to_bytes`] makes, and no others.
    ///
    /// # Errors
    /// [`DecodeError::Unknown`] when a newer cluster made them; the other kinds when no cluster did.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let revision = Revision(reader.u64()?);
        let at = UnixSeconds(reader.u64()?);
        let change = Change::read(&mut reader)?;
        reader.end()?;
        Ok(Self {
            revision,
            at,
            change,
        })
    }
}
