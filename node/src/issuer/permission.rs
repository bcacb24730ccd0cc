//! Permission: whether the caller may do what it asks for.

use hessra_revocation::Identity;

use super::caller::Asking;
use super::refusal::{denied, refused};
use super::right::AuthorizationRequest;
use crate::policy::{Denied, PolicyView, nearest, without_scheme};
use crate::problem::{Kind, Problem};

/// Checks the rights, and the realm where one is named.
pub(super) fn permitted(
    policy: &PolicyView,
    asking: &Asking,
    request: &AuthorizationRequest,
) -> Result<(), Problem> {
    realm_stands(policy, asking)?;
    if let Some(domain) = &request.domain {
        in_domain(policy, &asking.actor, domain)?;
    }
    let (resource, operation) = (request.resource.as_str(), request.operation.as_str());
    let decision = if asking.bearer && asking.domain.is_none() {
        policy.authorize_bearer(&asking.subject, &asking.actor, resource, operation)
    } else {
        policy.authorize(&asking.actor, resource, operation)
    };
    decision.map_err(|refusal| denied(&refusal, policy, &asking.actor))
}

/// Checks a token that a realm minted. It is as good as the realm is now, and the role as it was: both must permit.
fn realm_stands(policy: &PolicyView, asking: &Asking) -> Result<(), Problem> {
    let Some(domain) = &asking.domain else {
        return Ok(());
    };
    let realm = policy.realm_of(&asking.actor);
    let (identity, client) = realm
        .filter(|(identity, _)| identity.path() == without_scheme(domain))
        .ok_or_else(|| {
            let sentence = format!(
                "`{}` is no member of the realm of its token any more",
                asking.actor
            );
            Problem::new(Kind::Unauthenticated, "unknown_realm", sentence)
        })?;
    let own = policy.client(&asking.actor);
    if !client.identity_tokens || own.is_some_and(|own| !own.identity_tokens) {
        return Err(refused(&Denied::NoIdentityTokens(identity.to_string())));
    }
    let role = policy.role_of(&asking.actor);
    if asking.roles.is_empty()
        || role.is_some_and(|role| asking.roles.iter().any(|had| had == role))
    {
        return Ok(());
    }
    let sentence = format!(
        "the role of `{}` has changed since its token was minted: ask the realm for a new one",
        asking.actor
    );
    Err(Problem::new(Kind::Denied, "role_changed", sentence))
}

/// Checks that the domain that was named is the actor's own realm, or the actor itself.
fn in_domain(policy: &PolicyView, actor: &Identity, domain: &str) -> Result<(), Problem> {
    let itself = policy.client(actor).filter(|client| client.is_realm());
    let mut realms: Vec<&str> = itself.map(|_| actor.path()).into_iter().collect();
    realms.extend(policy.realm_of(actor).map(|(realm, _)| realm.path()));
    let wanted = without_scheme(domain);
    if realms.contains(&wanted) {
        return Ok(());
    }
    // Only realms that the caller is in are named.
    let meant = nearest(wanted, &realms);
    let meant = meant.map_or_else(String::new, |realm| format!("; did you mean `{realm}`?"));
    let sentence = format!("`{actor}` is not in the domain that was named{meant}");
    Err(Problem::new(Kind::Denied, "wrong_domain", sentence))
}
