//! The door of the operators' services: no byte of a request is read before it is known who asks, and that the policy knows
//! the caller as an operator with a right for this method.
//!
//! The target of a right is in the message: the method asks again, with the target.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use hessra_proto::as_of::{AS_OF_KEY, AsOf};
use hessra_proto::status::{Failure, Reason};
use tokio::time::Instant;
use tonic::Status;
use tonic::server::NamedService as _;

use super::feed::FeedService;
use super::service::AuthorityService;
use crate::policy::Right;

/// Time for which a read waits for its confirmation.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

/// Middleware around the gRPC services.
pub(super) async fn asked(
    State(service): State<AuthorityService>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    if !is_for_operators(&path) {
        return next.run(request).await;
    }
    if let Err(status) = service.may_enter(&path, request.extensions()) {
        return status.into_http();
    }
    if !reads_the_cluster(&path) {
        return next.run(request).await;
    }
    let as_of = service.confirm().await;
    request.extensions_mut().insert(as_of);
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::try_from(as_of.to_string()) {
        response.headers_mut().insert(AS_OF_KEY, value);
    }
    response
}

/// True unless a path is one of the feed's, which asks for itself.
fn is_for_operators(path: &str) -> bool {
    let service = path.trim_start_matches('/').split('/').next();
    service != Some(FeedService::NAME)
}

/// Rights of which a caller needs one to be read at all. Those of other methods are asked by them: their requests are small.
fn rights_for(path: &str) -> &'static [Right] {
    match path {
        "/hessra.v1.Authority/Revoke" => &[Right::Revoke],
        "/hessra.v1.Authority/PreviewRevoke" => &[Right::Revoke, Right::Read],
        "/hessra.v1.Policies/Validate" => &[Right::Policy, Right::Read],
        "/hessra.v1.Policies/Apply" => &[Right::Policy],
        _ => &Right::ALL,
    }
}

/// Methods that write, or read no more than the files of this node: all others answer from the replicated state, and say how
/// old it is. A method that is not named here is confirmed.
const NOT_READS: [&str; 24] = [
    "/hessra.v1.Authority/Revoke",
    "/hessra.v1.Authority/Lift",
    "/hessra.v1.Authority/Undo",
    "/hessra.v1.Authority/WatchApplied",
    "/hessra.v1.Authority/AddMember",
    "/hessra.v1.Authority/PromoteMember",
    "/hessra.v1.Authority/RemoveMember",
    "/hessra.v1.Authority/TransferLeadership",
    "/hessra.v1.Authority/SetClockBack",
    "/hessra.v1.Policies/Validate",
    "/hessra.v1.Policies/Apply",
    "/hessra.v1.Policies/Rollback",
    "/hessra.v1.Keys/Prepare",
    "/hessra.v1.Keys/Activate",
    "/hessra.v1.Keys/Retire",
    "/hessra.v1.Keys/Revoke",
    "/hessra.v1.Keys/Rewrap",
    "/hessra.v1.Approvals/Approve",
    "/hessra.v1.Approvals/Cancel",
    "/hessra.v1.Audit/SearchAudit",
    "/hessra.v1.Audit/TailAudit",
    "/hessra.v1.Audit/ExportAudit",
    "/hessra.v1.Audit/ConfirmExport",
    "/hessra.v1.Audit/AcceptAuditLoss",
];

fn reads_the_cluster(path: &str) -> bool {
    !NOT_READS.contains(&path)
}

impl AuthorityService {
    /// Asks a quorum whether this node has everything that was acknowledged before, for a short time: a node that is cut off
    /// answers from what it has, and says so.
    async fn confirm(&self) -> AsOf {
        let within = Instant::now() + CONFIRM_WITHIN;
        let confirmed = self.consensus.linearize(within).await.is_ok();
        AsOf {
            node: self.consensus.raft().identity().id,
            revision: self.consensus.state().view().revision.0,
            age: self.consensus.freshness(),
            confirmed,
        }
    }

    /// Lets a caller in that may speak and has a right for the method.
    fn may_enter(&self, path: &str, extensions: &http::Extensions) -> Result<(), Status> {
        self.is_of_cluster()?;
        let caller = self.caller_of(extensions)?;
        let rights = rights_for(path);
        let operator = caller.policy.operator(&caller.identity);
        let is_let_in = operator
            .is_some_and(|operator| rights.iter().any(|right| operator.rights.contains(right)));
        match is_let_in {
            true => Ok(()),
            false => Ok(caller.may(rights[0], None)?),
        }
    }

    /// Checks that this node is a member: one that waits to be added, or was removed, can answer nothing about the cluster, and
    /// its policy is none or an old one.
    fn is_of_cluster(&self) -> Result<(), Failure> {
        let raft = self.consensus.raft();
        let (id, stopped) = (raft.identity().id, raft.status().stopped);
        if raft.is_member(id) && stopped.is_none() {
            return Ok(());
        }
        let message = match stopped {
            Some(reason) => format!("node {id} has stopped: {reason}"),
            None => format!("node {id} is not a member of the cluster, or not yet"),
        };
        Err(Failure::new(Reason::Unavailable, message)
            .hint("Ask a member: name its address with --server."))
    }
}
