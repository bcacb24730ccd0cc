//! Signatures of a token, verified here and remembered: tokens of one parent have its blocks in common.
//!
//! Remembered by key, message and signature, all their bytes. A stranger cannot fill the memory: only signatures of tokens that
//! the root key has signed are kept.

use std::hash::RandomState;

use biscuit_auth::format::schema;
use ed25519_dalek::SigningKey;

use crate::table::Table;
use crate::{payload, verify_ed25519};

/// Bytes of the longest signed message that is remembered.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// Signatures that were verified.
#[derive(Debug)]
pub(crate) struct Signatures(Table<Signature>);

#[derive(Clone, PartialEq, Eq)]
struct Signature {
    key: [u8; 32],
    signature: [u8; 64],
    message: Vec<u8>,
}

impl Signatures {
    /// Empty memory of so many signatures.
    pub(crate) fn new(size: usize, hasher: RandomState) -> Self {
        Self(Table::new(size, hasher))
    }

    fn knows(&self, signature: &Signature) -> bool {
        let shelf = self.0.shelf(&signature.signature);
        shelf.is_some_and(|mut shelf| shelf.find(|known| known == signature).is_some())
    }

    fn keep(&self, signature: &Signature) {
        if signature.message.len() > MESSAGE_BYTES_MAX {
            return;
        }
        if let Some(mut shelf) = self.0.shelf(&signature.signature) {
            shelf.put(signature.clone(), |known| known == signature);
        }
    }
}

/// Signatures of one token, and the memory that they are looked for in. All are of the algorithm and the versions that are
/// verified here.
pub(crate) struct Shown<'a> {
    memory: &'a Signatures,
    authority: Signature,
    later: Vec<Signature>,
    envelope: &'a schema::Biscuit,
}

impl<'a> Shown<'a> {
    /// Signatures of a token; `None` when one is of another algorithm or version.
    pub(crate) fn of(envelope: &'a schema::Biscuit, memory: &'a Signatures) -> Option<Self> {
        let mut signatures = signatures_of(envelope)?.into_iter();
        Some(Self {
            memory,
            authority: signatures.next()?,
            later: signatures.collect(),
            envelope,
        })
    }

    /// True when every signature is right, from the root key on, as `SPECIFICATIONS.md` of the Biscuit project says. Ed25519
    /// only, strictly (see [`verify_ed25519`]). They are remembered when all of them are.
    pub(crate) fn are_right(&self, root: &[u8; 32]) -> bool {
        let authority = Signature {
            key: *root,
            ..self.authority.clone()
        };
        let all = std::iter::once(&authority).chain(&self.later);
        let new: Vec<&Signature> = all.filter(|one| !self.memory.knows(one)).collect();
        let mut verified = new
            .iter()
            .map(|one| verify_ed25519(&one.key, &one.message, &one.signature));
        let right = verified.all(|right| right) && holds_secret(self.envelope);
        if right {
            new.into_iter().for_each(|one| self.memory.keep(one));
        }
        right
    }
}

/// All signatures of a token, that of the authority block first and without its key, which is the root key. `None` when one is
/// of another algorithm or version than is verified here.
fn signatures_of(envelope: &schema::Biscuit) -> Option<Vec<Signature>> {
    let mut signatures = Vec::with_capacity(2 * envelope.blocks.len() + 2);
    let mut add = |key: [u8; 32], bytes: &[u8], message: Vec<u8>| {
        signatures.push(Signature {
            key,
            signature: bytes.try_into().ok()?,
            message,
        });
        Some(())
    };
    let mut key = [0; 32];
    let mut previous: Option<&[u8]> = None;
    for block in std::iter::once(&envelope.authority).chain(&envelope.blocks) {
        add(key, &block.signature, payload::of_block(block, previous)?)?;
        match (&block.external_signature, previous) {
            (None, _) => {}
            (Some(external), Some(previous)) if block.version == Some(payload::VERSION) => {
                let message = payload::of_third_party(&block.block, previous);
                add(ed25519(&external.public_key)?, &external.signature, message)?;
            }
            // The authority block has none, and blocks of an older version are refused by the library.
            (Some(_), _) => return None,
        }
        key = ed25519(&block.next_key)?;
        previous = Some(&block.signature);
    }
    if let Some(schema::proof::Content::FinalSignature(seal)) = &envelope.proof.content {
        let last = envelope.blocks.last().unwrap_or(&envelope.authority);
        add(key, seal, payload::of_seal(last))?;
    }
    Some(signatures)
}

/// True unless the token lets its holder append, and the secret in it is not that of its last block.
fn holds_secret(envelope: &schema::Biscuit) -> bool {
    let last = envelope.blocks.last().unwrap_or(&envelope.authority);
    match &envelope.proof.content {
        Some(schema::proof::Content::NextSecret(secret)) => {
            let secret: Result<[u8; 32], _> = secret.as_slice().try_into();
            secret.is_ok_and(|secret| {
                let public = SigningKey::from_bytes(&secret).verifying_key();
                public.as_bytes().as_slice() == last.next_key.key
            })
        }
        Some(schema::proof::Content::FinalSignature(_)) => true,
        None => false,
    }
}

fn ed25519(key: &schema::PublicKey) -> Option<[u8; 32]> {
    if key.algorithm != schema::public_key::Algorithm::Ed25519 as i32 {
        return None;
    }
    key.key.as_slice().try_into().ok()
}
