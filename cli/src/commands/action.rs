//! A pending action as its asker signed it: what an approver reads here is what the approval signs, whatever a server says
//! beside it.

use data_encoding::HEXLOWER;
use hessra_sdk_rust::admin::{read_statement, text_digest};
use hessra_sdk_rust::v1::log::member_change::Change;
use hessra_sdk_rust::v1::log::target::Kind;
use hessra_sdk_rust::v1::log::{Lift, MemberChange, Revoke, Target, Undo, statement::Asks};

use crate::output::timestamp;

/// One sentence for a statement.
pub(super) fn sentence(statement: &[u8]) -> String {
    match read_statement(statement) {
        Some(Asks::Revoke(revoke)) => revokes(&revoke),
        Some(Asks::Lift(lift)) => lifts(&lift),
        Some(Asks::Undo(undo)) => undoes(&undo),
        Some(Asks::RevokeKey(id)) => format!("revokes key {id}"),
        Some(Asks::SetClockBack(_)) => "sets the time of the cluster back".to_owned(),
        Some(Asks::AcceptAuditLoss(accept)) => {
            format!("accepts that the audit of node {} is lost", accept.node)
        }
        Some(Asks::Policy(policy)) => format!(
            "applies the policy with clients.toml {} and resources.toml {}, made from revision {}",
            HEXLOWER.encode(&policy.clients),
            HEXLOWER.encode(&policy.resources),
            policy.based_on
        ),
        Some(Asks::Rollback(back)) => format!(
            "goes back to the policy of revision {}, from revision {}",
            back.to, back.based_on
        ),
        Some(Asks::Members(change)) => members(&change),
        Some(Asks::PrepareKey(_)) => "makes a new key and publishes it".to_owned(),
        Some(Asks::ActivateKey(key)) => format!("lets key {} sign", key.id),
        Some(Asks::RetireKey(id)) => format!("lets the successor of key {id} sign"),
        Some(Asks::RewrapKeys(_)) => {
            "seals every key under the current key-encryption key".to_owned()
        }
        Some(Asks::Approve(approval)) => format!("approves ap_{}", approval.id),
        Some(Asks::Cancel(name)) => format!("takes ap_{} back", name.id),
        None => "cannot be read by this version: do not approve it".to_owned(),
    }
}

/// True when a statement is of a policy with these texts. Going back is stated by its revision, and has no texts.
pub(super) fn is_of_texts(statement: &[u8], clients: &str, resources: &str) -> bool {
    match read_statement(statement) {
        Some(Asks::Policy(policy)) => {
            policy.clients == text_digest(clients) && policy.resources == text_digest(resources)
        }
        Some(Asks::Rollback(_)) => true,
        _ => false,
    }
}

fn members(change: &MemberChange) -> String {
    match &change.change {
        Some(Change::Add(node)) => format!(
            "adds node {} at {} (public: {})",
            node.id, node.peer_address, node.public_address
        ),
        Some(Change::Promote(id)) => format!("gives node {id} a vote"),
        Some(Change::Remove(id)) => format!("removes node {id} for ever"),
        Some(Change::TransferTo(id)) => format!("lets node {id} lead"),
        None => "changes nothing".to_owned(),
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

fn undoes(undo: &Undo) -> String {
    let since = match undo.since_ms {
        0 => String::new(),
        since => format!(" since {}", timestamp(since)),
    };
    format!(
        "removes what {} has revoked alone{since}, and what was issued before lives again",
        undo.operator
    )
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
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
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
