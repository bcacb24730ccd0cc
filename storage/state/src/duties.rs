//! Duties: which author makes which command. Nodes' own commands are a closed list.
//!
//! | command | author |
//! |---|---|
//! | `Init` | a node that starts the cluster; the state takes one |
//! | `Ask` | an operator; for the policy of a commit: a node that follows a repository |
//! | `Revoke`, `Lift`, `Undo`, `Approve`, `Cancel`, `Members`, `AcceptAuditLoss`, `SetClockBack` | an operator |
//! | `ApplyPolicy` | an operator; of a commit: a node that follows a repository |
//! | `Key` | an operator; `Prepare`, and `Activate` of a key that has been published: a node by its schedule |
//! | `Collect` | a node that leads |
//! | `Spend`, `Context` | a node, for the holder of a token that it has verified |
//! | `Witness` | a node, of its own audit: signed with the key of that node |
//! | `Started` | a node, of itself |
//! | `RaiseVersion` | nobody yet: no request asks for it |

use crate::author::{Author, Duty};
use crate::command::{Command, KeyCommand, PendingAction};
use crate::policy::PolicyOrigin;

impl Author {
    /// True when this kind of author makes this kind of command: the one table of it.
    #[must_use]
    pub fn makes(&self, command: &Command) -> bool {
        match self {
            Self::Operator(_) => is_of_operators(command),
            Self::Node { duty, .. } => duty_of(command) == Some(*duty),
        }
    }
}

fn is_of_operators(command: &Command) -> bool {
    match command {
        Command::Revoke(_)
        | Command::Lift(_)
        | Command::Undo(_)
        | Command::Key(_)
        | Command::Approve(_)
        | Command::Cancel(_)
        | Command::Members(_)
        | Command::AcceptAuditLoss { .. }
        | Command::SetClockBack { .. } => true,
        Command::ApplyPolicy { change, .. }
        | Command::Ask(PendingAction::ApplyPolicy { change, .. }) => matches!(
            change.origin,
            PolicyOrigin::Operator | PolicyOrigin::Rollback(_)
        ),
        Command::Ask(_) => true,
        Command::Init(_)
        | Command::Collect { .. }
        | Command::Spend(_)
        | Command::Context(_)
        | Command::Witness(_)
        | Command::Started(_)
        | Command::RaiseVersion(_) => false,
    }
}

/// Duty in which a node makes a command, when there is one.
#[must_use]
pub fn duty_of(command: &Command) -> Option<Duty> {
    match command {
        Command::Init(_) => Some(Duty::Start),
        Command::Collect { .. } => Some(Duty::Collection),
        Command::Spend(_) | Command::Context(_) => Some(Duty::Holders),
        Command::Witness(_) => Some(Duty::Witness),
        Command::Started(_) => Some(Duty::Presence),
        Command::ApplyPolicy { change, .. }
        | Command::Ask(PendingAction::ApplyPolicy { change, .. }) => {
            matches!(change.origin, PolicyOrigin::Git(_)).then_some(Duty::Repository)
        }
        // A node never retires, revokes, or lets a key sign that verifiers may not know.
        Command::Key(
            KeyCommand::Prepare(_)
            | KeyCommand::Activate {
                published_for_min: Some(_),
                instead_of: None,
                ..
            },
        ) => Some(Duty::Rotation),
        _ => None,
    }
}
