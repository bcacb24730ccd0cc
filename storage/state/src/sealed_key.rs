//! Key as the state holds it: public half, sealed private half, and state.

use std::fmt;

use hessra_revocation::{KeyPurpose, KeyState, PublicKeyRecord, Revision, UnixMillis};

use crate::limits::RETIRED_KEPT_MILLIS;

/// Key as the state holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// Id of the key in tokens and checkpoints.
    pub id: u32,
    /// Purpose of the key.
    pub purpose: KeyPurpose,
    /// State of the key.
    pub state: KeyState,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
    /// Envelope of the private half, opaque here; empty once nothing is signed with it any more.
    pub sealed: Vec<u8>,
    /// Revision at which it got its state. Ignored in commands.
    pub changed_at: Revision,
    /// Clock of the state when it was first published. Ignored in commands.
    pub published: UnixMillis,
    /// Clock of the state when it got its state. Ignored in commands.
    pub since: UnixMillis,
}

impl SealedKey {
    /// Key for a command: the state fills in when it was published and changed.
    #[must_use]
    pub fn new(key: PublicKeyRecord, sealed: Vec<u8>) -> Self {
        Self {
            id: key.id,
            purpose: key.purpose,
            state: key.state,
            public_key: key.public_key,
            sealed,
            changed_at: Revision(0),
            published: UnixMillis(0),
            since: UnixMillis(0),
        }
    }

    /// Public half, as the feed carries it.
    #[must_use]
    pub fn public(&self) -> PublicKeyRecord {
        PublicKeyRecord {
            id: self.id,
            purpose: self.purpose,
            state: self.state,
            public_key: self.public_key,
        }
    }

    /// True while the private half is still needed. A retired feed key introduces its successors to verifiers that were
    /// away; any other key that signs no more has no use for it, and what is not kept cannot be stolen.
    #[must_use]
    pub fn needs_private_half(&self) -> bool {
        match self.state {
            KeyState::Prepared | KeyState::Active => true,
            KeyState::Retired => self.purpose == KeyPurpose::Feed,
            KeyState::Revoked => false,
        }
    }

    /// Clock of the state from which on a retired key is forgotten: all tokens that it signed have expired. `None`:
    /// never. A revoked key is remembered for ever, so that nobody who pinned it believes it again; an audit key, so
    /// that the audit trail of years ago can be verified.
    #[must_use]
    pub fn forgotten_from(&self) -> Option<UnixMillis> {
        let ends = self.state == KeyState::Retired && self.purpose != KeyPurpose::Audit;
        ends.then(|| UnixMillis(self.since.0.saturating_add(RETIRED_KEPT_MILLIS)))
    }

    pub(crate) fn with_state(&self, state: KeyState) -> Self {
        let mut next = Self {
            state,
            ..self.clone()
        };
        if !next.needs_private_half() {
            next.sealed = Vec::new();
        }
        next
    }
}

/// Shows not even the sealed half: an envelope in a log line outlives the key that opens it.
impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey")
            .field("id", &self.id)
            .field("purpose", &self.purpose)
            .field("state", &self.state)
            .field("changed_at", &self.changed_at)
            .finish_non_exhaustive()
    }
}
