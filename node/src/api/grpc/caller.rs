//! The operator that a client certificate names, and its rights.

use std::sync::Arc;
use std::time::Duration;

use hessra_consensus::{Asked, Committed};
use hessra_proto::status::{Failure, Reason};
use hessra_revocation::Identity;
use hessra_state::{Command, RequestId};
use tokio::time::Instant;
use tonic::{Request, Status};

use super::service::AuthorityService;
use crate::api::deadline::timeout_of;
use crate::policy::{PolicyView, Right};
use crate::request::{MissingContext, RequestContext};
use crate::tls::PeerCertificate;

/// Longest deadline: a node works on one request for no longer.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// An operator, proved by mTLS, under the policy in force.
pub(super) struct Caller {
    /// Identity as the policy spells it, or as the certificate does when the policy does not know it.
    pub(super) identity: String,
    pub(super) policy: Arc<PolicyView>,
    /// Context of the request.
    pub(super) context: RequestContext,
}

impl Caller {
    /// Checks a right. `under`: the identity that it is used on; `None` = something that is not an identity.
    pub(super) fn may(&self, right: Right, under: Option<&Identity>) -> Result<(), Failure> {
        self.policy.may(&self.identity, right, under).map_err(|refusal| {
            Failure::new(Reason::NotPermitted, refusal.to_string())
                .hint("Ask for the right under `[[operators]]` in the policy, or use another operator's certificate.")
        })
    }
}

impl AuthorityService {
    /// The caller of a request.
    ///
    /// # Errors
    /// No certificate, or one that names nobody; and a request that could not be recorded.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let context = RequestContext::of(request.extensions()).map_err(unrecorded)?;
        let certificate = request
            .extensions()
            .get::<PeerCertificate>()
            .ok_or_else(|| {
                Failure::new(
                    Reason::Unauthenticated,
                    "no client certificate was presented",
                )
                .hint("Give --cert and --key, or set HESSRA_CERT and HESSRA_KEY.")
            })?;
        let policy = self.policies.of(&self.consensus.state());
        let names = &certificate.san_uris;
        let known = names
            .iter()
            .find_map(|name| policy.operator(name))
            .map(|operator| operator.identity.clone());
        let identity = known.or_else(|| names.first().cloned()).ok_or_else(|| {
            Failure::new(
                Reason::Unauthenticated,
                "the client certificate has no URI among its alternative names",
            )
            .hint("Issue it anew with the operator's identity as a URI.")
        })?;
        context.note(|noted| noted.proved(&identity, "mtls"));
        Ok(Caller {
            identity,
            policy,
            context,
        })
    }

    pub(super) fn may_read<T>(&self, request: &Request<T>) -> Result<(), Status> {
        Ok(self.caller(request)?.may(Right::Read, None)?)
    }

    /// Proposes a command as the caller, and returns when a quorum has it and this node its record.
    pub(super) async fn propose(
        &self,
        caller: &Caller,
        command: Command,
        request: RequestId,
        deadline: Instant,
    ) -> Result<Committed, Failure> {
        let asked = Asked {
            by: caller.identity.clone(),
            request,
            actor: caller.context.actor(),
        };
        Ok(self.consensus.propose(command, asked, deadline).await?)
    }

    /// Time at which the caller stops waiting.
    pub(super) fn deadline<T>(&self, request: &Request<T>) -> Instant {
        match timeout_of(request) {
            Some(timeout) => Instant::now() + timeout.min(DEADLINE_MAX),
            None => self.consensus.deadline(),
        }
    }
}

fn unrecorded(missing: MissingContext) -> Failure {
    Failure::new(Reason::Internal, missing.to_string())
}
