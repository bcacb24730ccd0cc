//! Rights: which right a command needs, and which commands wait for a second person.

use hessra_policy::{NotPermitted, PolicyView, Right};
use hessra_revocation::Identity;
use hessra_state::{Command, KeyCommand, Lift, PendingAction, Revoke, State};

/// Checks that an operator may make a command, under a policy and on a state. `identity` as the policy spells it.
///
/// # Errors
/// A sentence for the operator.
pub fn permit(
    (state, policy): (&State, &PolicyView),
    identity: &str,
    command: &Command,
) -> Result<(), NotPermitted> {
    let may = |right, under: Option<&Identity>| policy.may(identity, right, under);
    match command {
        Command::Revoke(revoke) => may_revoke(policy, identity, revoke),
        Command::Lift(lift) => may_lift((state, policy), identity, lift),
        Command::ApplyPolicy { .. } => may(Right::Policy, None),
        Command::Key(_) => may(Right::Keys, None),
        Command::Members(_) | Command::AcceptAuditLoss { .. } => may(Right::Cluster, None),
        Command::Ask(action) => permit_action((state, policy), identity, action),
        // One that does not wait any more is refused by the state, in better words.
        Command::Approve(approval) => state.pending().find(approval.id).map_or(Ok(()), |pending| {
            permit_action((state, policy), identity, &pending.action)
        }),
        // The one who asked may take it back, also when no right is left.
        Command::Cancel(id) => match state.pending().find(*id) {
            Some(pending) if pending.by != identity => {
                permit_action((state, policy), identity, &pending.action)
            }
            _ => Ok(()),
        },
        Command::Init(_)
        | Command::Collect { .. }
        | Command::Spend(_)
        | Command::Context(_)
        | Command::Witness(_)
        | Command::RaiseVersion(_) => Err(NotPermitted(
            "no operator makes this command: nodes do".to_owned(),
        )),
    }
}

/// True when a command must wait for a second person, and may not be made by one.
#[must_use]
pub fn needs_second_person(policy: &PolicyView, command: &Command) -> bool {
    let minimum = policy.min_revocation_depth();
    let is_near_the_root = |identity: &Identity| identity.depth() < minimum;
    policy.two_person()
        && match command {
            Command::Revoke(revoke) => revoke
                .targets
                .iter()
                .any(|target| target.identity().is_some_and(is_near_the_root)),
            Command::Lift(lift) => lift.restore,
            Command::Key(KeyCommand::Revoke(_)) => true,
            _ => false,
        }
}

/// Checks that an operator could do alone what an action does, were it not for the second person.
///
/// # Errors
/// A sentence for the operator.
pub fn permit_action(
    (state, policy): (&State, &PolicyView),
    identity: &str,
    action: &PendingAction,
) -> Result<(), NotPermitted> {
    match action {
        PendingAction::Revoke(revoke) => may_revoke(policy, identity, revoke),
        PendingAction::Lift(lift) => may_lift((state, policy), identity, lift),
        PendingAction::RevokeKey(_) => policy.may(identity, Right::Keys, None),
    }
}

fn may_revoke(policy: &PolicyView, identity: &str, revoke: &Revoke) -> Result<(), NotPermitted> {
    revoke
        .targets
        .iter()
        .try_for_each(|target| policy.may(identity, Right::Revoke, target.identity()))
}

fn may_lift(
    (state, policy): (&State, &PolicyView),
    identity: &str,
    lift: &Lift,
) -> Result<(), NotPermitted> {
    let revocation = state.revocations().get(&lift.revision);
    let under = revocation.and_then(|revocation| revocation.target.identity());
    policy.may(identity, Right::Lift, under)
}
