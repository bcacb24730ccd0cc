//! Lists of revocations, page by page.

use std::time::Duration;

use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::{ListRevocationsRequest, ListRevocationsResponse, RevocationInfo};
use serde_json::{Value, json};

use crate::clock;
use crate::failure::Outcome;
use crate::output::timestamp;

/// Most that one answer of a node holds.
pub(super) const PAGE: u32 = 1_000;

/// Time from which on something is asked for; 0 without a limit.
pub(super) fn since_ms(since: Option<Duration>) -> u64 {
    since.map_or(0, |since| {
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        clock::unix_milliseconds().saturating_sub(since)
    })
}

/// Revocations, oldest first, at most as many as asked for; the revision that they were read at; true when there are
/// more.
pub(super) async fn pages(
    authority: &Authority,
    request: ListRevocationsRequest,
) -> Outcome<(Vec<RevocationInfo>, u64, bool)> {
    let wanted = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let mut after_revision = 0;
    loop {
        let limit = u32::try_from(wanted - found.len())
            .unwrap_or(PAGE)
            .min(PAGE);
        let request = ListRevocationsRequest {
            after_revision,
            limit,
            ..request.clone()
        };
        let ListRevocationsResponse {
            revocations,
            next_after,
            revision,
        } = authority.list_revocations(request).await?;
        found.extend(revocations);
        let done = next_after <= after_revision;
        if done || found.len() >= wanted {
            found.truncate(wanted);
            return Ok((found, revision, !done));
        }
        after_revision = next_after;
    }
}

/// Revocation as JSON.
pub(super) fn to_json(item: &RevocationInfo) -> Value {
    json!({
        "id": item.id,
        "revision": item.revision,
        "scope": item.scope,
        "target": item.target,
        "permanent": item.permanent,
        "cutoff": item.cutoff,
        "until": (item.until > 0).then(|| timestamp(item.until * 1_000)),
        "at": timestamp(item.at_ms),
        "by": item.by,
        "reason": item.reason,
        "ticket": item.ticket,
        "message": item.message,
        "lifted_revision": (item.lifted_revision > 0).then_some(item.lifted_revision),
        "restored": item.restored,
        "lifted_by": (item.lifted_revision > 0).then(|| item.lifted_by.clone()),
    })
}
