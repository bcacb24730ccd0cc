//! Authorization tokens: one operation on one resource, for callers that may do it.
//!
//! The resource's configuration chooses the kind of token: a plain one, one that each service of a chain must attest, or
//! one that is of no use until every party has signed.

use hessra_sdk_core::{
    AuthorizationParameters, MintError, Minted, ServiceNode, ThirdPartyKey, TokenShape,
    mint_authorization, mint_multi_party, mint_service_chain,
};
use tracing::{error, info};

use super::Issuer;
use super::admission::{Basis, signers_stand};
use super::caller::Caller;
use super::caller::{Asking, purpose};
use super::issued::{Issued, issued};
use super::permission::permitted;
use super::refusal::not_minted;
use super::right::AuthorizationRequest;
use super::term::Term;
use crate::edge::system_random;
use crate::policy::{OperationRules, Resource, ResourceKind, TokenShape as Shape};
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;

/// A party that must still sign.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Pending {
    pub component: String,
    pub authorization_service: String,
    pub public_key: String,
}

impl Issuer {
    /// An authorization token for an operation on a resource, and the parties whose signatures it still needs.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn authorization_token(
        &self,
        context: &RequestContext,
        caller: &Caller,
        request: &AuthorizationRequest,
    ) -> Result<(Issued, Vec<Pending>), Problem> {
        let outcome = self.decide_authorization(context, caller, request);
        self.counted("authorization", caller.method(), outcome)
    }

    fn decide_authorization(
        &self,
        context: &RequestContext,
        caller: &Caller,
        request: &AuthorizationRequest,
    ) -> Result<(Issued, Vec<Pending>), Problem> {
        let basis = self.basis(context)?;
        let purpose = purpose(&request.resource, &request.operation);
        let asking = self.identify(&basis, caller, Some(purpose))?;
        permitted(&basis.policy, &asking, request)?;
        needs_no_capability(&basis, request)?;
        let resource = basis.policy.resource(&request.resource);
        let ttl = basis.policy.authorization_duration_of(&request.resource);
        let term = basis.term(asking.ends, ttl);
        let parameters = parameters(&basis, &asking, request, &term);
        let minted = self.mint_for(&basis, resource, &parameters)?;
        info!(actor = %asking.actor, resource = request.resource, operation = request.operation, revision = term.rev().0, "authorization token issued");
        Ok((
            issued(context, minted, &term, &asking.actor),
            pending(resource),
        ))
    }

    fn mint_for(
        &self,
        basis: &Basis,
        resource: &Resource,
        parameters: &AuthorizationParameters,
    ) -> Result<Minted, Problem> {
        let signer = self.signer()?;
        let minted = match resource.kind {
            ResourceKind::Singleton => {
                mint_authorization(&signer, parameters, &mut system_random())
            }
            ResourceKind::ServiceChain => {
                let nodes = standing(basis, chain(resource)?)?;
                mint_service_chain(&signer, parameters, &nodes, &mut system_random())
            }
            ResourceKind::MultiParty => {
                let parties = standing(basis, parties(resource)?)?;
                mint_multi_party(&signer, parameters, &parties, &mut system_random())
            }
        };
        minted.map_err(|error: MintError| not_minted(&error))
    }
}

/// Those who must sign, when the key of each still stands.
fn standing(basis: &Basis, nodes: Vec<ServiceNode>) -> Result<Vec<ServiceNode>, Problem> {
    signers_stand(basis, nodes.iter().map(|node| &node.key))?;
    Ok(nodes)
}

/// Refuses a plain token where the operation has rules: it cannot promise them, and would be a way around them.
fn needs_no_capability(basis: &Basis, request: &AuthorizationRequest) -> Result<(), Problem> {
    let rules = basis
        .policy
        .resource(&request.resource)
        .rules_of(&request.operation);
    if rules == OperationRules::default() {
        return Ok(());
    }
    let sentence = format!(
        "`{}` on `{}` needs a capability: ask /request_capability",
        request.operation, request.resource
    );
    Err(Problem::new(Kind::Denied, "capability_required", sentence))
}

/// The facts of a token for this request, apart from what else is demanded of its holder.
pub(super) fn parameters(
    basis: &Basis,
    asking: &Asking,
    request: &AuthorizationRequest,
    term: &Term,
) -> AuthorizationParameters {
    AuthorizationParameters {
        subject: asking.actor.clone(),
        resource: request.resource.clone(),
        operation: request.operation.clone(),
        issued_at: term.issued_at(),
        expires_at: term.expires_at(),
        rev: term.rev(),
        parents: asking.parents.clone(),
        cert: asking.certificate,
        shape: match basis.policy.resource(&request.resource).shape {
            Shape::Universal => TokenShape::Universal,
            Shape::Authorization => TokenShape::Authz,
            Shape::Capability => TokenShape::Capability,
        },
    }
}

/// The services of a chain, in their order.
pub(super) fn chain(resource: &Resource) -> Result<Vec<ServiceNode>, Problem> {
    let nodes = resource.nodes.iter();
    nodes
        .map(|node| service_node(&node.component, &node.public_key))
        .collect()
}

/// The parties that must sign.
pub(super) fn parties(resource: &Resource) -> Result<Vec<ServiceNode>, Problem> {
    let signers = resource.signers.iter();
    signers
        .map(|signer| service_node(&signer.component, &signer.public_key))
        .collect()
}

fn service_node(component: &str, key: &str) -> Result<ServiceNode, Problem> {
    let key = key.parse::<ThirdPartyKey>().map_err(|reason| {
        // The policy was checked when it was loaded: this key is one that Biscuit alone refuses.
        error!(component, %reason, "a key of the policy cannot be used");
        let sentence =
            "a key in the configuration of this resource cannot be used: tell its operators";
        Problem::new(Kind::Unavailable, "misconfigured", sentence)
    })?;
    Ok(ServiceNode {
        component: component.to_owned(),
        key,
    })
}

fn pending(resource: &Resource) -> Vec<Pending> {
    let signers = resource.signers.iter();
    signers
        .map(|signer| Pending {
            component: signer.component.clone(),
            authorization_service: signer.authorization_service.clone(),
            public_key: signer.public_key.clone(),
        })
        .collect()
}
