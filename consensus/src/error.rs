//! Errors of consensus: of starting it, of a write that was not acknowledged, of a linearizable answer that was not given.
//! One ladder: each becomes a [`Failure`], which the API shows as a gRPC status.

use std::time::Duration;

use hessra_proto::status::{Failure, Reason};

use crate::status::StopReason;

/// Error of consensus that could not be started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    #[error(
        "the timing of consensus is not usable: {0}. Set raft.heartbeat below raft.election_min below raft.election_max"
    )]
    Settings(String),
    #[error(
        "consensus could not be started from the data directory: {0}. Run `hessra doctor` on this node's directory, or replace the node"
    )]
    Storage(String),
}

/// Error of a write that was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum WriteError {
    /// Full lane, or no room: certainly not written.
    #[error("too many writes are waiting")]
    Overloaded,
    /// No leader: certainly not written. The write may be tried at the leader, with the same request ids.
    #[error("no leader is known, so nothing was written")]
    NoLeader,
    /// Unknown outcome: the write may be in the log now, later, or never.
    #[error("the cluster did not confirm the write in time: its outcome is unknown")]
    Unknown,
    /// Leader that takes no writes: certainly not written.
    #[error("the leader takes no writes: {0}")]
    NoRoom(String),
    /// Node whose clock is off: certainly not written.
    #[error("nothing was written: {0}")]
    ClockOff(String),
    /// Permission for a change of the members while another change is being made: certainly not written.
    #[error("another change of the members is being made, so nothing was written")]
    Changing,
    /// Command whose author is not proved: certainly not written.
    #[error("the command was not made: {0}")]
    Unproved(String),
    /// Audit that takes no record: certainly not written.
    #[error("nothing was written: {0}")]
    Unaudited(AuditError),
    #[error("consensus has stopped on this node: {0}")]
    Stopped(StopReason),
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let message = error.to_string();
        match error {
            WriteError::Overloaded => Failure::new(Reason::Limit, message)
                .hint("Try again in a second.")
                .retry_after(Duration::from_secs(1)),
            WriteError::NoLeader => Failure::new(Reason::NoLeader, message)
                .hint("Try again in a few seconds; `hessra status` shows which nodes answer.")
                .retry_after(Duration::from_secs(1)),
            WriteError::Unknown => Failure::new(Reason::Deadline, message).hint(
                "Retry with the same request id: it has one effect, and gets the first answer.",
            ),
            WriteError::NoRoom(_) => Failure::new(Reason::Unavailable, message)
                .hint("Make room on its disk; what is revoked stays denied meanwhile.")
                .retryable(false),
            WriteError::ClockOff(_) => Failure::new(Reason::ClockOff, message)
                .hint("Set its clock (NTP), or ask another node."),
            WriteError::Changing => Failure::new(Reason::Conflict, message)
                .hint("Wait until `hessra cluster members` shows it done, then try again."),
            WriteError::Unproved(_) => Failure::new(Reason::Unauthenticated, message)
                .hint("Sign it with the key of an operator's certificate that this cluster's `tls.client_ca` knows."),
            WriteError::Unaudited(_) => Failure::new(Reason::Unavailable, message)
                .hint("Ask another node, and make room on this one's disk or restart it."),
            WriteError::Stopped(_) => Failure::new(Reason::Unavailable, message)
                .hint("Ask another node; this one's log says why."),
        }
    }
}

/// Error of an audit record that cannot be written now; nothing that needs one is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum AuditError {
    #[error("too many requests wait for their audit record")]
    Full,
    #[error("this node can write no audit record: {0}")]
    Failing(String),
    #[error("the audit record was not written in time")]
    Late,
    #[error("this node is stopping")]
    Stopped,
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Failure::new(Reason::Unavailable, error.to_string())
            .hint("Make room on its disk or restart it; other nodes answer meanwhile.")
    }
}

/// Error of a linearizable answer that cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ReadError {
    #[error("no leader is known")]
    NoLeader,
    #[error("a quorum of the members could not be confirmed in time")]
    NoQuorum,
    #[error("consensus has stopped on this node: {0}")]
    Stopped(StopReason),
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        let reason = match error {
            ReadError::NoLeader => Reason::NoLeader,
            ReadError::NoQuorum | ReadError::Stopped(_) => Reason::Unavailable,
        };
        Failure::new(reason, message)
            .hint("Try again, or ask another node; `hessra status` shows which nodes answer.")
    }
}
