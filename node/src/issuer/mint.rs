//! Identity tokens that a realm has minted for its members.
//!
//! The realm asks as itself, over its certificate or with its own identity token: a delegate of it is not it, and a
//! member cannot mint. What is minted is good only where the realm is confirmed, and cannot be delegated.

use hessra_revocation::Identity;
use hessra_sdk_core::{DomainIdentityParameters, mint_domain_identity};
use tracing::info;

use super::Issuer;
use super::admission::{Basis, not_revoked};
use super::caller::Caller;
use super::issued::{Issued, issued};
use super::refusal::{not_minted, refused};
use crate::edge::system_random;
use crate::policy::{Client, Denied};
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;

impl Issuer {
    /// An identity token for a member of the caller's realm. `duration`: seconds; bounded by the policy.
    ///
    /// # Errors
    /// The request is refused, or cannot be decided here now.
    pub fn minted_identity(
        &self,
        context: &RequestContext,
        caller: &Caller,
        subject: &str,
        duration: Option<u64>,
    ) -> Result<Issued, Problem> {
        let outcome = self.decide_minting(context, caller, subject, duration);
        self.counted("domain_identity", caller.method(), outcome)
    }

    fn decide_minting(
        &self,
        context: &RequestContext,
        caller: &Caller,
        subject: &str,
        duration: Option<u64>,
    ) -> Result<Issued, Problem> {
        let basis = self.basis(context)?;
        let asking = self.identify(&basis, caller, None)?;
        let realm = realm(&basis, &asking.actor)?;
        let subject = member(&asking.actor, subject)?;
        basis.context.note(|noted| noted.subject(&subject));
        not_revoked(&basis, &subject, caller.certificate.as_ref())?;
        let ttl = match duration {
            Some(0) => return Err(no_time()),
            Some(wanted) => wanted.min(realm.identity_token_duration),
            None => realm.identity_token_duration,
        };
        let term = basis.term(asking.ends, ttl);
        let parameters = DomainIdentityParameters {
            domain: asking.actor.clone(),
            subject: subject.clone(),
            roles: basis
                .policy
                .role_of(&subject)
                .map(str::to_owned)
                .into_iter()
                .collect(),
            issued_at: term.issued_at(),
            expires_at: term.expires_at(),
            rev: term.rev(),
            parents: asking.parents,
            cert: asking.certificate,
        };
        let minted = mint_domain_identity(&self.signer()?, &parameters, &mut system_random())
            .map_err(|error| not_minted(&error))?;
        info!(realm = %asking.actor, %subject, ttl = term.seconds(), revision = term.rev().0, "identity token minted");
        Ok(issued(context, minted, &term, &subject))
    }
}

fn realm<'b>(basis: &'b Basis, actor: &Identity) -> Result<&'b Client, Problem> {
    let client = basis.policy.client(actor);
    let client = client.ok_or_else(|| refused(&Denied::UnknownIdentity(actor.to_string())))?;
    if !client.identity_tokens {
        return Err(refused(&Denied::NoIdentityTokens(actor.to_string())));
    }
    if client.is_realm() {
        return Ok(client);
    }
    let sentence = format!("`{actor}` is not a realm: it cannot mint identities for others");
    Err(Problem::new(Kind::Denied, "not_a_realm", sentence))
}

fn member(realm: &Identity, subject: &str) -> Result<Identity, Problem> {
    let subject = Identity::parse_spelled(subject).map_err(|error| {
        let sentence = format!("`{}` is not an identity: {error}", shown(subject));
        Problem::new(Kind::Invalid, "malformed_identity", sentence)
    })?;
    if subject.path() != realm.path() && subject.is_at_or_below(realm) {
        return Ok(subject.spelled_below(realm));
    }
    let sentence = format!("`{subject}` is not in the realm: its name must begin with `{realm}:`");
    Err(Problem::new(Kind::Denied, "outside_realm", sentence))
}

/// Beginning of a text for a sentence: a caller may send more than one should hold.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 120;
    text.chars().take(SHOWN_MAX).collect()
}

fn no_time() -> Problem {
    let sentence = "a token of 0 seconds is none: ask for at least 1";
    Problem::new(Kind::Invalid, "invalid_ttl", sentence)
}
