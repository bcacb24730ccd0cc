//! Signing off: this cluster as a party of a multi-party resource.
//!
//! The policy names the parties of a resource by their keys. A party whose key is this cluster's own token key signs
//! here, for the client that the token is of, when the policy lets it do what the token grants.

use hessra_revocation::{Identity, Query};
use hessra_sdk_core::{
    AttestError, DenyReason, Limits, Signer, ThirdPartyKey, Token, TokenFacts, VerifierConfig,
    sign_off,
};
use tracing::{error, info};

use super::admission::Basis;
use super::authorization::parties;
use super::caller::purpose;
use super::permission::permitted;
use super::right::AuthorizationRequest;
use super::verification::not_good;
use super::{Caller, Issuer};
use crate::edge::system_random;
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;
use crate::signer::TokenSigner;

impl Issuer {
    /// The token with this cluster's signature.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn signed_off(
        &self,
        context: &RequestContext,
        caller: &Caller,
        token: &str,
        request: &AuthorizationRequest,
    ) -> Result<String, Problem> {
        let outcome = self.decide_signoff(context, caller, token, request);
        self.counted("signoff", caller.method(), outcome)
    }

    fn decide_signoff(
        &self,
        context: &RequestContext,
        caller: &Caller,
        token: &str,
        request: &AuthorizationRequest,
    ) -> Result<String, Problem> {
        let basis = self.basis(context)?;
        let purpose = purpose(&request.resource, &request.operation);
        let asking = self.identify(&basis, caller, Some(purpose))?;
        permitted(&basis.policy, &asking, request)?;
        let holder = grants(&basis, token, request)?;
        if !holder.is_at_or_below(&asking.actor) {
            return Err(not_good(&DenyReason::NotGranted));
        }
        let signer = self.signer()?;
        let component = component(&basis, &signer, request)?;
        let keyring = self.keyring(basis.view());
        let signed = sign_off(
            token,
            &keyring.1,
            &component,
            &signer,
            basis.wall(),
            &mut system_random(),
        );
        let signed = signed.map_err(|error| not_signed(&error))?;
        info!(actor = %asking.actor, resource = request.resource, operation = request.operation, component, "token signed off");
        Ok(signed)
    }
}

/// Identity to which the token grants this, when no rule covers it. Its signatures are checked when something is added
/// to it.
pub(super) fn grants(
    basis: &Basis,
    token: &str,
    request: &AuthorizationRequest,
) -> Result<Identity, Problem> {
    let unreadable = |error| not_good(&DenyReason::from(error));
    let token = Token::parse(token, &Limits::default()).map_err(unreadable)?;
    let facts = token.facts().map_err(unreadable)?;
    let right = facts
        .rights
        .iter()
        .find(|right| right.resource == request.resource && right.operation == request.operation);
    let holder = right.and_then(|right| Identity::parse(&right.subject).ok());
    let holder = holder.ok_or_else(|| not_good(&DenyReason::NotGranted))?;
    uncovered(basis, &token, &facts)?;
    Ok(holder)
}

fn uncovered(basis: &Basis, token: &Token, facts: &TokenFacts) -> Result<(), Problem> {
    let rights = facts.rights.iter();
    let identities: Vec<Identity> = rights
        .filter_map(|right| Identity::parse(&right.subject).ok())
        .collect();
    let ids: Vec<_> = token
        .revocation_ids()
        .iter()
        .chain(&facts.parents)
        .cloned()
        .collect();
    let query = Query {
        identities: &identities,
        actor: identities.first(),
        token_ids: &ids,
        root_key: token.root_key_id(),
        third_party_keys: &token.signer_keys(),
        certificate: facts.certificate,
        rev: facts.rev,
        now: basis.wall(),
        skew_seconds: VerifierConfig::default().skew_seconds,
    };
    match basis.view().set.check(&query) {
        Some(denial) => Err(not_good(&DenyReason::Revoked {
            by: denial.rule.kind,
        })),
        None => Ok(()),
    }
}

/// The party of the resource that this cluster is.
fn component(
    basis: &Basis,
    signer: &TokenSigner,
    request: &AuthorizationRequest,
) -> Result<String, Problem> {
    let parties = parties(basis.policy.resource(&request.resource))?;
    let own = ThirdPartyKey::ed25519(&signer.public_key());
    let mut ours = parties
        .into_iter()
        .filter(|party| own.as_ref().is_ok_and(|own| party.key == *own));
    ours.next().map(|party| party.component).ok_or_else(|| {
        let sentence =
            "this authority is no party of the resource: ask the one that the token names";
        Problem::new(Kind::Denied, "not_a_party", sentence)
    })
}

pub(super) fn not_signed(error: &AttestError) -> Problem {
    match error {
        AttestError::Refused(_) | AttestError::NotAsked { .. } | AttestError::Sealed => {
            Problem::new(Kind::Denied, "not_signed_off", error.to_string())
        }
        _ => {
            error!(%error, "token not signed off");
            let sentence = "this node could not sign: ask another node";
            Problem::new(Kind::Unavailable, "not_minted", sentence)
        }
    }
}
