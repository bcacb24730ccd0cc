//! Uses of a capability: whether it is good for this, and what the ledger of the cluster must say before anybody acts
//! on it.
//!
//! A facet is named by the token that has it and by its own word, and kept until the *authority block* of that token
//! ends. A holder can make a copy end earlier; if that copy's end counted, its use would be forgotten while the original
//! still lives, and the original could be used again.

use hessra_revocation::{Identity, Revision, TokenId};
use hessra_sdk_core::{
    DenyReason, Designation, Evidence, Limits, Request, SingleUse, Token, Verified,
};
use hessra_state::{FacetId, Judged, Spend};
use sha2::{Digest as _, Sha256};

use super::Issuer;
use super::allowance::Payer;
use super::mint::shown;
use super::verification::not_good;
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;

/// Domain of these digests: separates them from all others made by this product.
const DOMAIN: &[u8] = b"hessra facet v1\n";

/// A use that is to be made of a capability.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Use {
    /// Identity of its user; `None`: any holder.
    pub subject: Option<String>,
    pub resource: String,
    pub operation: String,
    /// Label and value of what it is about.
    pub designations: Vec<(String, String)>,
}

impl Issuer {
    /// Everything that must be spent before the use may happen; nothing for a capability that is good more than once.
    ///
    /// # Errors
    /// Not a token, not a good one, or not for this; and when this node cannot tell.
    pub fn to_spend(
        &self,
        context: &RequestContext,
        token: &str,
        wanted: &Use,
    ) -> Result<Vec<Spend>, Problem> {
        let outcome = self.decide_use(context, token, wanted);
        self.answered(outcome)
    }

    fn decide_use(
        &self,
        context: &RequestContext,
        token: &str,
        wanted: &Use,
    ) -> Result<Vec<Spend>, Problem> {
        let basis = self.basis(context)?;
        basis
            .context
            .note(|noted| noted.purpose(&wanted.resource, &wanted.operation));
        let asked = (&request(wanted)?, Payer::AskedAbout);
        let verified = self.verify(&basis, token, asked, not_good)?;
        basis.context.note(|noted| {
            noted.presented(verified.token_ids());
            noted.subject(verified.subject());
        });
        spends(token, &verified, basis.view().revision)
    }
}

/// Most designations of one use. Origin: four for each that a capability may be bound by.
const DESIGNATIONS_MAX: usize = 64;

fn request(wanted: &Use) -> Result<Request, Problem> {
    if wanted.designations.len() > DESIGNATIONS_MAX {
        let sentence = format!("a use has at most {DESIGNATIONS_MAX} designations: name fewer");
        return Err(Problem::new(Kind::Invalid, "invalid", sentence));
    }
    let subject = wanted.subject.as_deref().map(|subject| {
        Identity::parse_spelled(subject).map_err(|error| {
            let sentence = format!("`{}` is not an identity: {error}", shown(subject));
            Problem::new(Kind::Invalid, "malformed_identity", sentence)
        })
    });
    let designations = wanted.designations.iter();
    let evidence = Evidence {
        designations: designations
            .map(|(label, value)| Designation::new(label, value))
            .collect(),
        single_use: SingleUse::Report,
        ..Evidence::default()
    };
    let (resource, operation) = (&wanted.resource, &wanted.operation);
    let request = match subject.transpose()? {
        Some(subject) => Request::authorization(subject, resource, operation),
        None => Request::capability(resource, operation),
    };
    Ok(request.with(evidence))
}

fn spends(token: &str, verified: &Verified, at: Revision) -> Result<Vec<Spend>, Problem> {
    if verified.to_spend().is_empty() {
        return Ok(Vec::new());
    }
    let facts = Token::parse(token, &Limits::default()).and_then(|token| token.facts());
    let facts = facts.map_err(|error| not_good(&DenyReason::from(error)))?;
    let expires_at = facts.expires_at.ok_or_else(|| {
        let sentence =
            "the token does not record its end, so its one use cannot be: ask for a new one";
        Problem::new(Kind::Unauthenticated, "unsupported_shape", sentence)
    })?;
    let judged = Judged {
        subject: verified.actor().clone(),
        rev: verified.rev().unwrap_or(at),
    };
    let spends = verified.to_spend().iter();
    Ok(spends
        .map(|spend| Spend {
            facet: facet_id(&spend.token, &spend.facet),
            expires_at,
            judged: judged.clone(),
        })
        .collect())
}

fn facet_id(token: &TokenId, facet: &str) -> FacetId {
    let id = token.as_bytes();
    let mut digest = Sha256::new_with_prefix(DOMAIN);
    // After its length, so that no id and facet write the bytes of another pair.
    digest.update((id.len() as u64).to_be_bytes());
    digest.update(id);
    digest.update(facet.as_bytes());
    FacetId(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pairs_of_token_and_facet_have_one_name() {
        let id = |bytes: &[u8]| TokenId::new(bytes).unwrap();
        let names = [
            facet_id(&id(&[7; 64]), "a"),
            facet_id(&id(&[7; 64]), "b"),
            facet_id(&id(&[8; 64]), "a"),
            facet_id(&id(&[7; 65]), ""),
            facet_id(&id(&[7; 64]), "\u{7}"),
        ];
        for (place, name) in names.iter().enumerate() {
            assert!(!names[place + 1..].contains(name));
        }
    }
}
