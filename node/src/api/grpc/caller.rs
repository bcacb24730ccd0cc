//! Who asks, and may they: the operator that the client certificate names.

use std::sync::Arc;
use std::time::Duration;

use hessra_proto::status::{Failure, Reason};
use hessra_revocation::Identity;
use tokio::time::Instant;
use tonic::{Request, Status};

use super::AuthorityService;
use crate::api::tls::PeerCertificate;
use crate::audit::trail;
use crate::policy::{PolicyView, Right};
use crate::raft::deadline::timeout_of;

/// Nobody may make a node work on one request for longer.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// An operator, proved by mTLS, under the policy in force.
pub(super) struct Caller {
    /// As the policy spells it, or as the certificate does when the policy does not know it.
    pub(super) identity: String,
    pub(super) policy: Arc<PolicyView>,
}

impl Caller {
    /// `under`: the identity that the right is used on; `None` = something that is not an identity.
    pub(super) fn may(&self, right: Right, under: Option<&Identity>) -> Result<(), Failure> {
        self.policy.may(&self.identity, right, under).map_err(|refusal| {
            Failure::new(Reason::NotPermitted, refusal.to_string())
                .hint("Ask for the right under `[[operators]]` in the policy, or use another operator's certificate.")
        })
    }
}

impl AuthorityService {
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
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
        let policy = self.policies.of(&self.authority.state());
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
        trail::note(|noted| noted.proved(&identity, "mtls"));
        Ok(Caller { identity, policy })
    }

    pub(super) fn may_read<T>(&self, request: &Request<T>) -> Result<(), Status> {
        Ok(self.caller(request)?.may(Right::Read, None)?)
    }

    /// When the caller stops waiting.
    pub(super) fn deadline<T>(&self, request: &Request<T>) -> Instant {
        match timeout_of(request) {
            Some(timeout) => Instant::now() + timeout.min(DEADLINE_MAX),
            None => self.authority.deadline(),
        }
    }
}
