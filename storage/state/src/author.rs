//! Author of a command: an operator, who proves it, or a node, for one of its own duties.
//!
//! An operator's name is what its certificate says. Whether the proof is to be believed is asked by every member before it
//! acknowledges the entry; whether the author may do it is asked when the entry is applied, see [`crate::judge`].

use std::fmt;

use hessra_proof::Proof;
use sha2::{Digest as _, Sha256};

/// Author of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// Operator, with the proof of this very command.
    Operator(Proof),
    /// Node, for one of its own duties.
    Node {
        /// Id of the node.
        id: u64,
        /// Duty that it did.
        duty: Duty,
    },
}

/// Duty that a node does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Starts a cluster.
    Start,
    /// Removes what has ended.
    Collection,
    /// Replaces keys that are old.
    Rotation,
    /// Applies the policy of a followed repository.
    Repository,
    /// Spends and steps on for the holders of tokens.
    Holders,
    /// Makes the heads of its audit known.
    Witness,
    /// Makes its start known.
    Presence,
}

impl Duty {
    /// Every duty.
    pub const ALL: [Self; 7] = [
        Self::Start,
        Self::Collection,
        Self::Rotation,
        Self::Repository,
        Self::Holders,
        Self::Witness,
        Self::Presence,
    ];

    /// Name in records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Collection => "collection",
            Self::Rotation => "rotation",
            Self::Repository => "repository",
            Self::Holders => "holders",
            Self::Witness => "witness",
            Self::Presence => "presence",
        }
    }

    /// True for a duty that only the leader does.
    #[must_use]
    pub fn is_of_leader(self) -> bool {
        !matches!(self, Self::Holders | Self::Witness | Self::Presence)
    }
}

impl Author {
    /// Proof of an operator.
    #[must_use]
    pub fn proof(&self) -> Option<&Proof> {
        match self {
            Self::Operator(proof) => Some(proof),
            Self::Node { .. } => None,
        }
    }

    /// Digest of the command that the author has signed; zeros for a node, which signs none.
    #[must_use]
    pub fn signed(&self) -> [u8; 32] {
        self.proof()
            .map_or([0; 32], |proof| proof.statement().command)
    }

    /// Digest of author and content, which a request id is bound to: an id that is used again for something else, or by
    /// somebody else, is refused.
    #[must_use]
    pub fn binding(&self) -> [u8; 32] {
        let hash = Sha256::new_with_prefix(b"hessra request v1\n");
        let hash = match self {
            Self::Operator(proof) => hash
                .chain_update([0])
                .chain_update(proof.statement().command)
                .chain_update(proof.signer().name()),
            Self::Node { id, duty } => hash
                .chain_update([1])
                .chain_update(id.to_be_bytes())
                .chain_update(duty.word()),
        };
        hash.finalize().into()
    }
}

impl fmt::Display for Author {
    /// Name of the author where no policy says another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(proof) => f.write_str(proof.signer().name()),
            Self::Node { id, duty } => write!(f, "node {id} ({})", duty.word()),
        }
    }
}
