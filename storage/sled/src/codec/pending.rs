//! Pending actions.

use hessra_proto::v1::log;
use hessra_revocation::UnixMillis;
use hessra_state::{Approval, Pending, PendingAction, PendingId};

use super::message::{CodecError, array};
use super::revoke::{decode_lift, decode_revoke, encode_lift, encode_revoke};

pub(super) fn encode_action(action: &PendingAction) -> log::PendingAction {
    use log::pending_action::Kind;
    let kind = match action {
        PendingAction::Revoke(revoke) => Kind::Revoke(encode_revoke(revoke)),
        PendingAction::Lift(lift) => Kind::Lift(encode_lift(lift)),
        PendingAction::RevokeKey(id) => Kind::RevokeKey(*id),
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
        at: UnixMillis(pending.at_ms),
    })
}
