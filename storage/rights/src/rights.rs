//! Rights: which right a command needs, and which commands wait for a second person.

use hessra_policy::{NotPermitted, PolicyView, Right, weakenings};
use hessra_revocation::{Identity, UnixSeconds};
use hessra_state::{
    Command, KeyCommand, Lift, MemberChange, Pending, PendingAction, Policy, Revoke, State,
};

use crate::speaking::{is_certificate_revoked, is_revoked};

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
        Command::Undo(_) => may(Right::Lift, None),
        Command::ApplyPolicy { .. } => may(Right::Policy, None),
        Command::Key(_) => may(Right::Keys, None),
        Command::Members(_) | Command::AcceptAuditLoss { .. } | Command::SetClockBack { .. } => {
            may(Right::Cluster, None)
        }
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
        | Command::Started(_)
        | Command::RaiseVersion(_) => Err(NotPermitted(
            "no operator makes this command: nodes do".to_owned(),
        )),
    }
}

/// Reasons for which a policy waits for a second person, in words; none: it does not.
#[must_use]
pub fn reasons_to_wait(stands: &PolicyView, policy: &Policy) -> Vec<String> {
    if !stands.two_person() {
        return Vec::new();
    }
    match PolicyView::parse(&policy.clients_toml, &policy.resources_toml) {
        Ok(new) => weakenings(stands, &new)
            .iter()
            .map(ToString::to_string)
            .collect(),
        Err(_) => vec!["this version cannot read it".to_owned()],
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
            Command::Undo(_) => true,
            Command::Key(KeyCommand::Revoke(_)) => true,
            Command::ApplyPolicy { policy: new, .. } => !reasons_to_wait(policy, new).is_empty(),
            Command::Members(change) => !matches!(change, MemberChange::TransferTo(_)),
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
        PendingAction::ApplyPolicy { .. } => policy.may(identity, Right::Policy, None),
        PendingAction::Members(_) => policy.may(identity, Right::Cluster, None),
        PendingAction::Undo(_) => policy.may(identity, Right::Lift, None),
    }
}

/// Checks that the asker of a pending action may still ask for it: it has the right, and neither it nor the certificate that
/// it asked with is revoked. A node's asking follows from a commit, and lasts as long as the policy that it was made from.
///
/// # Errors
/// A sentence for the approver.
pub fn permit_asker(
    (state, policy): (&State, &PolicyView),
    pending: &Pending,
    now: UnixSeconds,
) -> Result<(), NotPermitted> {
    if pending.is_of_node() {
        return Ok(());
    }
    let asker = &pending.by;
    let is_covered = Identity::parse_spelled(asker)
        .is_ok_and(|identity| is_revoked(state, &identity, Some(pending.certificate), now));
    if is_covered || is_certificate_revoked(state, pending.certificate) {
        return Err(NotPermitted(format!(
            "`{asker}`, who asked for it, is revoked"
        )));
    }
    permit_action((state, policy), asker, &pending.action)
        .map_err(|lost| NotPermitted(format!("who asked for it may not any more: {lost}")))
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
