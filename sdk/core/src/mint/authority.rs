//! Token whose authority block is signed by a [`Signer`].
//!
//! The Biscuit library signs only with private keys that it holds. A signer that has its key in this process hands it
//! over. For any other the token is built under a throw-away root key, and then the throw-away signature is replaced by
//! the signer's over the same payload. A token put together so is verified before it leaves: a mistake here must not become
//! a token that no verifier accepts.

use biscuit_auth::builder::Algorithm;
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::error::Token as BiscuitError;
use biscuit_auth::{Biscuit, BiscuitBuilder, BlockBuilder, KeyPair, PublicKey};
use prost_biscuit::Message;
use rand::{CryptoRng, RngCore};

use hessra_revocation::TokenId;

use crate::payload;
use crate::signer::{LocalKey, Signer};
use crate::token::size::{CHECKS_MAX, FACTS_MAX, RULES_MAX};
use crate::token::to_text;
use crate::{Limits, MintError};

/// Builds the signed token, and returns its text form and the id of its authority block.
pub(super) fn build(
    signer: &impl Signer,
    block: BlockBuilder,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<(String, TokenId), MintError> {
    check_size(&block)?;
    let builder = BiscuitBuilder::new()
        .merge(block)
        .root_key_id(signer.key_id());
    let (text, id) = match signer.local() {
        Some(key) => build_locally(key, builder, rng),
        None => build_elsewhere(signer, builder, rng),
    }?;
    check_count("bytes", text.len(), Limits::default().text_bytes_max)?;
    Ok((text, id))
}

/// Checks that verifiers read as much as the block has.
fn check_size(block: &BlockBuilder) -> Result<(), MintError> {
    check_count("facts", block.facts.len(), FACTS_MAX)?;
    check_count("rules", block.rules.len(), RULES_MAX)?;
    check_count("checks", block.checks.len(), CHECKS_MAX)
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), MintError> {
    match count <= limit {
        true => Ok(()),
        false => Err(MintError::TooMany { what, count, limit }),
    }
}

fn build_locally(
    key: &LocalKey,
    builder: BiscuitBuilder,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<(String, TokenId), MintError> {
    let biscuit = builder
        .build_with_rng(key.key_pair(), SymbolTable::new(), rng)
        .map_err(refused)?;
    let envelope = biscuit.container().to_proto();
    let id = TokenId::new(&envelope.authority.signature).expect("a signature has 64 bytes");
    Ok((to_text(&envelope.encode_to_vec()), id))
}

fn build_elsewhere(
    signer: &impl Signer,
    builder: BiscuitBuilder,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<(String, TokenId), MintError> {
    let throw_away = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    let biscuit = builder
        .build_with_rng(&throw_away, SymbolTable::new(), rng)
        .map_err(refused)?;
    let mut envelope = biscuit.container().to_proto();
    let payload = payload::of_block(&envelope.authority, None)
        .ok_or_else(|| MintError::Biscuit("the version of its signature is not known".into()))?;
    let signature = signer.sign(&payload)?;
    envelope.authority.signature = signature.to_vec();
    let bytes = envelope.encode_to_vec();
    verify(&bytes, signer)?;
    let id = TokenId::new(&signature).expect("a signature has 64 bytes");
    Ok((to_text(&bytes), id))
}

fn verify(bytes: &[u8], signer: &impl Signer) -> Result<(), MintError> {
    let key_id = signer.key_id();
    let wrong = |_| MintError::Signature { key_id };
    let key = PublicKey::from_bytes(&signer.public_key(), Algorithm::Ed25519).map_err(wrong)?;
    match Biscuit::from(bytes, key) {
        Ok(_) => Ok(()),
        Err(_) => Err(MintError::Signature { key_id }),
    }
}

pub(super) fn refused(error: BiscuitError) -> MintError {
    MintError::Biscuit(error.to_string())
}
