//! Changes of the members: add a learner, promote it, remove a member, hand leadership over.
//!
//! One change at a time, each through joint consensus. What may be changed is decided by [`check`], which is pure; the
//! leader's Raft handle does it (`raft/change.rs`).

use hessra_proto::status::{Failure, Reason};
use hessra_sled::Member;
use hessra_state::{MemberChange, Refusal, RefusalCode};

use crate::error::WriteError;

mod check;
mod explained;

pub use check::{Situation, check};
pub(crate) use explained::is_explained;

/// A change of the members, or of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    AddLearner { id: u64, member: Member },
    Promote(u64),
    Remove(u64),
    TransferTo(u64),
}

impl From<&Change> for MemberChange {
    fn from(change: &Change) -> Self {
        match change {
            Change::AddLearner { id, member } => Self::Add {
                id: *id,
                peer_address: member.peer_address.clone(),
                public_address: member.public_address.clone(),
            },
            Change::Promote(id) => Self::Promote(*id),
            Change::Remove(id) => Self::Remove(*id),
            Change::TransferTo(id) => Self::TransferTo(*id),
        }
    }
}

impl From<&MemberChange> for Change {
    fn from(change: &MemberChange) -> Self {
        match change {
            MemberChange::Add {
                id,
                peer_address,
                public_address,
            } => Self::AddLearner {
                id: *id,
                member: Member {
                    peer_address: peer_address.clone(),
                    public_address: public_address.clone(),
                    incarnation: None,
                },
            },
            MemberChange::Promote(id) => Self::Promote(*id),
            MemberChange::Remove(id) => Self::Remove(*id),
            MemberChange::TransferTo(id) => Self::TransferTo(*id),
        }
    }
}

/// Error of a change of the members. Each variant with a text is a sentence that ends with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ChangeError {
    #[error("this node does not lead")]
    NotLeader,
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    QuorumLost(String),
    /// Change that may have happened, in part.
    #[error("{0}")]
    Unavailable(String),
    /// Permission for the change that was not written, see [`WriteError`].
    #[error(transparent)]
    NotWritten(#[from] WriteError),
    /// Operator that may not change the members.
    #[error("{0}")]
    NotPermitted(String),
}

impl From<Refusal> for ChangeError {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            RefusalCode::NotPermitted | RefusalCode::SecondPerson => {
                Self::NotPermitted(refusal.message)
            }
            RefusalCode::NotInitialized => Self::Unavailable(refusal.message),
            _ => Self::Conflict(refusal.message),
        }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let reason = match &error {
            ChangeError::NotWritten(error) => return error.clone().into(),
            ChangeError::NotPermitted(_) => Reason::NotPermitted,
            ChangeError::NotLeader => Reason::NoLeader,
            ChangeError::Invalid(_) => Reason::InvalidArgument,
            ChangeError::NotFound(_) => Reason::NotFound,
            ChangeError::Conflict(_) => Reason::Conflict,
            ChangeError::QuorumLost(_) => Reason::QuorumLost,
            ChangeError::Unavailable(_) => Reason::Unavailable,
        };
        Failure::new(reason, error.to_string())
    }
}

impl From<Failure> for ChangeError {
    /// Error of a change that the leader refused to another member.
    fn from(failure: Failure) -> Self {
        let Failure {
            reason, message, ..
        } = failure;
        match reason {
            Reason::NoLeader => Self::NotLeader,
            Reason::InvalidArgument => Self::Invalid(message),
            Reason::NotFound => Self::NotFound(message),
            Reason::Conflict => Self::Conflict(message),
            Reason::QuorumLost => Self::QuorumLost(message),
            Reason::NotPermitted => Self::NotPermitted(message),
            _ => Self::Unavailable(format!(
                "the leader did not answer: {message}. See `hessra status`"
            )),
        }
    }
}
