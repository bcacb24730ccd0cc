//! Statements: what an operator signs, made of the command that stands in the log.
//!
//! The operator's machine makes the same statement of its request (`hessra_proto::statement`); the two must be equal byte by
//! byte, or the signature does not fit the command.

use hessra_proto::statement::{digest, text_digest};
use hessra_proto::v1::log::{self, statement::Asks};
use hessra_revocation::Revision;
use hessra_state::{Command, KeyCommand, PendingAction, Policy, PolicyChange, PolicyOrigin};

use super::key::encode_purpose;
use super::members::encode_member_change;
use super::pending::{encode_approval, encode_name};
use super::revoke::{encode_lift, encode_revoke, encode_undo};

/// Digest of what an operator signs of a command; `None` for a command that no operator makes.
#[must_use]
pub fn statement_digest(command: &Command) -> Option<[u8; 32]> {
    statement(command).map(|statement| digest(&statement))
}

/// Statement that an operator signs of a command; `None` for a command that no operator makes.
#[must_use]
pub fn statement(command: &Command) -> Option<log::Statement> {
    let asks = match command {
        Command::Revoke(revoke) => Asks::Revoke(encode_revoke(revoke)),
        Command::Lift(lift) => Asks::Lift(encode_lift(lift)),
        Command::Undo(undo) => Asks::Undo(encode_undo(undo)),
        Command::ApplyPolicy {
            based_on,
            policy,
            change,
        } => match change.origin {
            PolicyOrigin::Start | PolicyOrigin::Git(_) => return None,
            PolicyOrigin::Operator | PolicyOrigin::Rollback(_) => {
                policy_statement(*based_on, policy, change)
            }
        },
        Command::Key(key) => key_statement(key),
        Command::Ask(action) => return Some(action_statement(action)),
        Command::Approve(approval) => Asks::Approve(encode_approval(approval)),
        Command::Cancel(id) => Asks::Cancel(encode_name(*id)),
        Command::Members(change) => Asks::Members(encode_member_change(change)),
        Command::AcceptAuditLoss { node, ticket } => Asks::AcceptAuditLoss(log::AcceptAuditLoss {
            node: *node,
            ticket: ticket.clone(),
        }),
        Command::SetClockBack { number, ticket } => Asks::SetClockBack(log::SetClockBack {
            number: *number,
            ticket: ticket.clone(),
        }),
        Command::Init(_)
        | Command::Collect { .. }
        | Command::Spend(_)
        | Command::Context(_)
        | Command::Witness(_)
        | Command::Started(_)
        | Command::RaiseVersion(_) => return None,
    };
    Some(log::Statement { asks: Some(asks) })
}

/// Statement that the asker of a pending action has signed, and whose digest its approver signs.
#[must_use]
pub fn action_statement(action: &PendingAction) -> log::Statement {
    let asks = match action {
        PendingAction::Revoke(revoke) => Asks::Revoke(encode_revoke(revoke)),
        PendingAction::Lift(lift) => Asks::Lift(encode_lift(lift)),
        PendingAction::RevokeKey(id) => Asks::RevokeKey(*id),
        PendingAction::ApplyPolicy {
            based_on,
            policy,
            change,
        } => policy_statement(*based_on, policy, change),
        PendingAction::Members(change) => Asks::Members(encode_member_change(change)),
        PendingAction::Undo(undo) => Asks::Undo(encode_undo(undo)),
    };
    log::Statement { asks: Some(asks) }
}

/// Digest of what the approver of a pending action signs.
#[must_use]
pub fn action_digest(action: &PendingAction) -> [u8; 32] {
    digest(&action_statement(action))
}

/// Statement of a policy: of its texts; going back is stated by the revision.
fn policy_statement(based_on: Revision, policy: &Policy, change: &PolicyChange) -> Asks {
    match change.origin {
        PolicyOrigin::Rollback(to) => rollback(based_on.0, to.0, change),
        PolicyOrigin::Start | PolicyOrigin::Operator | PolicyOrigin::Git(_) => {
            Asks::Policy(log::StatedPolicy {
                based_on: based_on.0,
                clients: text_digest(&policy.clients_toml),
                resources: text_digest(&policy.resources_toml),
                message: change.message.clone(),
                ticket: change.ticket.clone(),
            })
        }
    }
}

fn rollback(based_on: u64, to: u64, change: &PolicyChange) -> Asks {
    Asks::Rollback(log::StatedRollback {
        based_on,
        to,
        message: change.message.clone(),
        ticket: change.ticket.clone(),
    })
}

/// The new key, its id and the envelopes are the node's to make: it holds the key-encryption key.
fn key_statement(command: &KeyCommand) -> Asks {
    match command {
        KeyCommand::Prepare(key) => Asks::PrepareKey(encode_purpose(key.purpose).into()),
        KeyCommand::Activate {
            instead_of: Some(old),
            ..
        } => Asks::RetireKey(*old),
        KeyCommand::Activate {
            id,
            published_for_min,
            instead_of: None,
        } => Asks::ActivateKey(log::StatedActivation {
            id: *id,
            force: published_for_min.is_none(),
        }),
        KeyCommand::Retire(id) => Asks::RetireKey(*id),
        KeyCommand::Revoke(id) => Asks::RevokeKey(*id),
        KeyCommand::Rewrap(_) => Asks::RewrapKeys(log::Blank {}),
    }
}
