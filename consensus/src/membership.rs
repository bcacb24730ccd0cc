//! Changes of the members: add a learner, promote it, remove a member, hand leadership over.
//!
//! One change at a time, each through joint consensus. What may be changed is decided by [`check`], which is pure; the
//! leader's Raft handle does it (`raft/change.rs`).

use hessra_proto::status::{Failure, Reason};
use hessra_sled::Member;

use crate::error::AuditError;

mod check;

pub use check::{Situation, check};

/// A change of the members, or of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    AddLearner { id: u64, member: Member },
    Promote(u64),
    Remove(u64),
    TransferTo(u64),
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
    /// Missing audit record. Before the change: nothing was done. After it: it was done, and the answer is held back.
    #[error(transparent)]
    Unaudited(#[from] AuditError),
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let reason = match &error {
            ChangeError::Unaudited(error) => return error.clone().into(),
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
            _ => Self::Unavailable(format!(
                "the leader did not answer: {message}. See `hessra status`"
            )),
        }
    }
}
