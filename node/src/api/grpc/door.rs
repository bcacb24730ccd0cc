//! The door of the operators' services: no byte of a request is read before it is known who asks, and that the policy knows
//! the caller as an operator with a right for this method.
//!
//! The target of a right is in the message: the method asks again, with the target.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;
use tonic::server::NamedService as _;

use super::feed::FeedService;
use super::service::AuthorityService;
use crate::policy::Right;

/// Middleware around the gRPC services.
pub(super) async fn asked(
    State(service): State<AuthorityService>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if is_for_operators(path)
        && let Err(status) = service.may_enter(path, request.extensions())
    {
        return status.into_http();
    }
    next.run(request).await
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

impl AuthorityService {
    /// Lets a caller in that may speak and has a right for the method.
    fn may_enter(&self, path: &str, extensions: &http::Extensions) -> Result<(), Status> {
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
}
