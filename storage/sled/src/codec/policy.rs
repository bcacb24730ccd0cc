//! Policies and their versions.

use hessra_proto::v1::log;
use hessra_revocation::{Revision, UnixMillis};
use hessra_state::{Policy, PolicyChange, PolicyOrigin, PolicyVersion};

use super::message::{CodecError, array};

pub(super) fn encode_policy(policy: &Policy) -> log::Policy {
    log::Policy {
        digest: policy.digest.to_vec(),
        clients_toml: policy.clients_toml.clone(),
        resources_toml: policy.resources_toml.clone(),
    }
}

/// Keeps the digest as it came: the state machine checks that it fits its texts.
pub(super) fn decode_policy(policy: Option<&log::Policy>) -> Result<Policy, CodecError> {
    let policy = policy.ok_or(CodecError::Unknown("policy"))?;
    Ok(Policy {
        digest: array("policy digest", &policy.digest)?,
        clients_toml: policy.clients_toml.clone(),
        resources_toml: policy.resources_toml.clone(),
    })
}

pub(super) fn encode_policy_change(change: &PolicyChange) -> log::PolicyChange {
    use log::policy_change::Origin;
    let origin = match &change.origin {
        PolicyOrigin::Start => Origin::Start(log::Blank {}),
        PolicyOrigin::Operator => Origin::Operator(log::Blank {}),
        PolicyOrigin::Rollback(revision) => Origin::Rollback(revision.0),
        PolicyOrigin::Git(commit) => Origin::Git(commit.clone()),
    };
    log::PolicyChange {
        origin: Some(origin),
        message: change.message.clone(),
        ticket: change.ticket.clone(),
    }
}

pub(super) fn decode_policy_change(
    change: Option<&log::PolicyChange>,
) -> Result<PolicyChange, CodecError> {
    use log::policy_change::Origin;
    let change = change.ok_or(CodecError::Unknown("policy change"))?;
    let origin = change.origin.as_ref();
    let origin = match origin.ok_or(CodecError::Unknown("policy origin"))? {
        Origin::Start(_) => PolicyOrigin::Start,
        Origin::Operator(_) => PolicyOrigin::Operator,
        Origin::Rollback(revision) => PolicyOrigin::Rollback(Revision(*revision)),
        Origin::Git(commit) => PolicyOrigin::Git(commit.clone()),
    };
    Ok(PolicyChange {
        origin,
        message: change.message.clone(),
        ticket: change.ticket.clone(),
    })
}

pub(super) fn encode_policy_version(version: &PolicyVersion) -> log::StoredPolicy {
    log::StoredPolicy {
        revision: version.revision.0,
        policy: Some(encode_policy(&version.policy)),
        at_ms: version.at.0,
        by: version.by.clone(),
        change: Some(encode_policy_change(&version.change)),
    }
}

pub(super) fn decode_policy_version(
    stored: log::StoredPolicy,
) -> Result<PolicyVersion, CodecError> {
    Ok(PolicyVersion {
        revision: Revision(stored.revision),
        policy: decode_policy(stored.policy.as_ref())?,
        at: UnixMillis(stored.at_ms),
        change: decode_policy_change(stored.change.as_ref())?,
        by: stored.by,
    })
}
