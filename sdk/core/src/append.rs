//! Third-party block whose signature comes from a [`Signer`].
//!
//! The Biscuit library signs such a block only with a private key that it holds. So it builds the block under a
//! throw-away key, and then the signer's signature over the same payload takes the place of that key's.

use biscuit_auth::builder::Algorithm;
use biscuit_auth::format::schema;
use biscuit_auth::{BlockBuilder, KeyPair, PrivateKey, UnverifiedBiscuit};
use prost_biscuit::Message;
use rand::{CryptoRng, RngCore};

use crate::AttestError;
use crate::payload;
use crate::signer::Signer;
use crate::token::to_text;

/// Appends a block, and returns the text form of the token.
pub(crate) fn append_signed(
    biscuit: &UnverifiedBiscuit,
    signer: &impl Signer,
    block: BlockBuilder,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<String, AttestError> {
    let bytes = biscuit.to_vec().map_err(refused)?;
    let mut envelope = schema::Biscuit::decode(bytes.as_slice()).map_err(refused)?;
    let last = envelope.blocks.last().unwrap_or(&envelope.authority);
    let content = content(biscuit, block, rng)?;
    let external = sign_content(signer, &content, &last.signature)?;
    let current = current_key(&envelope, last)?;
    let next = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    let signed = sign_block(&current, &next, content, external, &last.signature)?;
    let secret = next.private().to_bytes().to_vec();
    envelope.blocks.push(signed);
    envelope.proof.content = Some(schema::proof::Content::NextSecret(secret));
    Ok(to_text(&envelope.encode_to_vec()))
}

/// Encodes the block, as the library writes blocks of third parties.
fn content(
    biscuit: &UnverifiedBiscuit,
    block: BlockBuilder,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Vec<u8>, AttestError> {
    let throw_away = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    let request = biscuit
        .third_party_request()
        .map_err(|_| AttestError::Sealed)?;
    let built = request
        .create_block(&throw_away.private(), block)
        .and_then(|block| block.serialize())
        .map_err(refused)?;
    let contents = schema::ThirdPartyBlockContents::decode(built.as_slice()).map_err(refused)?;
    Ok(contents.payload)
}

fn sign_content(
    signer: &impl Signer,
    content: &[u8],
    previous_signature: &[u8],
) -> Result<schema::ExternalSignature, AttestError> {
    let message = payload::of_third_party(content, previous_signature);
    Ok(schema::ExternalSignature {
        signature: signer.sign(&message)?.to_vec(),
        public_key: schema::PublicKey {
            algorithm: schema::public_key::Algorithm::Ed25519 as i32,
            key: signer.public_key().to_vec(),
        },
    })
}

/// Secret that lets a holder append; the token carries it until it is sealed.
fn current_key(
    envelope: &schema::Biscuit,
    last: &schema::SignedBlock,
) -> Result<KeyPair, AttestError> {
    let Some(schema::proof::Content::NextSecret(secret)) = &envelope.proof.content else {
        return Err(AttestError::Sealed);
    };
    let ed25519 = schema::public_key::Algorithm::Ed25519 as i32;
    let algorithm = if last.next_key.algorithm == ed25519 {
        Algorithm::Ed25519
    } else {
        Algorithm::Secp256r1
    };
    let secret = PrivateKey::from_bytes(secret, algorithm).map_err(refused)?;
    Ok(KeyPair::from(&secret))
}

fn sign_block(
    current: &KeyPair,
    next: &KeyPair,
    content: Vec<u8>,
    external: schema::ExternalSignature,
    previous_signature: &[u8],
) -> Result<schema::SignedBlock, AttestError> {
    let mut block = schema::SignedBlock {
        block: content,
        next_key: next.public().to_proto(),
        signature: Vec::new(),
        external_signature: Some(external),
        version: Some(payload::VERSION),
    };
    let message = payload::of_block(&block, Some(previous_signature));
    let message = message.expect("the version is a known one");
    let signature = current.sign(&message).map_err(refused)?;
    block.signature = signature.to_bytes().to_vec();
    Ok(block)
}

fn refused(error: impl std::fmt::Display) -> AttestError {
    AttestError::Biscuit(error.to_string())
}
