//! Identity tokens: for the client that a certificate names.

use hessra_revocation::Identity;
use hessra_sdk_core::{IdentityParameters, mint_identity};
use tracing::info;

use super::Issuer;
use super::admission::not_revoked;
use super::issued::{Issued, issued};
use super::outcome::method;
use super::refusal::{no_certificate, not_minted, refused};
use super::term::Ends;
use crate::edge::system_random;
use crate::policy::{Denied, is_named};
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;
use crate::tls::PeerCertificate;

impl Issuer {
    /// An identity token for the client that a certificate names.
    ///
    /// `identifier`: nothing, the identity itself, or, as the published command line sends it, a lifetime in
    /// seconds written as digits.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn identity_token(
        &self,
        context: &RequestContext,
        certificate: Option<&PeerCertificate>,
        identifier: Option<&str>,
    ) -> Result<Issued, Problem> {
        let outcome = self.decide_identity(context, certificate, identifier);
        let method = method(certificate.is_some(), false);
        self.counted("identity", method, outcome)
    }

    fn decide_identity(
        &self,
        context: &RequestContext,
        certificate: Option<&PeerCertificate>,
        identifier: Option<&str>,
    ) -> Result<Issued, Problem> {
        let basis = self.basis(context)?;
        let certificate = certificate.ok_or_else(no_certificate)?;
        let principal = basis
            .policy
            .principal(certificate)
            .map_err(|denied| refused(&denied))?;
        basis.context.note(|noted| {
            noted.proved(&principal.identity, "mtls");
            noted.subject(&principal.identity);
        });
        self.limit(&principal.identity)?;
        if !principal.client.identity_tokens {
            return Err(refused(&Denied::NoIdentityTokens(
                principal.identity.to_string(),
            )));
        }
        let longest = principal.client.identity_token_duration;
        let ttl = requested_ttl(identifier, &principal.identity, longest)?;
        not_revoked(&basis, &principal.identity, Some(certificate))?;
        let ends = Ends::of_certificate(certificate);
        let term = basis.term(ends, ttl);
        let parameters = IdentityParameters {
            subject: principal.identity.clone(),
            delegatable: principal.client.delegable,
            issued_at: term.issued_at(),
            expires_at: term.expires_at(),
            rev: term.rev(),
            parents: Vec::new(),
            cert: Some(certificate.sha256),
            refreshed: None,
            refreshable_until: Some(ends.at()),
        };
        let minted = mint_identity(&self.signer()?, &parameters, &mut system_random())
            .map_err(|error| not_minted(&error))?;
        info!(identity = %principal.identity, ttl = term.seconds(), revision = term.rev().0, "identity token issued");
        Ok(issued(context, minted, &term, &principal.identity))
    }
}

/// Lifetime that is asked for, in seconds. `longest` is what the policy grants.
fn requested_ttl(
    identifier: Option<&str>,
    identity: &Identity,
    longest: u64,
) -> Result<u64, Problem> {
    let Some(text) = identifier else {
        return Ok(longest);
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number of more digits than u64 has asks for longer than anything granted.
        return match text.parse::<u64>().unwrap_or(u64::MAX) {
            0 => Err(Problem::new(
                Kind::Invalid,
                "invalid_ttl",
                "a token of 0 seconds is none: ask for at least 1",
            )),
            wanted => Ok(wanted.min(longest)),
        };
    }
    if is_named(text, identity) {
        return Ok(longest);
    }
    let sentence = format!(
        "Identity mismatch: the client certificate is of `{identity}`, not of the identifier given"
    );
    Err(Problem::new(
        Kind::Unauthenticated,
        "identity_mismatch",
        sentence,
    ))
}
