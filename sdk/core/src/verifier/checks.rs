//! Checks in the token: Biscuit's authorizer with the facts of the request.
//!
//! Each check that runs here was read before: it costs what [`crate::token::policy`] says. The limits of the library are the second
//! line; its time limit does not reach into a query.
//!
//! Datalog decides whatever [`super::comparison`] does not find met.
//!
//! The policy allows by the fact that must hold, never `allow if true`: a token without that fact is not allowed,
//! however few checks it has.

use std::time::Duration;

use biscuit_auth::error::Token as BiscuitError;
use biscuit_auth::macros::{authorizer, fact};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit};

use hessra_revocation::UnixSeconds;

use super::claims::Claims;
use super::comparison;
use super::established::Established;
use super::grant;
use super::request::{DomainClaim, Evidence, Purpose, Request};
use crate::reason::Refusal;
use crate::{DenyReason, Designation, Token, UnknownReason};

/// Most facts. Origin: 512 of the token, and as many of the request.
const FACTS_MAX: u64 = 1024;
/// Most rounds of rule evaluation. A chain has one rule per service, and needs two.
const ITERATIONS_MAX: u64 = 100;

/// Most characters of the checks that did not hold. Origin: a few checks of a line each.
const SHOWN_MAX: usize = 1024;

/// Runs the checks in the token.
pub(super) fn run(
    established: &Established,
    request: &Request,
    now: UnixSeconds,
    time_max: Duration,
) -> Result<(), Refusal> {
    if comparison::are_met(established.token(), request, established, now) {
        return Ok(());
    }
    let biscuit = established.signed();
    let biscuit = biscuit.ok_or(Refusal::Deny(DenyReason::BadSignature))?;
    let facts = facts(established.token(), request, established, now);
    evaluate(&biscuit, facts, time_max)
}

/// Runs the checks in the token by Datalog.
fn evaluate(
    biscuit: &Biscuit,
    facts: Result<AuthorizerBuilder, BiscuitError>,
    time_max: Duration,
) -> Result<(), Refusal> {
    let limits = AuthorizerLimits {
        max_facts: FACTS_MAX,
        max_iterations: ITERATIONS_MAX,
        max_time: time_max,
    };
    let ran = facts
        // Limits hold for loading the token too, so they are set before it is built.
        .and_then(|builder| builder.set_limits(limits).build(biscuit))
        .and_then(|mut authorizer| authorizer.authorize());
    match ran {
        Ok(_) => Ok(()),
        Err(BiscuitError::RunLimit(_)) => Err(Refusal::Unknown(UnknownReason::LimitExceeded)),
        Err(error) => Err(Refusal::Deny(DenyReason::CheckFailed(shown(&error)))),
    }
}

/// Beginning of the library's sentence, which repeats each check that does not hold: holders wrote some of them.
fn shown(error: &BiscuitError) -> String {
    error.to_string().chars().take(SHOWN_MAX).collect()
}

/// Facts of the request, for Datalog.
fn facts(
    token: &Token,
    request: &Request,
    claims: &Claims,
    now: UnixSeconds,
) -> Result<AuthorizerBuilder, BiscuitError> {
    // No token ends later than the largest of Datalog's numbers.
    let time = i64::try_from(now.0).unwrap_or(i64::MAX);
    let subject = claims.subject.as_str();
    match request {
        Request::Identity {
            purpose, domain, ..
        } => {
            let actor = claims.actor.as_str();
            let builder = authorizer!(
                r#"time({time}); actor({actor}); allow if subject({subject}), actor({actor});"#
            );
            about_identity(builder, purpose.as_ref(), domain, claims)
        }
        Request::Authorization {
            resource,
            operation,
            evidence,
            ..
        } => {
            let (resource, operation) = (resource.as_str(), operation.as_str());
            let builder = authorizer!(
                r#"time({time}); subject({subject}); resource({resource}); operation({operation});
                   allow if right({subject}, {resource}, {operation});"#
            );
            about_grant(builder, token, evidence, claims)
        }
        Request::Context { excluded } => {
            let mut builder = authorizer!("time({time}); allow if context({subject});");
            for label in excluded {
                builder = builder.fact(fact!("exposure({label})", label = label.as_str()))?;
            }
            Ok(builder)
        }
    }
}

fn about_identity(
    mut builder: AuthorizerBuilder,
    purpose: Option<&Purpose>,
    claim: &DomainClaim,
    claims: &Claims,
) -> Result<AuthorizerBuilder, BiscuitError> {
    if let Some(Purpose {
        resource,
        operation,
    }) = purpose
    {
        builder = builder
            .fact(fact!("resource({r})", r = resource.as_str()))?
            .fact(fact!("operation({o})", o = operation.as_str()))?;
    }
    match comparison::domain_of(claim, claims) {
        Some(domain) => builder.fact(fact!("domain({domain})")),
        None => Ok(builder),
    }
}

/// Adds facts of an authorization, and only those that met its demands: prefixes that cover the path, facets that the
/// caller will spend.
fn about_grant(
    mut builder: AuthorizerBuilder,
    token: &Token,
    evidence: &Evidence,
    claims: &Claims,
) -> Result<AuthorizerBuilder, BiscuitError> {
    if let Some(domain) = &evidence.domain {
        builder = builder.fact(fact!("domain({domain})", domain = domain.as_str()))?;
    }
    for prefix in grant::prefixes(token) {
        builder = builder.fact(fact!("prefix({prefix})"))?;
    }
    let known = evidence.designations.iter();
    let known = known.map(|one| (one.label.as_str(), one.value.as_str()));
    let facets = claims.spends.iter();
    let facets = facets.map(|spend| (Designation::FACET, spend.facet.as_str()));
    for (label, value) in known.chain(facets) {
        builder = builder.fact(fact!("designation({label}, {value})"))?;
    }
    Ok(builder)
}
