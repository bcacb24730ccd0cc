//! What operators ask of the cluster, over gRPC on the public port.
//!
//! | module | its story |
//! |---|---|
//! | [`caller`] | who asks, and may they |
//! | [`target`] | what is named: parsed once, refused when it is not canonical |
//! | [`revoke`] | revoke, preview, lift |
//! | [`read`] | list, show, check, status, verifiers |
//! | [`watch`] | how far a revision is applied, as it happens |
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
mod keys;
mod members;
mod policy;
mod read;
mod revoke;
mod target;
mod watch;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use hessra_proto::v1;
use hessra_proto::v1::approvals_server::ApprovalsServer;
use hessra_proto::v1::authority_server::{Authority as Service, AuthorityServer};
use hessra_proto::v1::keys_server::KeysServer;
use hessra_proto::v1::policies_server::PoliciesServer;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::authority::Authority;
use crate::authority::inspector::Inspector;
use crate::feed::FeedHub;
use crate::feed::service::FeedService;
use crate::policy::{Policies, Right};

pub use keys::KeyDesk;

/// Largest request: a revocation of 10,000 identities of 512 bytes each is about 5.3 MB.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest answer: the verifiers of a whole cluster, about 200 bytes each.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Watches of one node at a time: each recounts the roster up to twenty times a second.
const WATCHES_MAX: usize = 64;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct AuthorityService {
    authority: Authority,
    feed: FeedHub,
    inspector: Inspector,
    policies: Policies,
    watches: Arc<Semaphore>,
    keys: KeyDesk,
}

/// The services of the public port: `Authority`, `Policies`, `Keys`, `Approvals` and `Audit` for operators, `Feed` for
/// verifiers.
#[must_use]
pub fn routes(
    authority: Authority,
    feed: FeedHub,
    inspector: Inspector,
    policies: Policies,
    keys: KeyDesk,
) -> Routes {
    let watches = Arc::new(Semaphore::new(WATCHES_MAX));
    let service = AuthorityService {
        authority,
        feed: feed.clone(),
        inspector,
        policies,
        watches,
        keys,
    };
    let keys = KeysServer::new(service.clone());
    let approvals = ApprovalsServer::new(service.clone());
    let auditor = service.authority.auditor().cloned();
    let audit = auditor.map(|auditor| audit::AuditService::server(service.clone(), auditor));
    let policies = PoliciesServer::new(service.clone())
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let service = AuthorityServer::new(service)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let routes = Routes::new(service)
        .add_service(keys)
        .add_service(approvals)
        .add_service(policies)
        .add_service(FeedService::new(feed));
    match audit {
        Some(audit) => routes.add_service(audit),
        None => routes,
    }
}

type Answer<T> = Result<Response<T>, Status>;

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
        request: Request<v1::MemberRequest>,
    ) -> Answer<v1::MembershipResponse> {
        Ok(Response::new(self.promote(request).await?))
    }

    async fn remove_member(
        &self,
        request: Request<v1::MemberRequest>,
    ) -> Answer<v1::MembershipResponse> {
        Ok(Response::new(self.remove(request).await?))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::MemberRequest>,
    ) -> Answer<v1::MembershipResponse> {
        Ok(Response::new(self.transfer(request).await?))
    }
}
