//! A pending action as its asker signed it: what an approver reads here is what the approval signs, whatever a server says
//! beside it.

use hessra_sdk_rust::admin::read_statement;
use hessra_sdk_rust::v1::log::target::Kind;
use hessra_sdk_rust::v1::log::{Lift, Revoke, Target, statement::Asks};

use crate::output::timestamp;

/// One sentence for a statement.
pub(super) fn sentence(statement: &[u8]) -> String {
    match read_statement(statement) {
        Some(Asks::Revoke(revoke)) => revokes(&revoke),
        Some(Asks::Lift(lift)) => lifts(&lift),
        Some(Asks::RevokeKey(id)) => format!("revokes key {id}"),
        Some(Asks::AcceptAuditLoss(accept)) => {
            format!("accepts that the audit of node {} is lost", accept.node)
        }
        Some(other) => format!("{other:?}"),
        None => "cannot be read by this version: do not approve it".to_owned(),
    }
}

fn revokes(revoke: &Revoke) -> String {
    let targets: Vec<String> = revoke.targets.iter().map(target).collect();
    let how = match (revoke.permanent, revoke.until) {
        (_, Some(until)) => format!(" until {}", timestamp(until * 1_000)),
        (true, None) => " for ever".to_owned(),
        (false, None) => String::new(),
    };
    format!("revokes{how}: {}", targets.join(", "))
}

fn lifts(lift: &Lift) -> String {
    let of = match lift.of.as_str() {
        "" => String::new(),
        of => format!(" of {of}"),
    };
    let restores = match lift.restore {
        true => ", and what was issued before lives again",
        false => "",
    };
    format!(
        "lifts the revocation at revision {}{of}{restores}",
        lift.revision
    )
}

fn target(target: &Target) -> String {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    match &target.kind {
        Some(Kind::Subtree(identity)) => format!("subtree {identity}"),
        Some(Kind::Exact(identity)) => format!("exactly {identity}"),
        Some(Kind::Lock(identity)) => format!("lock {identity}"),
        Some(Kind::KeyId(id)) => format!("key {id}"),
        Some(Kind::TokenId(id)) => format!("token {}", hex(id)),
        Some(Kind::Certificate(fingerprint)) => format!("certificate {}", hex(fingerprint)),
        Some(Kind::Signer(key)) => format!("signer {}", hex(key)),
        None => "nothing".to_owned(),
    }
}
