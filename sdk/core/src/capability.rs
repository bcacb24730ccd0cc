//! Steps after minting a capability: a holder narrows it, an activator activates it, an attestor says what it is about.
//!
//! Narrowing needs no key and can only take away. Activating and attesting are signed with the key that the capability
//! names; verifiers look for that signature, and no claim of a caller stands for it.

use biscuit_auth::KeyPair;
use biscuit_auth::builder::{Algorithm, BlockBuilder};
use biscuit_auth::macros::{block, check, fact};
use rand::{CryptoRng, RngCore};

use hessra_revocation::UnixSeconds;

use crate::attest::{append, key_of, open};
use crate::mint::{DESIGNATIONS_MAX, check_designation, check_name, said_by, shown_by_verifier};
use crate::token::{CheckShape, to_text};
use crate::{AttestError, Designation, Keyring, Limits, MintError, Signer, Token};

/// Terms of narrowing a capability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Designations that the verifier must show of its request from now on.
    pub designations: Vec<Designation>,
    /// Instant from which on it is refused; `None` = as before.
    pub expires_at: Option<UnixSeconds>,
}

/// Terms of activating a latent capability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivationTerms {
    /// Instant from which on it is refused; `None` = as long as the latent one.
    pub expires_at: Option<UnixSeconds>,
    /// Facet of a single use, in the cluster's ledger. Unique among the activations of the capability.
    pub facet: Option<String>,
}

/// Narrows a capability; needs no key.
///
/// # Errors
/// [`AttestError::Designation`] when there is nothing to narrow, or too much; else [`AttestError`].
pub fn narrow(
    token: &str,
    keyring: &Keyring,
    narrowing: &Narrowing,
    now: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, AttestError> {
    let token = open(token, keyring, now)?;
    check_count(narrowing.designations.len() + usize::from(narrowing.expires_at.is_some()))?;
    let mut block = bounded(BlockBuilder::new(), narrowing.expires_at, now)?;
    for designation in &narrowing.designations {
        check_designation(designation).map_err(misnamed)?;
        block = shown_by_verifier(block, designation).map_err(misnamed)?;
    }
    keyring
        .verify(&token)
        .map_err(|reason| AttestError::Refused(reason.to_string()))?;
    let next = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    let biscuit = token.biscuit();
    let biscuit = biscuit.map_err(|error| AttestError::Refused(error.to_string()))?;
    let narrowed = biscuit.append_with_keypair(&next, block);
    let bytes = narrowed
        .map_err(|_| AttestError::Sealed)?
        .to_vec()
        .map_err(refused)?;
    let text = to_text(&bytes);
    Token::parse(&text, &Limits::default())
        .map_err(|error| AttestError::Refused(error.to_string()))?;
    Ok(text)
}

/// Activates a latent capability.
///
/// # Errors
/// [`AttestError::NotAsked`] unless the capability waits for the signer's key; else [`AttestError`].
pub fn activate(
    token: &str,
    keyring: &Keyring,
    terms: &ActivationTerms,
    signer: &impl Signer,
    now: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, AttestError> {
    let (token, key) = (open(token, keyring, now)?, key_of(signer)?);
    if !token
        .authority()
        .checks
        .contains(&CheckShape::Activation(key))
    {
        return Err(AttestError::NotAsked { key });
    }
    let at = i64::try_from(now.0).unwrap_or(i64::MAX);
    let mut block = bounded(block!("activation({at});"), terms.expires_at, now)?;
    if let Some(facet) = &terms.facet {
        check_name(facet).map_err(misnamed)?;
        let facet = Designation::new(Designation::FACET, facet);
        block = said_by(block, &facet, &key).map_err(misnamed)?;
    }
    append(&token, signer, block, rng)
}

/// Attests what a capability is about, where it waits for the signer's word.
///
/// # Errors
/// [`AttestError::NotAsked`] when it waits for none of the designations under the signer's key; else [`AttestError`].
pub fn attest_designations(
    token: &str,
    keyring: &Keyring,
    designations: &[Designation],
    signer: &impl Signer,
    now: UnixSeconds,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, AttestError> {
    let (token, key) = (open(token, keyring, now)?, key_of(signer)?);
    check_count(designations.len())?;
    let mut block = BlockBuilder::new();
    for Designation { label, value } in designations {
        let wanted = CheckShape::Designation {
            label: label.clone(),
            value: value.clone(),
            attestor: Some(key),
        };
        if !token
            .blocks()
            .iter()
            .any(|block| block.checks.contains(&wanted))
        {
            return Err(AttestError::NotAsked { key });
        }
        let said = fact!(
            "designation({label}, {value})",
            label = label.as_str(),
            value = value.as_str()
        );
        block = block.fact(said).map_err(refused)?;
    }
    append(&token, signer, block, rng)
}

/// `check if time($t), $t < bound`: the variable as the published crates write it in later blocks.
fn bounded(
    block: BlockBuilder,
    expires_at: Option<UnixSeconds>,
    now: UnixSeconds,
) -> Result<BlockBuilder, AttestError> {
    let Some(expires_at) = expires_at else {
        return Ok(block);
    };
    if expires_at <= now {
        let why = format!("it would end at {expires_at}, and it is {now}");
        return Err(AttestError::Refused(why));
    }
    let bound = i64::try_from(expires_at.0).unwrap_or(i64::MAX);
    block
        .check(check!("check if time($t), $t < {bound}"))
        .map_err(refused)
}

fn check_count(count: usize) -> Result<(), AttestError> {
    match count {
        1..=DESIGNATIONS_MAX => Ok(()),
        0 => Err(AttestError::Designation("nothing is named".into())),
        _ => Err(AttestError::Designation(format!(
            "{count} are named, and {DESIGNATIONS_MAX} are the most"
        ))),
    }
}

fn misnamed(error: MintError) -> AttestError {
    AttestError::Designation(error.to_string())
}

fn refused(error: impl std::fmt::Display) -> AttestError {
    AttestError::Biscuit(error.to_string())
}
