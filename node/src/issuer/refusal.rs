//! Refusals of the policy and of the mint, as clients read them.
//!
//! A typo gets the nearest word that the caller itself may use, and no other: what others may do is not told.

use hessra_revocation::Identity;
use hessra_sdk_core::MintError;

use crate::policy::{Denied, PolicyView, nearest};
use crate::problem::{Kind, Problem};

pub(super) fn no_certificate() -> Problem {
    let sentence = "an identity token needs a client certificate that the policy names";
    Problem::new(Kind::Unauthenticated, "unauthenticated", sentence)
}

pub(super) fn refused(denied: &Denied) -> Problem {
    let kind = match denied {
        Denied::UnknownCertificate | Denied::AmbiguousCertificate | Denied::UnknownIdentity(_) => {
            Kind::Unauthenticated
        }
        Denied::NoIdentityTokens(_) | Denied::NotPermitted { .. } => Kind::Denied,
    };
    Problem::new(kind, denied.code(), denied.to_string())
}

/// The refusal that [`refused`] makes, with the word that was probably meant.
pub(super) fn denied(denied: &Denied, policy: &PolicyView, actor: &Identity) -> Problem {
    let mut problem = refused(denied);
    if let Denied::NotPermitted {
        resource,
        operation,
        ..
    } = denied
        && let Some(meant) = meant(policy, actor, resource, operation)
    {
        problem.sentence = format!("{}; did you mean {meant}?", problem.sentence);
    }
    problem
}

fn meant(policy: &PolicyView, actor: &Identity, resource: &str, operation: &str) -> Option<String> {
    let rights = policy.resources_of(actor);
    let rights: Vec<(&str, &str)> = rights
        .iter()
        .filter_map(|right| right.rsplit_once(':'))
        .collect();
    let of = |wanted: &str| -> Vec<&str> {
        let operations = rights.iter().filter(|(name, _)| *name == wanted);
        operations.map(|(_, operation)| *operation).collect()
    };
    let operations = of(resource);
    if !operations.is_empty() {
        return nearest(operation, &operations).map(|word| format!("operation `{word}`"));
    }
    let resources: Vec<&str> = rights.iter().map(|(name, _)| *name).collect();
    nearest(resource, &resources).map(|word| format!("resource `{word}`"))
}

pub(super) fn not_minted(error: &MintError) -> Problem {
    match error {
        MintError::Name(_)
        | MintError::Lifetime { .. }
        | MintError::TooManyParents { .. }
        | MintError::OutsideDomain { .. }
        | MintError::TooMany { .. } => Problem::new(Kind::Invalid, "invalid", error.to_string()),
        _ => {
            tracing::error!(%error, "token not minted");
            Problem::new(
                Kind::Unavailable,
                "not_minted",
                "this node could not sign: ask another node",
            )
        }
    }
}
