//! Pending actions.

use hessra_proto::v1::log;
use hessra_revocation::{Revision, UnixMillis};
use hessra_state::{Approval, Pending, PendingAction, PendingId};

use super::members::{decode_member_change, encode_member_change};
use super::message::{CodecError, array};
use super::policy::{decode_policy, decode_policy_change, encode_policy, encode_policy_change};
use super::revoke::{
    decode_lift, decode_revoke, decode_undo, encode_lift, encode_revoke, encode_undo,
};

pub(super) fn encode_action(action: &PendingAction) -> log::PendingAction {
    use log::pending_action::Kind;
    let kind = match action {
        PendingAction::Revoke(revoke) => Kind::Revoke(encode_revoke(revoke)),
        PendingAction::Lift(lift) => Kind::Lift(encode_lift(lift)),
        PendingAction::RevokeKey(id) => Kind::RevokeKey(*id),
        PendingAction::ApplyPolicy {
            based_on,
            policy,
            change,
        } => Kind::ApplyPolicy(log::ApplyPolicy {
            based_on: based_on.0,
            policy: Some(encode_policy(policy)),
            change: Some(encode_policy_change(change)),
        }),
        PendingAction::Members(change) => Kind::Members(encode_member_change(change)),
        PendingAction::Undo(undo) => Kind::Undo(encode_undo(undo)),
    };
    log::PendingAction { kind: Some(kind) }
}

pub(super) fn decode_action(action: &log::PendingAction) -> Result<PendingAction, CodecError> {
    use log::pending_action::Kind;
    let kind = action.kind.as_ref();
    Ok(match kind.ok_or(CodecError::Unknown("pending action"))? {
        Kind::Revoke(revoke) => PendingAction::Revoke(decode_revoke(revoke)?),
        Kind::Lift(lift) => PendingAction::Lift(decode_lift(lift)?),
        Kind::RevokeKey(id) => PendingAction::RevokeKey(*id),
        Kind::ApplyPolicy(apply) => PendingAction::ApplyPolicy {
            based_on: Revision(apply.based_on),
            policy: decode_policy(apply.policy.as_ref())?,
            change: decode_policy_change(apply.change.as_ref())?,
        },
        Kind::Members(change) => PendingAction::Members(decode_member_change(change)?),
        Kind::Undo(undo) => PendingAction::Undo(decode_undo(undo)),
    })
}

pub(super) fn encode_name(id: PendingId) -> log::PendingName {
    log::PendingName { id: id.0 }
}

pub(super) fn decode_name(name: &log::PendingName) -> PendingId {
    PendingId(name.id)
}

pub(super) fn encode_approval(approval: &Approval) -> log::Approval {
    log::Approval {
        id: approval.id.0,
        action: approval.action.to_vec(),
    }
}

pub(super) fn decode_approval(approval: &log::Approval) -> Result<Approval, CodecError> {
    Ok(Approval {
        id: PendingId(approval.id),
        action: array("approved action", &approval.action)?,
    })
}

pub(super) fn encode_pending(pending: &Pending) -> log::Pending {
    log::Pending {
        id: pending.id.0,
        action: Some(encode_action(&pending.action)),
        by: pending.by.clone(),
        at_ms: pending.at.0,
        certificate: pending.certificate.to_vec(),
        digest: pending.digest.to_vec(),
        key: pending.key.to_vec(),
    }
}

pub(super) fn decode_pending(pending: &log::Pending) -> Result<Pending, CodecError> {
    let action = pending.action.as_ref();
    Ok(Pending {
        id: PendingId(pending.id),
        action: decode_action(action.ok_or(CodecError::Unknown("pending action"))?)?,
        by: pending.by.clone(),
        certificate: array("certificate", &pending.certificate)?,
        digest: array("digest", &pending.digest)?,
        key: array("key", &pending.key)?,
        at: UnixMillis(pending.at_ms),
    })
}
