//! Exposures of the session of a context token.
//!
//! The authority writes them in the authority block, or later in a block signed with the same key. A holder can add
//! labels to reject, and take nothing away; facts in a block of anybody else are refused.

use biscuit_auth::builder::{Predicate, Term};

use hessra_revocation::Identity;

use crate::token::{Block, CheckShape, PolicyCheck};
use crate::{DenyReason, ThirdPartyKey, Token, TokenFacts};

/// Labels of every exposure, sorted.
pub(super) fn read(
    token: &Token,
    facts: &TokenFacts,
    root_key: &[u8; 32],
) -> Result<Vec<String>, DenyReason> {
    let authority = token.authority();
    if authority.expires_at().is_none() || facts.contexts.len() != 1 {
        return Err(shape("it does not end, or not name one session's subject"));
    }
    let issuer = ThirdPartyKey::ed25519(root_key).map_err(|_| DenyReason::BadSignature)?;
    let mut labels = Vec::new();
    for (index, block) in token.blocks().iter().enumerate() {
        let attested = index == 0 || block.external_key == Some(issuer);
        labels.extend(labels_of(block, attested)?);
    }
    labels.sort_unstable();
    labels.dedup();
    Ok(labels)
}

/// Denies a session that has one of the excluded exposures.
pub(super) fn check(exposures: &[String], excluded: &[String]) -> Result<(), DenyReason> {
    match excluded.iter().find(|label| exposures.contains(label)) {
        None => Ok(()),
        Some(label) => Err(DenyReason::Exposed {
            label: label.clone(),
        }),
    }
}

/// Subject of the session.
pub(super) fn subject(facts: &TokenFacts) -> Result<Identity, DenyReason> {
    let name = facts.contexts.first().map_or("", String::as_str);
    Identity::parse(name).map_err(DenyReason::MalformedIdentity)
}

fn labels_of(block: &Block, attested: bool) -> Result<Vec<String>, DenyReason> {
    if !block.rules.is_empty() || block.scoped {
        return Err(shape("it has rules"));
    }
    let mut labels = Vec::new();
    for check in &block.checks {
        match check {
            CheckShape::RejectExposure(label) => labels.push(label.clone()),
            CheckShape::Before(_) | CheckShape::RejectAny(_) => {}
            CheckShape::Other(PolicyCheck::Costly(costly)) => {
                return Err(DenyReason::TooCostly(costly.clone()));
            }
            _ => return Err(shape("it has a check of unknown meaning")),
        }
    }
    if !(attested || block.facts.is_empty()) {
        return Err(shape("somebody else than its issuer added facts"));
    }
    labels.extend(block.facts.iter().filter_map(exposed_label));
    Ok(labels)
}

fn exposed_label(fact: &Predicate) -> Option<String> {
    match (fact.name.as_str(), fact.terms.as_slice()) {
        ("exposed_label", [Term::Str(label)]) => Some(label.clone()),
        _ => None,
    }
}

fn shape(what: &str) -> DenyReason {
    DenyReason::UnsupportedShape(format!(
        "the token is not a context that this version understands: {what}"
    ))
}
