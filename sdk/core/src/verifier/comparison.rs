//! Comparison: checks of an identity that say no more than *this actor*, *before this time* and *in this domain*, decided
//! without Datalog. Datalog would say the same: each is met by one fact, and more facts cannot break it.

use hessra_revocation::UnixSeconds;

use super::claims::Claims;
use super::request::{DomainClaim, Request};
use crate::Token;
use crate::token::CheckShape;

/// True when every check of the token can be decided by comparing, and the library reads every block: one of a later version may
/// demand what this one does not see. Needs no signature.
pub(super) fn are_comparable(token: &Token) -> bool {
    if !token.blocks().iter().all(|block| block.is_known) {
        return false;
    }
    let mut checks = token.blocks().iter().flat_map(|block| &block.checks);
    checks.all(|check| {
        matches!(
            check,
            CheckShape::Actor { .. } | CheckShape::Before(_) | CheckShape::Domain(_)
        )
    })
}

/// True when every check of an identity is met, by comparing. False says nothing.
pub(super) fn are_met(token: &Token, request: &Request, claims: &Claims, now: UnixSeconds) -> bool {
    let Request::Identity { domain, .. } = request else {
        return false;
    };
    if !are_comparable(token) {
        return false;
    }
    let subject = claims.subject.as_str();
    let (actor, domain) = (claims.actor.as_str(), domain_of(domain, claims));
    let is_met = |check: &CheckShape| match check {
        CheckShape::Actor { name, delegable } => {
            let rest = actor.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || (*delegable && rest.starts_with(':')))
        }
        CheckShape::Before(bound) => now.0 < *bound,
        CheckShape::Domain(name) => domain == Some(name),
        _ => false,
    };
    let mut checks = token.blocks().iter().flat_map(|block| &block.checks);
    token.authority().fact_text("subject") == Some(subject) && checks.all(is_met)
}

/// Domain that the caller says, or leaves to the token.
pub(super) fn domain_of<'a>(claim: &'a DomainClaim, claims: &'a Claims) -> Option<&'a str> {
    match claim {
        DomainClaim::Confirmed(domain) | DomainClaim::Required(domain) => Some(domain),
        DomainClaim::OfToken => claims.domain.as_deref(),
        DomainClaim::Unconfirmed => None,
    }
}
