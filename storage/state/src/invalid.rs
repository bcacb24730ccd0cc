//! Invalid records: the error of a state that cannot be rebuilt.

use crate::version::NEWEST;

/// Error of records that do not make a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecords {
    /// Records that contradict each other.
    #[error(
        "the stored state contradicts itself: {0}; restore this node from another node's snapshot"
    )]
    Invalid(String),
    /// Records of a newer binary.
    #[error(
        "the stored state has version {found}, this binary knows {NEWEST}: upgrade hessra-node on this machine"
    )]
    Upgrade {
        /// Version, or format of the epoch, that is not known here.
        found: u32,
    },
}

pub(crate) fn require(
    holds: bool,
    otherwise: impl FnOnce() -> String,
) -> Result<(), InvalidRecords> {
    if holds {
        Ok(())
    } else {
        Err(InvalidRecords::Invalid(otherwise()))
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> InvalidRecords {
    InvalidRecords::Invalid(message.into())
}
