//! Judge of commands: says what their authors may.

use crate::command::Stamped;
use crate::pending::Pending;
use crate::refusal::Refusal;
use crate::state::State;

/// Says whether an author may make a command in a state. Given to the state machine with every command, so that all nodes
/// refuse the same: what it says must follow from its arguments alone.
pub trait Judge: Send + Sync {
    /// The author's name, as records of the state write it.
    ///
    /// # Errors
    /// The refusal: the author may not.
    fn judge(&self, state: &State, stamped: &Stamped) -> Result<String, Refusal>;

    /// True while the asker of a pending action has the right to it. One that has lost it ends.
    fn still_asks(&self, state: &State, pending: &Pending) -> bool;
}
