//! Attestation: blocks that others add to an authorization. A service attests that it was there, a party that it
//! agrees, an attestor the prefix that the token is good for.
//!
//! Each is a block signed with a key that the authority named when it minted. Nothing is appended that the token does
//! not ask for, and a token that does not verify is not signed: a signature over a stranger's token is a gift to them.

use biscuit_auth::BlockBuilder;
use biscuit_auth::macros::block;
use rand::{CryptoRng, RngCore};

use hessra_revocation::UnixSeconds;

use crate::append::append_signed;
use crate::token::{Block, CheckShape, RuleShape};
use crate::{AttestError, Keyring, Limits, ServiceNode, Signer, ThirdPartyKey, Token, TokenError};
use crate::{DenyReason, path};

/// Signs for one party of a multi-party authorization. Signing again returns the token as it is.
///
/// # Errors
/// [`AttestError`]; [`AttestError::NotAsked`] unless the token waits for this component with the signer's key.
pub fn sign_off(
    token: &str,
    keyring: &Keyring,
    component: &str,
    signer: &impl Signer,
    now: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, AttestError> {
    let (token, key) = (open(token, keyring, now)?, key_of(signer)?);
    let wanted = CheckShape::Signoff {
        component: component.to_owned(),
        key,
    };
    if !token.authority().checks.contains(&wanted) {
        return Err(AttestError::NotAsked { key });
    }
    if token
        .blocks()
        .iter()
        .any(|block| block.says(&key, "namespace", component))
    {
        return Ok(token.to_text());
    }
    append(&token, signer, block!("namespace({component});"), rng)
}

/// Attests that the service with the signer's key has handled the request. Attesting again returns the token as it is.
///
/// # Errors
/// [`AttestError::NotAsked`] unless the key is one of the chain's; [`AttestError::OutOfOrder`] while a service before
/// it has not attested; else [`AttestError`].
pub fn attest_service(
    token: &str,
    keyring: &Keyring,
    signer: &impl Signer,
    now: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, AttestError> {
    let (token, key) = (open(token, keyring, now)?, key_of(signer)?);
    let nodes = chain_nodes(token.authority());
    let place = nodes.iter().position(|node| node.key == key);
    let place = place.ok_or(AttestError::NotAsked { key })?;
    let resource = only_resource(&token)?;
    let attested = attested_services(&token, &nodes, &resource)
        .map_err(|reason| AttestError::Refused(reason.to_string()))?;
    if place < attested {
        return Ok(token.to_text());
    }
    if let Some(next) = nodes.get(attested).filter(|_| place > attested) {
        return Err(AttestError::OutOfOrder {
            component: nodes[place].component.clone(),
            before: next.component.clone(),
        });
    }
    append(&token, signer, block!("service({resource});"), rng)
}

/// Restricts a stub to a prefix, and so makes it usable.
///
/// Verifiers of ours compare segment by segment; published ones take the prefix itself as the object.
///
/// # Errors
/// [`AttestError::NotAsked`] unless the token waits for this key; [`AttestError::Prefix`]; else [`AttestError`].
pub fn attest_prefix(
    token: &str,
    keyring: &Keyring,
    prefix: &str,
    signer: &impl Signer,
    now: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, AttestError> {
    let (token, key) = (open(token, keyring, now)?, key_of(signer)?);
    let wanted = CheckShape::PrefixAdded(key);
    if !token.authority().checks.contains(&wanted) {
        return Err(AttestError::NotAsked { key });
    }
    if !path::is_canonical(prefix) {
        return Err(AttestError::Prefix(
            prefix.escape_default().take(80).collect(),
        ));
    }
    let restriction = block!("prefix_added(true); check if prefix({prefix});");
    append(&token, signer, restriction, rng)
}

/// Opens a token that verifies and has not ended.
pub(crate) fn open(text: &str, keyring: &Keyring, now: UnixSeconds) -> Result<Token, AttestError> {
    let refuse = |reason: DenyReason| AttestError::Refused(reason.to_string());
    let token = Token::parse(text, &Limits::default()).map_err(|error| refuse(error.into()))?;
    keyring.verify(&token).map_err(refuse)?;
    let at = UnixSeconds(token.expires_at().unwrap_or(0));
    if at <= now {
        return Err(refuse(DenyReason::Expired { at }));
    }
    Ok(token)
}

/// Appends a block to a token, and checks that the result still is one.
pub(crate) fn append(
    token: &Token,
    signer: &impl Signer,
    block: BlockBuilder,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, AttestError> {
    let refused = |error: TokenError| AttestError::Refused(error.to_string());
    let biscuit = token.biscuit().map_err(refused)?;
    let text = append_signed(biscuit, signer, block, rng)?;
    Token::parse(&text, &Limits::default()).map_err(refused)?;
    Ok(text)
}

pub(crate) fn key_of(signer: &impl Signer) -> Result<ThirdPartyKey, AttestError> {
    let key = ThirdPartyKey::ed25519(&signer.public_key());
    key.map_err(|error| AttestError::Biscuit(error.to_string()))
}

/// Services of a chain, in order; empty when it is no chain.
pub(crate) fn chain_nodes(authority: &Block) -> Vec<ServiceNode> {
    let nodes = authority.rules.iter().filter_map(|rule| match rule {
        RuleShape::ChainNode { component, key } => Some(ServiceNode {
            component: component.clone(),
            key: *key,
        }),
        _ => None,
    });
    nodes.collect()
}

/// Number of services that have attested: the first so many, each once, in order.
pub(crate) fn attested_services(
    token: &Token,
    nodes: &[ServiceNode],
    resource: &str,
) -> Result<usize, DenyReason> {
    let mut attested = 0;
    for block in token.blocks().iter().skip(1) {
        let Some(key) = block.external_key else {
            continue;
        };
        let Some(service) = block.fact_text("service") else {
            continue;
        };
        let expected = nodes.get(attested).filter(|node| node.key == key);
        if expected.is_none() || service != resource {
            return Err(DenyReason::ChainOrder {
                expected: nodes.get(attested).map(|node| node.component.clone()),
            });
        }
        attested += 1;
    }
    Ok(attested)
}

fn only_resource(token: &Token) -> Result<String, AttestError> {
    let facts = token
        .facts()
        .map_err(|error| AttestError::Refused(error.to_string()))?;
    match facts.rights.as_slice() {
        [right] => Ok(right.resource.clone()),
        _ => Err(AttestError::Refused(
            "it does not grant exactly one right".into(),
        )),
    }
}
