//! Runs the checks in the token: Biscuit's authorizer with the facts of the request.
//!
//! The policy allows by the fact that must hold, never `allow if true`: a token without that fact is not allowed, however
//! few checks it has.

use std::time::Duration;

use biscuit_auth::error::Token as BiscuitError;
use biscuit_auth::macros::{authorizer, fact};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit};

use hessra_revocation::UnixSeconds;

use super::Request;
use crate::verdict::Refusal;
use crate::{DenyReason, UnknownReason, Verified};

/// Most facts. Origin: 16 KiB of token hold some hundreds.
const FACTS_MAX: u64 = 1000;
/// Most rounds of rule evaluation. Accepted tokens have no rules and need one.
const ITERATIONS_MAX: u64 = 100;

/// Do the checks hold?
pub(super) fn run(
    biscuit: &Biscuit,
    request: &Request,
    verified: &Verified,
    now: UnixSeconds,
    time_max: Duration,
) -> Result<(), Refusal> {
    let limits = AuthorizerLimits {
        max_facts: FACTS_MAX,
        max_iterations: ITERATIONS_MAX,
        max_time: time_max,
    };
    let ran = facts(request, verified, now)
        // Limits hold for loading the token too, so they are set before it is built.
        .and_then(|builder| builder.set_limits(limits).build(biscuit))
        .and_then(|mut authorizer| authorizer.authorize());
    match ran {
        Ok(_) => Ok(()),
        Err(BiscuitError::RunLimit(_)) => Err(Refusal::Unknown(UnknownReason::LimitExceeded)),
        Err(error) => Err(Refusal::Deny(DenyReason::CheckFailed(error.to_string()))),
    }
}

fn facts(
    request: &Request,
    verified: &Verified,
    now: UnixSeconds,
) -> Result<AuthorizerBuilder, BiscuitError> {
    // No token ends later than what Datalog's numbers hold.
    let time = i64::try_from(now.0).unwrap_or(i64::MAX);
    let subject = verified.subject.as_str();
    match request {
        Request::Identity { purpose, .. } => {
            let actor = verified.actor.as_str();
            let builder = authorizer!(
                r#"time({time}); actor({actor}); allow if subject({subject}), actor({actor});"#
            );
            match purpose {
                None => Ok(builder),
                Some(purpose) => builder
                    .fact(fact!("resource({r})", r = purpose.resource.as_str()))?
                    .fact(fact!("operation({o})", o = purpose.operation.as_str())),
            }
        }
        Request::Authorization {
            resource,
            operation,
            ..
        } => {
            let (resource, operation) = (resource.as_str(), operation.as_str());
            Ok(authorizer!(
                r#"time({time}); subject({subject}); resource({resource}); operation({operation});
                   allow if right({subject}, {resource}, {operation});"#
            ))
        }
    }
}
