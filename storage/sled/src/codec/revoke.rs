//! Revocations, lifts and undos, as commands and as actions that wait for approval.

use hessra_proto::v1::log;
use hessra_revocation::{Identity, Revision, Target, UnixMillis, UnixSeconds};
use hessra_state::{Lift, Revoke, Undo};

use super::message::CodecError;

pub(super) fn encode_lift(lift: &Lift) -> log::Lift {
    log::Lift {
        revision: lift.revision.0,
        restore: lift.restore,
        reason: lift.reason.clone(),
        of: lift
            .of
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
    }
}

pub(super) fn decode_lift(lift: &log::Lift) -> Result<Lift, CodecError> {
    let of = Some(lift.of.as_str()).filter(|of| !of.is_empty());
    let of = of.map(Identity::parse).transpose();
    Ok(Lift {
        of: of.map_err(|error| CodecError::invalid("of", &error))?,
        revision: Revision(lift.revision),
        restore: lift.restore,
        reason: lift.reason.clone(),
    })
}

pub(super) fn encode_undo(undo: &Undo) -> log::Undo {
    log::Undo {
        operator: undo.operator.clone(),
        since_ms: undo.since.0,
        reason: undo.reason.clone(),
        ticket: undo.ticket.clone(),
    }
}

pub(super) fn decode_undo(undo: &log::Undo) -> Undo {
    Undo {
        operator: undo.operator.clone(),
        since: UnixMillis(undo.since_ms),
        reason: undo.reason.clone(),
        ticket: undo.ticket.clone(),
    }
}

pub(super) fn encode_revoke(revoke: &Revoke) -> log::Revoke {
    log::Revoke {
        targets: revoke.targets.iter().map(log::Target::from).collect(),
        permanent: revoke.permanent,
        until: revoke.until.map(|until| until.0),
        reason: revoke.reason.clone(),
        ticket: revoke.ticket.clone(),
        message: revoke.message.clone(),
    }
}

pub(super) fn decode_revoke(revoke: &log::Revoke) -> Result<Revoke, CodecError> {
    let targets = revoke.targets.iter().map(Target::try_from);
    Ok(Revoke {
        targets: targets.collect::<Result<_, _>>()?,
        permanent: revoke.permanent,
        until: revoke.until.map(UnixSeconds),
        reason: revoke.reason.clone(),
        ticket: revoke.ticket.clone(),
        message: revoke.message.clone(),
    })
}
