//! Capabilities: an authorization that is bound to what it is about, waits for somebody's word, or is good once.
//!
//! The policy says what an operation requires: designations, a single use, a context. A context that is shown grows by
//! what the resource exposes a session to, and is replaced before the capability is given out: the replicated latest
//! version counts, so that no session goes back to before it saw something.

use data_encoding::HEXLOWER;
use hessra_sdk_core::{
    ActivationTerms, CapabilityDemands, Designation, Signer, ThirdPartyKey, TokenShape, activate,
    mint_capability,
};
use tracing::info;

use super::Issuer;
use super::admission::{Basis, signers_stand};
use super::authorization::parameters;
use super::caller::Caller;
use super::caller::{Asking, purpose};
use super::context::{Growth, Shown};
use super::issued::{Issued, issued};
use super::permission::permitted;
use super::refusal::not_minted;
use super::right::AuthorizationRequest;
use super::signoff::{grants, not_signed};
use crate::edge::{random_16, system_random};
use crate::policy::{OperationRules, ResourceKind};
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;

/// Word for this authority as the activator of a latent capability.
const AUTHORITY: &str = "authority";

/// A request for a capability.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CapabilityRequest {
    pub authorization: AuthorizationRequest,
    /// Label and value of each.
    pub designations: Vec<(String, String)>,
    /// Label, value, and the key of the party that says so.
    pub attested: Vec<(String, String, String)>,
    /// The one verifier that it is for.
    pub anchor: Option<String>,
    /// Key whose holder activates it, inert until then; `authority`: this cluster does.
    pub activator_key: Option<String>,
    /// The latest context of the caller's session.
    pub context: Option<String>,
    /// Lifetime in seconds; bounded by the policy.
    pub duration: Option<u64>,
}

/// A capability, and the step that must be agreed on before it is given out.
pub struct Capability {
    /// The token for its caller.
    pub issued: Issued,
    /// True when it is good once.
    pub single_use: bool,
    /// Growth of the caller's session; `None` when it does not grow.
    pub growth: Option<Growth>,
}

impl Issuer {
    /// A capability for an operation on a resource. It must not leave this node before its growth is agreed on.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn capability(
        &self,
        context: &RequestContext,
        caller: &Caller,
        request: &CapabilityRequest,
    ) -> Result<Capability, Problem> {
        let outcome = self.decide_capability(context, caller, request);
        self.counted("capability", caller.method(), outcome)
    }

    /// Activates a latent capability of somebody else, when it waits for this authority.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn activated(
        &self,
        context: &RequestContext,
        caller: &Caller,
        token: &str,
        authorization: &AuthorizationRequest,
    ) -> Result<String, Problem> {
        let outcome = self.decide_activation(context, caller, token, authorization);
        self.counted("activation", caller.method(), outcome)
    }

    fn decide_capability(
        &self,
        context: &RequestContext,
        caller: &Caller,
        request: &CapabilityRequest,
    ) -> Result<Capability, Problem> {
        let basis = self.basis(context)?;
        let authorization = &request.authorization;
        let purpose = purpose(&authorization.resource, &authorization.operation);
        let asking = self.identify(&basis, caller, Some(purpose))?;
        permitted(&basis.policy, &asking, authorization)?;
        plain(&basis, authorization)?;
        let rules = basis
            .policy
            .resource(&authorization.resource)
            .rules_of(&authorization.operation);
        let shown = self.shown_context(&basis, &asking, request, &rules)?;
        let ends = shown.iter().try_fold(asking.ends, |ends, shown| {
            Ok::<_, Problem>(ends.and(shown.ends()?))
        })?;
        let term = basis.term(ends, ttl(&basis, request)?);
        let demands = self.demands(request, &rules)?;
        let attestors = demands.attested.iter().map(|(_, key)| key);
        signers_stand(&basis, attestors.chain(&demands.activator))?;
        let mut parameters = parameters(&basis, &asking, authorization, &term);
        if parameters.shape == TokenShape::Authz {
            // Verifiers of capabilities name no subject, and would refuse that shape.
            parameters.shape = TokenShape::Universal;
        }
        if let Some(shown) = &shown {
            parameters.parents.extend(shown.ids());
        }
        let minted = mint_capability(&self.signer()?, &parameters, &demands, &mut system_random())
            .map_err(|error| not_minted(&error))?;
        info!(actor = %asking.actor, resource = authorization.resource, operation = authorization.operation, single_use = rules.single_use, revision = term.rev().0, "capability issued");
        let labels = &basis
            .policy
            .resource(&authorization.resource)
            .classifications;
        let growth = shown
            .map(|shown| shown.growth(&basis, labels, &authorization.resource))
            .transpose()?
            .flatten();
        Ok(Capability {
            issued: issued(context, minted, &term, &asking.actor),
            single_use: rules.single_use,
            growth: growth.map(|growth| self.mintable(growth)).transpose()?,
        })
    }

    /// The context that was shown, when it is the caller's latest and keeps it from nothing here.
    fn shown_context(
        &self,
        basis: &Basis,
        asking: &Asking,
        request: &CapabilityRequest,
        rules: &OperationRules,
    ) -> Result<Option<Shown>, Problem> {
        let Some(context) = &request.context else {
            if rules.context_required {
                let sentence = "this needs the context of your session: ask /request_context for one and send it";
                return Err(Problem::new(Kind::Denied, "context_required", sentence));
            }
            return Ok(None);
        };
        let resource = &request.authorization.resource;
        let shown = self.context(basis, asking, context)?;
        if basis
            .policy
            .is_blocked_by_exposure(shown.exposures(), resource)
        {
            let sentence =
                format!("your session was exposed to what must be kept from `{resource}`");
            return Err(Problem::new(Kind::Denied, "exposed", sentence));
        }
        Ok(Some(shown))
    }

    fn demands(
        &self,
        request: &CapabilityRequest,
        rules: &OperationRules,
    ) -> Result<CapabilityDemands, Problem> {
        let designations = request.designations.iter();
        let attested = request.attested.iter().map(|(label, value, by)| {
            Ok((
                Designation::new(label, value),
                third_party_key("public_key", by)?,
            ))
        });
        let activator = match request.activator_key.as_deref() {
            None => None,
            Some(AUTHORITY) => Some(own_key(&self.signer()?)?),
            Some(key) => Some(third_party_key("activator_key", key)?),
        };
        Ok(CapabilityDemands {
            designations: designations
                .map(|(label, value)| Designation::new(label, value))
                .collect(),
            attested: attested.collect::<Result<_, Problem>>()?,
            anchor: request.anchor.clone(),
            activator,
            facet: rules.single_use.then(random_facet),
            required: rules.required_designations.clone(),
        })
    }

    fn decide_activation(
        &self,
        context: &RequestContext,
        caller: &Caller,
        token: &str,
        authorization: &AuthorizationRequest,
    ) -> Result<String, Problem> {
        let basis = self.basis(context)?;
        let purpose = purpose(&authorization.resource, &authorization.operation);
        let asking = self.identify(&basis, caller, Some(purpose))?;
        permitted(&basis.policy, &asking, authorization)?;
        let holder = grants(&basis, token, authorization)?;
        if holder.is_at_or_below(&asking.subject) {
            let sentence =
                "who holds a capability cannot activate it: somebody else who may do the same can";
            return Err(Problem::new(Kind::Denied, "own_capability", sentence));
        }
        let keyring = self.keyring(basis.view());
        let terms = ActivationTerms::default();
        let activated = activate(
            token,
            &keyring.1,
            &terms,
            &self.signer()?,
            basis.wall(),
            &mut system_random(),
        );
        let activated = activated.map_err(|error| not_signed(&error))?;
        info!(by = %asking.actor, %holder, resource = authorization.resource, operation = authorization.operation, "capability activated");
        Ok(activated)
    }
}

fn plain(basis: &Basis, authorization: &AuthorizationRequest) -> Result<(), Problem> {
    let resource = basis.policy.resource(&authorization.resource);
    if resource.kind == ResourceKind::Singleton {
        return Ok(());
    }
    let kind = resource.kind.name().replace('_', " ");
    let sentence = format!(
        "`{}` is a {kind}: ask /request_token for its tokens",
        authorization.resource
    );
    Err(Problem::new(Kind::Denied, "wrong_resource_kind", sentence))
}

fn ttl(basis: &Basis, request: &CapabilityRequest) -> Result<u64, Problem> {
    let longest = basis
        .policy
        .authorization_duration_of(&request.authorization.resource);
    match request.duration {
        Some(0) => {
            let sentence = "a token of 0 seconds is none: ask for at least 1";
            Err(Problem::new(Kind::Invalid, "invalid_ttl", sentence))
        }
        Some(wanted) => Ok(wanted.min(longest)),
        None => Ok(longest),
    }
}

fn own_key(signer: &impl Signer) -> Result<ThirdPartyKey, Problem> {
    ThirdPartyKey::ed25519(&signer.public_key()).map_err(|_| {
        let sentence = "this node could not sign: ask another node";
        Problem::new(Kind::Unavailable, "not_minted", sentence)
    })
}

fn third_party_key(field: &str, text: &str) -> Result<ThirdPartyKey, Problem> {
    text.parse().map_err(|_| {
        let sentence = format!(
            "`{field}` is not a key: send ed25519/ or secp256r1/ and its hexadecimal digits"
        );
        Problem::new(Kind::Invalid, "invalid", sentence)
    })
}

/// A facet of 128 random bits: no two capabilities share a use, and a use is spent only by those that it was shown.
fn random_facet() -> String {
    HEXLOWER.encode(&random_16())
}
