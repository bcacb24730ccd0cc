//! Services for operators and verifiers, over gRPC on the public port.
//!
//! | module | its story |
//! |---|---|
//! | [`door`] | who asks, before anything is read |
//! | [`caller`] | the operator that asks, and its rights |
//! | [`target`] | what is named: parsed once, refused when it is not canonical |
//! | [`revoke`] | revoke, preview, lift |
//! | [`read`] | list, show, check, status, verifiers |
//! | [`watch`] | at how many verifiers a revision is proven applied |
//! | [`feed`] | the stream that verifiers follow |
//! | [`members`] | members of the cluster |
//! | [`audit`] | the audit of this node |
//! | [`keys`] | the cluster's keys |
//! | [`approvals`] | what waits for a second person |
//! | [`policy`] | the policy and its history |
//!
//! Any node answers: writes go to the leader from inside, reads that must be linearizable confirm the quorum. A caller
//! never gets a redirect. Refusals carry a reason that programs act on and a sentence that says what to do.

mod approvals;
mod audit;
mod caller;
mod claim;
mod denied;
mod door;
mod feed;
mod goodbye;
mod keys;
mod known;
mod long;
mod members;
mod policy;
mod read;
mod revoke;
mod service;
mod target;
mod watch;

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use futures::Stream;
use hessra_proto::v1;
use hessra_proto::v1::approvals_server::ApprovalsServer;
use hessra_proto::v1::authority_server::{Authority as Service, AuthorityServer};
use hessra_proto::v1::keys_server::KeysServer;
use hessra_proto::v1::policies_server::PoliciesServer;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::metered::LARGE_BYTES_MAX;
use super::middleware;
use crate::audit::Auditor;
use crate::policy::Right;

pub use service::{AddressAllowance, GrpcParts};

use claim::FeedDoor;
use feed::FeedService;
use service::{Answer, AuthorityService};

/// Largest message of a request: what the largest body may have.
const REQUEST_BYTES_MAX: usize = LARGE_BYTES_MAX;
/// Largest answer: the verifiers of a whole cluster, about 200 bytes each.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The gRPC services of the public port, inside their middleware: `Authority`, `Policies`, `Keys`, `Approvals` and
/// `Audit` for operators, `Feed` for verifiers.
pub fn router(parts: GrpcParts) -> Router {
    let auditor = parts.auditor.clone();
    let traces = parts.consensus.world().traces.clone();
    let door = FeedDoor::new(
        parts.consensus.clone(),
        parts.policies.clone(),
        Arc::clone(&parts.address_allowance),
    );
    let feed = FeedService::new(parts.feed.clone(), door);
    let service = AuthorityService::new(parts);
    routes(service.clone(), feed, auditor.clone())
        .into_axum_router()
        .layer(from_fn_with_state(service, door::asked))
        .layer(from_fn_with_state((auditor, traces), middleware::grpc))
}

fn routes(service: AuthorityService, feed: FeedService, auditor: Auditor) -> Routes {
    let keys = KeysServer::new(service.clone());
    let approvals = ApprovalsServer::new(service.clone());
    let audit = audit::AuditService::server(service.clone(), auditor);
    let policies = PoliciesServer::new(service.clone())
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let service = AuthorityServer::new(service)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    Routes::new(service)
        .add_service(keys)
        .add_service(approvals)
        .add_service(policies)
        .add_service(audit)
        .add_service(feed)
}

#[tonic::async_trait]
impl Service for AuthorityService {
    type WatchAppliedStream =
        Pin<Box<dyn Stream<Item = Result<v1::AppliedProgress, Status>> + Send>>;

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Answer<v1::RevokeResponse> {
        Ok(Response::new(self.revoke_targets(request).await?))
    }

    async fn preview_revoke(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Answer<v1::PreviewResponse> {
        Ok(Response::new(self.preview(&request)?))
    }

    async fn lift(&self, request: Request<v1::LiftRequest>) -> Answer<v1::LiftResponse> {
        Ok(Response::new(self.lift_revocation(request).await?))
    }

    async fn undo(&self, request: Request<v1::UndoRequest>) -> Answer<v1::UndoResponse> {
        Ok(Response::new(self.undo_operator(request).await?))
    }

    async fn list_revocations(
        &self,
        request: Request<v1::ListRevocationsRequest>,
    ) -> Answer<v1::ListRevocationsResponse> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn show_revocation(
        &self,
        request: Request<v1::ShowRevocationRequest>,
    ) -> Answer<v1::RevocationInfo> {
        Ok(Response::new(self.show(request).await?))
    }

    async fn check(&self, request: Request<v1::CheckRequest>) -> Answer<v1::CheckResponse> {
        Ok(Response::new(self.check_target(request).await?))
    }

    async fn watch_applied(
        &self,
        request: Request<v1::WatchAppliedRequest>,
    ) -> Answer<Self::WatchAppliedStream> {
        Ok(Response::new(self.watch(&request)?))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let caller = self.caller(&request)?;
        caller.may(Right::Read, None)?;
        let one_person = !caller.policy.two_person();
        let status = self.inspector.cluster().await;
        Ok(Response::new(v1::StatusResponse {
            one_person,
            ..status
        }))
    }

    async fn verifiers(
        &self,
        request: Request<v1::VerifiersRequest>,
    ) -> Answer<v1::VerifiersResponse> {
        self.may_read(&request)?;
        Ok(Response::new(self.enrolled()))
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Answer<v1::MembershipResponse> {
        Ok(Response::new(self.add(request).await?))
    }

    async fn promote_member(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Answer<v1::MembershipResponse> {
        Ok(Response::new(self.promote(request).await?))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Answer<v1::MembershipResponse> {
        Ok(Response::new(self.remove(request).await?))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Answer<v1::MembershipResponse> {
        Ok(Response::new(self.transfer(request).await?))
    }

    async fn set_clock_back(
        &self,
        request: Request<v1::SetClockBackRequest>,
    ) -> Answer<v1::SetClockBackResponse> {
        Ok(Response::new(self.set_back_the_clock(request).await?))
    }
}
