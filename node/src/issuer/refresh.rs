//! A fresh identity token in the place of one that still lives, with nothing shown but that token.
//!
//! Any holder of a token can refresh it, so refreshing must end: the policy bounds how often and for how long after the
//! first issue, the certificate that the first came over bounds it too, and the facts of the token say where it stands. A fresh token records the ids of all those before it, so
//! a revocation of one reaches what was made of it. A token that was delegated or limited by its holder is not refreshed:
//! that would give more than was passed on.

use hessra_revocation::Identity;
use hessra_sdk_core::{IdentityParameters, Refreshed, Request, Verified, mint_identity};
use tracing::info;

use super::Issuer;
use super::admission::{Basis, not_revoked};
use super::allowance::Payer;
use super::caller::{ancestors, same_identity};
use super::issued::{Issued, issued};
use super::outcome::method;
use super::refusal::{not_minted, refused};
use super::term::Ends;
use super::verify::not_identified;
use crate::edge::system_random;
use crate::policy::{Client, Denied, is_named};
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;
use crate::tls::PeerCertificate;

/// A request for a refresh.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct RefreshRequest {
    pub certificate: Option<PeerCertificate>,
    pub current_token: String,
    /// Identity that the token is of, or nothing.
    pub identifier: Option<String>,
}

impl Issuer {
    /// A fresh token for the client that a token was issued to.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn refreshed_token(
        &self,
        context: &RequestContext,
        request: &RefreshRequest,
    ) -> Result<Issued, Problem> {
        let outcome = self.decide_refresh(context, request);
        self.counted(
            "refresh",
            method(request.certificate.is_some(), true),
            outcome,
        )
    }

    fn decide_refresh(
        &self,
        context: &RequestContext,
        request: &RefreshRequest,
    ) -> Result<Issued, Problem> {
        let basis = self.basis(context)?;
        let current = self.verify(
            &basis,
            request.current_token.trim(),
            (&Request::bearer(), Payer::Subject),
            not_identified,
        )?;
        let identity = current.subject().clone();
        basis.context.note(|noted| {
            noted.presented(current.token_ids());
            noted.proved(current.actor(), "bearer");
            noted.subject(&identity);
        });
        whole(&current)?;
        same_as_said(request, &identity)?;
        let client = refreshing_client(&basis, &identity)?;
        not_revoked(&basis, &identity, request.certificate.as_ref())?;
        let refreshed = next(&current, client)?;
        let ends = ends(request, &current)?;
        let term = basis.term(ends, lifetime(&basis, client, refreshed)?);
        let parameters = IdentityParameters {
            subject: identity.clone(),
            delegatable: client.delegable && current.is_delegable(),
            issued_at: term.issued_at(),
            expires_at: term.expires_at(),
            rev: term.rev(),
            parents: ancestors(&current),
            cert: current.certificate(),
            refreshed: Some(refreshed),
            refreshable_until: Some(ends.at()),
        };
        let minted = mint_identity(&self.signer()?, &parameters, &mut system_random())
            .map_err(|error| not_minted(&error))?;
        info!(%identity, ttl = term.seconds(), count = refreshed.count, revision = term.rev().0, "identity token refreshed");
        Ok(issued(context, minted, &term, &identity))
    }
}

/// Checks that the token is as it was issued: nothing was appended, and it is no member of a realm.
fn whole(current: &Verified) -> Result<(), Problem> {
    if !current.is_attenuated() {
        return Ok(());
    }
    let sentence = "a token that was delegated or limited cannot be refreshed: refresh the one it was made from";
    Err(Problem::new(Kind::Unauthenticated, "attenuated", sentence))
}

fn same_as_said(request: &RefreshRequest, identity: &Identity) -> Result<(), Problem> {
    if let Some(certificate) = &request.certificate {
        same_identity(certificate, identity)?;
    }
    match &request.identifier {
        Some(said) if !is_named(said, identity) => {
            let sentence = "Identity mismatch: the token is not of the identifier given";
            Err(Problem::new(
                Kind::Unauthenticated,
                "identity_mismatch",
                sentence,
            ))
        }
        _ => Ok(()),
    }
}

/// The end of all refreshes: that of the first token's certificate, and of one that is presented now.
fn ends(request: &RefreshRequest, current: &Verified) -> Result<Ends, Problem> {
    let recorded = Ends::of_successors(current).ok_or_else(|| {
        let sentence = "the token does not record how long it may be refreshed: authenticate again";
        Problem::new(Kind::Denied, "refresh_ended", sentence)
    })?;
    let presented = request.certificate.as_ref().map(Ends::of_certificate);
    Ok(presented.map_or(recorded, |presented| recorded.and(presented)))
}

fn refreshing_client<'b>(basis: &'b Basis, identity: &Identity) -> Result<&'b Client, Problem> {
    let client = basis.policy.client(identity);
    let client = client.ok_or_else(|| refused(&Denied::UnknownIdentity(identity.to_string())))?;
    match client.identity_tokens {
        true => Ok(client),
        false => Err(refused(&Denied::NoIdentityTokens(identity.to_string()))),
    }
}

fn next(current: &Verified, client: &Client) -> Result<Refreshed, Problem> {
    let ended = |sentence: String| Problem::new(Kind::Denied, "refresh_ended", sentence);
    let issued_at = current.issued_at().ok_or_else(|| {
        ended("the token does not say when it was issued: authenticate again".to_owned())
    })?;
    let before = current.refreshed().unwrap_or(Refreshed {
        count: 0,
        first_issued_at: issued_at,
    });
    let count_max = client.refresh.count_max;
    if before.count >= count_max {
        let sentence = match count_max {
            0 => "tokens of this client are not refreshed: authenticate again".to_owned(),
            _ => format!(
                "the token was refreshed {count_max} times, the most it may be: authenticate again"
            ),
        };
        return Err(ended(sentence));
    }
    Ok(Refreshed {
        count: before.count + 1,
        ..before
    })
}

/// Lifetime in seconds: what the policy grants, and never beyond the age at which refreshing ends.
fn lifetime(basis: &Basis, client: &Client, refreshed: Refreshed) -> Result<u64, Problem> {
    let end = refreshed
        .first_issued_at
        .0
        .saturating_add(client.refresh.age_max);
    match end.saturating_sub(basis.wall().0) {
        0 => {
            let sentence = "the first of these tokens was issued too long ago: authenticate again";
            Err(Problem::new(Kind::Denied, "refresh_ended", sentence))
        }
        left => Ok(left.min(client.identity_token_duration)),
    }
}
