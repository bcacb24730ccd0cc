//! Versions of the state machine. New behaviour starts at a `RaiseVersion` entry, never at a binary's start: during a
//! rolling upgrade old and new binaries must make one state of one log.

use crate::{Command, Stamped};

/// Newest version that this binary can apply. A new state starts at version 1.
pub const NEWEST: u32 = 1;

/// Error of a log that only a newer binary can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log raises the state machine to version {needed}, this binary knows {NEWEST}: upgrade hessra-node on this machine"
)]
pub struct UpgradeNeeded {
    /// Version that the log asks for.
    pub needed: u32,
}

/// Checks that this binary can apply a command that is *committed*.
///
/// The store asks before [`crate::Machine::apply`] and stops the node when not. A refusal would be no answer there: a
/// newer binary applies the same entry, and the replicas would differ from then on.
///
/// # Errors
/// [`UpgradeNeeded`] for a `RaiseVersion` above [`NEWEST`].
pub fn supported(stamped: &Stamped) -> Result<(), UpgradeNeeded> {
    match stamped.command {
        Command::RaiseVersion(needed) if needed > NEWEST => Err(UpgradeNeeded { needed }),
        _ => Ok(()),
    }
}
