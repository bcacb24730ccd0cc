//! Verification of tokens for clients that hold no key, with every revocation that this node knows.

use hessra_revocation::Identity;
use hessra_sdk_core::{DenyReason, Evidence, Limits, Request, Token, Verified};

use super::Issuer;
use super::admission::Basis;
use super::allowance::Payer;
use super::authorization::chain;
use super::mint::shown;
use crate::policy::ResourceKind;
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;

/// A claim of what a token permits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Claim {
    pub subject: String,
    pub resource: String,
    pub operation: String,
}

/// A claim of what a token of a service chain permits, and before which service it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ChainClaim {
    pub subject: String,
    pub resource: String,
    /// Operation; `None`: the one that the token grants, as published clients ask.
    pub operation: Option<String>,
    /// Service before which the token is shown: those before it must have attested; `None`: all.
    pub component: Option<String>,
}

impl Issuer {
    /// Verifies that an authorization token permits this.
    ///
    /// # Errors
    /// Not a token, not a good one, or not for this; and when this node cannot tell.
    pub fn verify_token(
        &self,
        context: &RequestContext,
        token: &str,
        claim: &Claim,
    ) -> Result<(), Problem> {
        let outcome = self.decide_claim(context, token, claim);
        self.answered(outcome)
    }

    /// Verifies that a token of a service chain permits this, and that the services before this one have attested, in
    /// their order.
    ///
    /// # Errors
    /// As [`Self::verify_token`]; and when the resource is no chain or the service not in it, to holders of a good token.
    pub fn verify_chain(
        &self,
        context: &RequestContext,
        token: &str,
        claim: &ChainClaim,
    ) -> Result<(), Problem> {
        let outcome = self.decide_chain(context, token, claim);
        self.answered(outcome)
    }

    fn decide_claim(
        &self,
        context: &RequestContext,
        token: &str,
        claim: &Claim,
    ) -> Result<(), Problem> {
        let basis = self.basis(context)?;
        let request =
            Request::authorization(subject(&claim.subject)?, &claim.resource, &claim.operation);
        let asked = (&request, Payer::AskedAbout);
        self.verify(&basis, token, asked, not_good).map(|_| ())
    }

    fn decide_chain(
        &self,
        context: &RequestContext,
        token: &str,
        claim: &ChainClaim,
    ) -> Result<(), Problem> {
        let basis = self.basis(context)?;
        let resource = basis.policy.resource(&claim.resource);
        let nodes = match resource.kind {
            ResourceKind::ServiceChain => chain(resource)?,
            _ => {
                self.permits(&basis, token, claim, Evidence::default())?;
                return Err(no_chain(&basis, &claim.resource));
            }
        };
        let Some(component) = &claim.component else {
            let all = Evidence {
                nodes: Some(nodes),
                ..Evidence::default()
            };
            return self.permits(&basis, token, claim, all).map(|_| ());
        };
        let before = |component: &str| Evidence {
            nodes: Some(nodes.clone()),
            component: Some(component.to_owned()),
            ..Evidence::default()
        };
        if nodes.iter().any(|node| node.component == *component) {
            let evidence = before(component);
            return self.permits(&basis, token, claim, evidence).map(|_| ());
        }
        // The services are named to a caller that could show the token to the first of them, and to no other.
        if let Some(first) = nodes.first() {
            self.permits(&basis, token, claim, before(&first.component))?;
        }
        let sentence = format!(
            "Invalid service chain token: Component '{}' not found in service chain",
            shown(component)
        );
        Err(Problem::new(
            Kind::Unauthenticated,
            "unknown_component",
            sentence,
        ))
    }

    fn permits(
        &self,
        basis: &Basis,
        token: &str,
        claim: &ChainClaim,
        evidence: Evidence,
    ) -> Result<Verified, Problem> {
        let operation = match &claim.operation {
            Some(operation) => operation.clone(),
            None => granted_operation(token, &claim.resource)?,
        };
        let subject = subject(&claim.subject)?;
        let request = Request::authorization(subject, &claim.resource, operation).with(evidence);
        self.verify(basis, token, (&request, Payer::AskedAbout), not_good)
    }
}

fn subject(text: &str) -> Result<Identity, Problem> {
    Identity::parse_spelled(text).map_err(|error| {
        let sentence = format!("`{}` is not an identity: {error}", shown(text));
        Problem::new(Kind::Invalid, "malformed_identity", sentence)
    })
}

/// Operation that the token says that it grants; the check that follows proves it or not.
fn granted_operation(token: &str, resource: &str) -> Result<String, Problem> {
    let parsed = Token::parse(token, &Limits::default()).and_then(|token| token.facts());
    let facts = parsed.map_err(|error| not_good(&DenyReason::from(error)))?;
    let right = facts.rights.iter().find(|right| right.resource == resource);
    let right = right.ok_or_else(|| not_good(&DenyReason::NotGranted))?;
    Ok(right.operation.clone())
}

fn no_chain(basis: &Basis, resource: &str) -> Problem {
    let is_listed = basis.policy.resources().any(|(name, _)| name == resource);
    let resource = shown(resource);
    if is_listed {
        let sentence = format!("Resource is not a service chain: {resource}");
        return Problem::new(Kind::Malformed, "not_a_service_chain", sentence);
    }
    let sentence = format!("Resource not found: {resource}");
    Problem::new(Kind::NotFound, "unknown_resource", sentence)
}

/// The statuses of the published contract: 400 no token, 401 no good one, 403 not for this.
pub(super) fn not_good(reason: &DenyReason) -> Problem {
    let kind = match reason {
        DenyReason::Malformed(_) | DenyReason::TooLarge(_) => Kind::Malformed,
        DenyReason::NotGranted
        | DenyReason::ActorMismatch { .. }
        | DenyReason::DomainRequired
        | DenyReason::CheckFailed(_) => Kind::Denied,
        _ => Kind::Unauthenticated,
    };
    Problem::new(kind, reason.code(), reason.to_string())
}
