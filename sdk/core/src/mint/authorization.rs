//! Authorizations: one right, and the signatures that it waits for.

use biscuit_auth::builder::BlockBuilder;
use biscuit_auth::macros::{block, check, rule};
use rand::{CryptoRng, RngCore};

use hessra_revocation::{Identity, Revision, TokenId, UnixSeconds};

use super::authority::refused;
use super::issue::{Issue, Minted, check_name, number};
use crate::signer::Signer;
use crate::{MintError, ServiceNode, ThirdPartyKey, TokenClass};

/// Most services of a chain, and most parties. Origin: each appends a block, and sixteen is the limit of those.
pub const NODES_MAX: usize = 12;

/// Parameters of an authorization token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationParameters {
    /// Identity that the right is granted to.
    pub subject: Identity,
    /// Resource of the right.
    pub resource: String,
    /// Operation of the right.
    pub operation: String,
    /// Instant from which on it is refused.
    pub expires_at: UnixSeconds,
    /// Instant of its issue.
    pub issued_at: UnixSeconds,
    /// Revision that the minting node has applied.
    pub rev: Revision,
    /// Ids of every block of the identity token that is exchanged, and those it recorded itself.
    pub parents: Vec<TokenId>,
    /// SHA-256 of the client certificate that it is issued over.
    pub cert: Option<[u8; 32]>,
    /// Published verifiers that it serves.
    pub shape: TokenShape,
}

/// Shape of an authorization, by the published verifiers that it serves. The words are those of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenShape {
    /// `universal`: all of them, with the subject bound wherever it is asked for.
    #[default]
    Universal,
    /// `authz`: those that name the subject (CLI, SDK, FFI, Postgres). For Biscuit libraries without `reject if`.
    Authz,
    /// `capability`: those that do not. Verifiers that name a subject accept any.
    Capability,
}

/// Mints an authorization token.
///
/// # Errors
/// As [`mint_identity`](super::mint_identity), and [`MintError::Name`], [`MintError::TooManyParents`].
pub fn mint_authorization(
    signer: &impl Signer,
    parameters: &AuthorizationParameters,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    mint_with(signer, parameters, BlockBuilder::new(), rng)
}

/// Mints an authorization that each service of a chain must attest before the next accepts it.
///
/// # Errors
/// As [`mint_authorization`], and [`MintError::Nodes`], [`MintError::TooMany`].
pub fn mint_service_chain(
    signer: &impl Signer,
    parameters: &AuthorizationParameters,
    nodes: &[ServiceNode],
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    check_nodes(nodes)?;
    let mut demands = BlockBuilder::new();
    for node in nodes {
        let (component, key) = (node.component.as_str(), node.key.inner());
        let attested = rule!("node($s, {component}) <- service($s) trusting {key}");
        demands = demands.rule(attested).map_err(refused)?;
    }
    mint_with(signer, parameters, demands, rng)
}

/// Mints an authorization that is useless until every party has signed it, in any order.
///
/// # Errors
/// As [`mint_service_chain`].
pub fn mint_multi_party(
    signer: &impl Signer,
    parameters: &AuthorizationParameters,
    parties: &[ServiceNode],
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    check_nodes(parties)?;
    let mut demands = BlockBuilder::new();
    for party in parties {
        let (component, key) = (party.component.as_str(), party.key.inner());
        let signed = check!("check if namespace({component}) trusting {key}");
        demands = demands.check(signed).map_err(refused)?;
    }
    mint_with(signer, parameters, demands, rng)
}

/// Mints an authorization that is useless until the attestor has restricted it to a prefix of the resource's paths.
///
/// # Errors
/// As [`mint_authorization`].
pub fn mint_stub(
    signer: &impl Signer,
    parameters: &AuthorizationParameters,
    attestor: &ThirdPartyKey,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    let key = attestor.inner();
    let demands = block!("check if prefix_added(true) trusting {key};");
    mint_with(signer, parameters, demands, rng)
}

/// Mints the head of the parameters' shape, then further demands.
pub(super) fn mint_with(
    signer: &impl Signer,
    parameters: &AuthorizationParameters,
    demands: BlockBuilder,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    let common = Issue {
        class: TokenClass::Authorization,
        issued_at: parameters.issued_at,
        expires_at: parameters.expires_at,
        rev: parameters.rev,
        parents: &parameters.parents,
        cert: parameters.cert,
    };
    common.check()?;
    check_name(&parameters.resource)?;
    check_name(&parameters.operation)?;
    let published = authorization_block(parameters)?.merge(demands);
    common.sign(signer, published, rng)
}

fn authorization_block(parameters: &AuthorizationParameters) -> Result<BlockBuilder, MintError> {
    let subject = parameters.subject.as_str();
    let (resource, operation) = (parameters.resource.as_str(), parameters.operation.as_str());
    let expires_at = number(parameters.expires_at.0)?;
    Ok(match parameters.shape {
        TokenShape::Universal => block!(
            r#"right({subject}, {resource}, {operation});
               check if resource($res), operation($op), right($sub, $res, $op);
               reject if subject($s), $s != {subject};
               check if time($time), $time < {expires_at};"#
        ),
        TokenShape::Authz => block!(
            r#"right({subject}, {resource}, {operation});
               check if subject($sub), resource($res), operation($op), right($sub, $res, $op);
               check if time($time), $time < {expires_at};"#
        ),
        TokenShape::Capability => block!(
            r#"right({subject}, {resource}, {operation});
               check if resource($res), operation($op), right($sub, $res, $op);
               check if time($time), $time < {expires_at};"#
        ),
    })
}

/// Checks that there are some, not too many, each once: a component that comes twice could be satisfied by one
/// signature.
fn check_nodes(nodes: &[ServiceNode]) -> Result<(), MintError> {
    if nodes.len() > NODES_MAX {
        return Err(MintError::TooMany {
            what: "components",
            count: nodes.len(),
            limit: NODES_MAX,
        });
    }
    if nodes.is_empty() {
        return Err(MintError::Nodes("none is named".into()));
    }
    for (index, node) in nodes.iter().enumerate() {
        check_name(&node.component)?;
        let mut before = nodes[..index].iter();
        if before.any(|other| other.component == node.component || other.key == node.key) {
            let why = format!("`{}` or its key comes twice", node.component);
            return Err(MintError::Nodes(why));
        }
    }
    Ok(())
}
