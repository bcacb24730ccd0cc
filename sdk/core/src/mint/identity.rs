//! Identities, and identities restricted to a domain.

use biscuit_auth::builder::BlockBuilder;
use biscuit_auth::macros::{block, fact};
use rand::{CryptoRng, RngCore};

use hessra_revocation::{Identity, Revision, TokenId, UnixSeconds};

use super::authority::refused;
use super::issue::{Issue, Minted, check_name, number};
use crate::chain::is_below;
use crate::signer::Signer;
use crate::token::{ROLES_MAX, Refreshed};
use crate::{MintError, TokenClass};

/// Parameters of an identity token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityParameters {
    /// Identity of the holder.
    pub subject: Identity,
    /// True when its holder may delegate.
    pub delegatable: bool,
    /// Instant from which on it is refused.
    pub expires_at: UnixSeconds,
    /// Instant of its issue.
    pub issued_at: UnixSeconds,
    /// Revision that the minting node has applied.
    pub rev: Revision,
    /// Ids of every block of the token that it is made from, and those it recorded itself; empty when it is issued over
    /// a certificate.
    pub parents: Vec<TokenId>,
    /// SHA-256 of the client certificate that it is issued over.
    pub cert: Option<[u8; 32]>,
    /// Refresh history; `None` when it is new.
    pub refreshed: Option<Refreshed>,
    /// Instant beyond which nothing lives that it is refreshed to: the end of its certificate. `None` = not bounded so.
    pub refreshable_until: Option<UnixSeconds>,
}

/// Parameters of an identity token that is restricted to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainIdentityParameters {
    /// Identity of the realm that mints.
    pub domain: Identity,
    /// Identity of the holder; below the domain.
    pub subject: Identity,
    /// Roles of the subject in the domain when it is minted. Policy may have changed since; both must permit.
    pub roles: Vec<String>,
    /// Instant from which on it is refused.
    pub expires_at: UnixSeconds,
    /// Instant of its issue.
    pub issued_at: UnixSeconds,
    /// Revision that the minting node has applied.
    pub rev: Revision,
    /// Ids of every block of the identity token that asks for it, and those it recorded itself.
    pub parents: Vec<TokenId>,
    /// SHA-256 of the client certificate that asks for it.
    pub cert: Option<[u8; 32]>,
}

/// Mints an identity token of the published shape.
///
/// # Errors
/// [`MintError::Lifetime`], [`MintError::Number`], [`MintError::TooManyParents`]; [`MintError::Signer`] and
/// [`MintError::Signature`] from the signer.
pub fn mint_identity(
    signer: &impl Signer,
    parameters: &IdentityParameters,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    let common = Issue {
        class: TokenClass::Identity,
        issued_at: parameters.issued_at,
        expires_at: parameters.expires_at,
        rev: parameters.rev,
        parents: &parameters.parents,
        cert: parameters.cert,
    };
    common.check()?;
    let mut published = identity_block(parameters)?;
    if let Some(refreshed) = parameters.refreshed {
        published = published.merge(refreshed_fact(refreshed)?);
    }
    if let Some(until) = parameters.refreshable_until {
        let until = number(until.0)?;
        published = published.merge(block!("hessra_until({until});"));
    }
    common.sign(signer, published, rng)
}

/// Mints an identity token that is good only where its domain is confirmed. It cannot be delegated.
///
/// # Errors
/// As [`mint_identity`], and [`MintError::OutsideDomain`], [`MintError::Name`] and [`MintError::TooMany`] about roles.
pub fn mint_domain_identity(
    signer: &impl Signer,
    parameters: &DomainIdentityParameters,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    let common = Issue {
        class: TokenClass::Identity,
        issued_at: parameters.issued_at,
        expires_at: parameters.expires_at,
        rev: parameters.rev,
        parents: &parameters.parents,
        cert: parameters.cert,
    };
    common.check()?;
    if !is_below(&parameters.subject, &parameters.domain) {
        return Err(MintError::OutsideDomain {
            subject: parameters.subject.clone(),
            domain: parameters.domain.clone(),
        });
    }
    let published = domain_block(parameters)?;
    common.sign(signer, add_roles(published, &parameters.roles)?, rng)
}

fn identity_block(parameters: &IdentityParameters) -> Result<BlockBuilder, MintError> {
    let subject = parameters.subject.as_str();
    let expires_at = number(parameters.expires_at.0)?;
    Ok(if parameters.delegatable {
        block!(
            r#"subject({subject});
               check if actor($a), $a == {subject} || $a.starts_with({subject} + ":");
               check if time($time), $time < {expires_at};"#
        )
    } else {
        block!(
            r#"subject({subject});
               check if actor($a), $a == {subject};
               check if time($time), $time < {expires_at};"#
        )
    })
}

fn domain_block(parameters: &DomainIdentityParameters) -> Result<BlockBuilder, MintError> {
    let (subject, domain) = (parameters.subject.as_str(), parameters.domain.as_str());
    let expires_at = number(parameters.expires_at.0)?;
    Ok(block!(
        r#"subject({subject});
           subject($d, $s) <- domain($d), subject($s);
           check if actor($a), $a == {subject};
           check if time($time), $time < {expires_at};
           check if domain({domain});"#
    ))
}

fn add_roles(mut block: BlockBuilder, roles: &[String]) -> Result<BlockBuilder, MintError> {
    if roles.len() > ROLES_MAX {
        return Err(MintError::TooMany {
            what: "roles",
            count: roles.len(),
            limit: ROLES_MAX,
        });
    }
    for role in roles {
        check_name(role)?;
        let role = fact!("hessra_role({role})", role = role.as_str());
        block = block.fact(role).map_err(refused)?;
    }
    Ok(block)
}

fn refreshed_fact(refreshed: Refreshed) -> Result<BlockBuilder, MintError> {
    let count = i64::from(refreshed.count);
    let first = number(refreshed.first_issued_at.0)?;
    Ok(block!("hessra_refreshed({count}, {first});"))
}
