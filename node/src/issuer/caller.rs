//! Callers: a client certificate that the policy names, an identity token, or both when they say the same.

use hessra_revocation::{Identity, TokenId};
use hessra_sdk_core::{DomainClaim, Purpose, Request, Verified};

use super::Issuer;
use super::admission::{Basis, certificate_is_good, not_revoked};
use super::allowance::Payer;
use super::refusal::refused;
use super::term::Ends;
use super::verify::not_identified;
use crate::policy::is_named;
use crate::problem::{Kind, Problem};
use crate::tls::PeerCertificate;

/// Seconds that a limited token may have left. Clients limit a token to five when they send it; their clocks may be as
/// much ahead.
const JUST_IN_TIME_MAX: u64 = 10;

/// A caller, as far as the connection and the header say.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Caller {
    pub certificate: Option<PeerCertificate>,
    pub bearer: Option<String>,
}

/// A caller, proved.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) actor: Identity,
    pub(super) subject: Identity,
    /// True when it showed an identity token.
    pub(super) bearer: bool,
    /// The realm that its token is restricted to.
    pub(super) domain: Option<String>,
    /// Roles that its realm gave it when the token was minted.
    pub(super) roles: Vec<String>,
    /// Ids of the exchanged identity token and of what it came from; none over a certificate.
    pub(super) parents: Vec<TokenId>,
    pub(super) certificate: Option<[u8; 32]>,
    /// The end of what it showed.
    pub(super) ends: Ends,
}

/// The purpose for which an identity is used.
pub(super) fn purpose(resource: &str, operation: &str) -> Purpose {
    Purpose {
        resource: resource.to_owned(),
        operation: operation.to_owned(),
    }
}

impl Issuer {
    pub(super) fn identify(
        &self,
        basis: &Basis,
        caller: &Caller,
        purpose: Option<Purpose>,
    ) -> Result<Asking, Problem> {
        if let Some(purpose) = &purpose {
            basis
                .context
                .note(|noted| noted.purpose(&purpose.resource, &purpose.operation));
        }
        let asking = self.prove(basis, caller, purpose)?;
        basis.context.note(|noted| {
            noted.proved(&asking.actor, if asking.bearer { "bearer" } else { "mtls" });
            noted.subject(&asking.subject);
        });
        Ok(asking)
    }

    fn prove(
        &self,
        basis: &Basis,
        caller: &Caller,
        purpose: Option<Purpose>,
    ) -> Result<Asking, Problem> {
        let Some(token) = &caller.bearer else {
            return self.identify_by_certificate(basis, caller.certificate.as_ref());
        };
        let request = Request::Identity {
            expected: None,
            purpose,
            // Whether the realm still stands is the policy's to say: `permission` asks it.
            domain: DomainClaim::OfToken,
        };
        let verified = self.verify(basis, token, (&request, Payer::Subject), not_identified)?;
        basis
            .context
            .note(|noted| noted.presented(verified.token_ids()));
        let mut ends = Ends::of_token(&verified)?;
        if let Some(certificate) = &caller.certificate {
            same_identity(certificate, verified.actor())?;
            certificate_is_good(basis, verified.actor(), certificate)?;
            ends = ends.and(Ends::of_certificate(certificate));
        }
        just_in_time(basis, &verified)?;
        Ok(Asking {
            actor: verified.actor().clone(),
            subject: verified.subject().clone(),
            bearer: true,
            domain: verified.domain().map(str::to_owned),
            roles: verified.roles().to_vec(),
            parents: ancestors(&verified),
            certificate: verified.certificate(),
            ends,
        })
    }

    fn identify_by_certificate(
        &self,
        basis: &Basis,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Asking, Problem> {
        let certificate = certificate.ok_or_else(nobody)?;
        let principal = basis
            .policy
            .principal(certificate)
            .map_err(|denied| refused(&denied))?;
        self.limit(&principal.identity)?;
        not_revoked(basis, &principal.identity, Some(certificate))?;
        Ok(Asking {
            actor: principal.identity.clone(),
            subject: principal.identity,
            bearer: false,
            domain: None,
            roles: Vec::new(),
            parents: Vec::new(),
            certificate: Some(certificate.sha256),
            ends: Ends::of_certificate(certificate),
        })
    }
}

/// Ids of a token's blocks, and of what it came from.
pub(super) fn ancestors(verified: &Verified) -> Vec<TokenId> {
    let ids = verified.token_ids().iter().chain(verified.ancestor_ids());
    ids.cloned().collect()
}

/// Refusal of a caller that shows neither a certificate nor a token.
pub(crate) fn nobody() -> Problem {
    let sentence = "who are you? Present a client certificate, or an identity token as `Authorization: Bearer`";
    Problem::new(Kind::Unauthenticated, "unauthenticated", sentence)
}

/// Checks that a certificate and a token that were both presented say the same. Published clients look for the words.
pub(super) fn same_identity(
    certificate: &PeerCertificate,
    actor: &Identity,
) -> Result<(), Problem> {
    let mut names = certificate.san_uris.iter().chain(&certificate.san_dns);
    if names.any(|name| is_named(name, actor)) {
        return Ok(());
    }
    let sentence = format!(
        "Identity mismatch: the client certificate is not of `{actor}`, for whom the token is"
    );
    Err(Problem::new(
        Kind::Unauthenticated,
        "identity_mismatch",
        sentence,
    ))
}

/// Checks that a client that must show a token limited for this one request does: one that is stolen on the way is of
/// no use.
///
/// The rule holds for all that act below such a client too.
fn just_in_time(basis: &Basis, verified: &Verified) -> Result<(), Problem> {
    let required = verified.chain().iter().any(|identity| {
        let client = basis.policy.client(identity);
        client.is_some_and(|client| client.require_jit)
    });
    let left = verified.expires_at().0.saturating_sub(basis.wall().0);
    if !required || (verified.is_attenuated() && left <= JUST_IN_TIME_MAX) {
        return Ok(());
    }
    let sentence = format!(
        "`{}` must limit its token to a few seconds before it sends it: use a client that knows the server's key",
        verified.actor()
    );
    Err(Problem::new(
        Kind::Unauthenticated,
        "just_in_time_required",
        sentence,
    ))
}
