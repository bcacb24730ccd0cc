//! Stubs: an authorization for somebody else, of no use until the holder of a key has bound it to a prefix.

use hessra_revocation::Identity;
use hessra_sdk_core::{ThirdPartyKey, mint_stub};
use tracing::info;

use super::Issuer;
use super::admission::{Basis, not_revoked, signers_stand};
use super::authorization::parameters;
use super::caller::Caller;
use super::caller::{Asking, purpose};
use super::issued::{Issued, issued};
use super::mint::shown;
use super::refusal::{denied, not_minted};
use super::right::AuthorizationRequest;
use crate::edge::system_random;
use crate::policy::ResourceKind;
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;

/// A request for a stub.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StubRequest {
    pub target_identity: String,
    pub resource: String,
    pub operation: String,
    /// Key of the holder that binds it: `ed25519/HEX` or `secp256r1/HEX`.
    pub prefix_attenuator_key: String,
    /// Lifetime in seconds; bounded by the policy.
    pub duration: Option<u64>,
}

impl Issuer {
    /// A stub for the target, which the policy lets the caller ask for.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn stub(
        &self,
        context: &RequestContext,
        caller: &Caller,
        request: &StubRequest,
    ) -> Result<Issued, Problem> {
        let outcome = self.decide_stub(context, caller, request);
        self.counted("stub", caller.method(), outcome)
    }

    fn decide_stub(
        &self,
        context: &RequestContext,
        caller: &Caller,
        request: &StubRequest,
    ) -> Result<Issued, Problem> {
        let basis = self.basis(context)?;
        let purpose = purpose(&request.resource, &request.operation);
        let asking = self.identify(&basis, caller, Some(purpose))?;
        let target = target(&basis, &asking, request)?;
        basis.context.note(|noted| noted.subject(&target));
        not_revoked(&basis, &target, caller.certificate.as_ref())?;
        let attestor: ThirdPartyKey = request.prefix_attenuator_key.parse().map_err(|_| {
            let sentence = "`prefix_attenuator_key` is not a key: send ed25519/ or secp256r1/ and its hexadecimal digits";
            Problem::new(Kind::Invalid, "invalid", sentence)
        })?;
        signers_stand(&basis, [&attestor])?;
        let longest = basis.policy.limits().stub_duration_max;
        let ttl = match request.duration {
            Some(0) => {
                let sentence = "a token of 0 seconds is none: ask for at least 1";
                return Err(Problem::new(Kind::Invalid, "invalid_ttl", sentence));
            }
            Some(duration) => duration.min(longest),
            None => basis
                .policy
                .authorization_duration_of(&request.resource)
                .min(longest),
        };
        let (resource, operation) = (request.resource.clone(), request.operation.clone());
        let granted = Asking {
            actor: target.clone(),
            ..asking
        };
        let request = AuthorizationRequest {
            resource,
            operation,
            domain: None,
        };
        let term = basis.term(granted.ends, ttl);
        let parameters = parameters(&basis, &granted, &request, &term);
        let minted = mint_stub(
            &self.signer()?,
            &parameters,
            &attestor,
            &mut system_random(),
        )
        .map_err(|error| not_minted(&error))?;
        info!(by = %granted.subject, %target, resource = request.resource, operation = request.operation, "stub issued");
        Ok(issued(context, minted, &term, &target))
    }
}

/// The target, for which the caller may ask and which may do it.
fn target(basis: &Basis, asking: &Asking, request: &StubRequest) -> Result<Identity, Problem> {
    let target = Identity::parse_spelled(&request.target_identity).map_err(|error| {
        let sentence = format!(
            "`{}` is not an identity: {error}",
            shown(&request.target_identity)
        );
        Problem::new(Kind::Invalid, "malformed_identity", sentence)
    })?;
    let may = |identity: &Identity| {
        let client = basis.policy.client(identity);
        client.is_some_and(|client| client.may_request_stub_for(&target))
    };
    // Both: what a holder may not ask for, its delegates may not either.
    if !may(&asking.subject) || !may(&asking.actor) {
        let sentence = format!("`{}` may not ask for stubs for `{target}`", asking.actor);
        return Err(Problem::new(Kind::Denied, "not_permitted", sentence));
    }
    let policy = &basis.policy;
    policy
        .authorize(&target, &request.resource, &request.operation)
        .map_err(|refusal| denied(&refusal, policy, &target))?;
    match policy.resource_kind(&request.resource) {
        ResourceKind::Singleton => Ok(target),
        kind => {
            let sentence = format!(
                "`{}` is a {}: stubs are for plain resources",
                request.resource,
                kind.name().replace('_', " ")
            );
            Err(Problem::new(Kind::Denied, "wrong_resource_kind", sentence))
        }
    }
}
