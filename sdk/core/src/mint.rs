//! Authority blocks, signed by whoever holds the key.
//!
//! The published shapes and their order are kept exactly, because published clients read the printed text; our facts
//! come beside them and every published verifier ignores them. The signer is a trait, bytes in and signature out: a
//! hardware module, a cloud key or a threshold of nodes can stand behind it, and no private key ever comes here.
//!
//! | module | which tokens |
//! |---|---|
//! | `identity` | identities, and identities restricted to a domain |
//! | `authorization` | a right; alone, for a service chain, for several parties, or under a prefix |
//! | `capability` | a right that asks for designations, an activation, or to be spent once |
//! | `context` | what a session has been exposed to |

use biscuit_auth::builder::{Algorithm, BlockBuilder, Term};
use biscuit_auth::error::Token as BiscuitError;
use biscuit_auth::macros::{block, fact};
use biscuit_auth::{KeyPair, PrivateKey};
use rand::{CryptoRng, RngCore};

use hessra_revocation::{Revision, TokenId, UnixSeconds};

use crate::token::ANCESTORS_MAX;
use crate::{MintError, SignerError, TokenClass};

mod authority;
mod authorization;
mod capability;
mod context;
mod identity;

pub use authorization::{
    AuthorizationParameters, TokenShape, mint_authorization, mint_multi_party, mint_service_chain,
    mint_stub,
};
pub use capability::{CapabilityDemands, DESIGNATIONS_MAX, mint_capability};
pub(crate) use capability::{check_designation, said_by, shown_by_verifier};
pub use context::{ContextParameters, EXPOSURES_MAX, mint_context};
pub use identity::{
    DomainIdentityParameters, IdentityParameters, Refreshed, mint_domain_identity, mint_identity,
};

/// Most bytes of a resource or operation. Origin: as long as paths people write, and short in a header.
pub const NAME_BYTES_MAX: usize = 256;

/// Signs with one Ed25519 token key.
pub trait Signer {
    /// Id of the key, which becomes the token's `root_key_id`.
    fn key_id(&self) -> u32;

    /// Public half of the key.
    fn public_key(&self) -> [u8; 32];

    /// Ed25519 signature (RFC 8032) over the payload.
    ///
    /// # Errors
    /// When whatever holds the key does not sign.
    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError>;

    /// The key itself, where this process holds it: then a token costs one signature and no detour. It must be the key
    /// whose public half is [`Self::public_key`].
    fn local(&self) -> Option<&LocalKey> {
        None
    }
}

/// A token key that this process holds, in the form in which the Biscuit library signs. Zeroed when it is dropped.
pub struct LocalKey(KeyPair);

impl LocalKey {
    /// Of the 32 bytes of an Ed25519 private key (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn new(private: &[u8; 32]) -> Self {
        let private = PrivateKey::from_bytes(private, Algorithm::Ed25519);
        Self(KeyPair::from(&private.expect("32 bytes are a key")))
    }
}

/// Never shows the key.
impl std::fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// A fresh token.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// Text form: padded URL-safe base64, no line end.
    pub token: String,
    /// From this instant on it is refused.
    pub expires_at: UnixSeconds,
    /// Id of its authority block: revokes it and all that is derived from it.
    pub revocation_id: TokenId,
}

/// Never shows the token.
impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted")
            .field("expires_at", &self.expires_at)
            .field("revocation_id", &self.revocation_id)
            .finish_non_exhaustive()
    }
}

/// What every token of ours carries.
struct Common<'a> {
    class: TokenClass,
    issued_at: UnixSeconds,
    expires_at: UnixSeconds,
    rev: Revision,
    parents: &'a [TokenId],
    cert: Option<[u8; 32]>,
}

impl Common<'_> {
    fn check(&self) -> Result<(), MintError> {
        if self.expires_at <= self.issued_at {
            return Err(MintError::Lifetime {
                issued_at: self.issued_at.0,
                expires_at: self.expires_at.0,
            });
        }
        if self.parents.len() > ANCESTORS_MAX {
            return Err(MintError::TooManyParents {
                count: self.parents.len(),
                limit: ANCESTORS_MAX,
            });
        }
        Ok(())
    }

    fn sign(
        &self,
        signer: &impl Signer,
        published: BlockBuilder,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<Minted, MintError> {
        let builder = self.add_facts(published)?;
        let (token, revocation_id) = authority::build(signer, builder, rng)?;
        Ok(Minted {
            token,
            expires_at: self.expires_at,
            revocation_id,
        })
    }

    fn add_facts(&self, mut builder: BlockBuilder) -> Result<BlockBuilder, MintError> {
        builder = builder.merge(block!(
            "hessra_class({class}); rev({rev}); iat({iat}); exp({exp});",
            class = self.class.as_str(),
            rev = number(self.rev.0)?,
            iat = number(self.issued_at.0)?,
            exp = number(self.expires_at.0)?,
        ));
        for parent in self.parents {
            let id = Term::Bytes(parent.as_bytes().to_vec());
            builder = builder.fact(fact!("parent({id})")).map_err(refused)?;
        }
        if let Some(fingerprint) = self.cert {
            let fingerprint = Term::Bytes(fingerprint.to_vec());
            builder = builder
                .fact(fact!("cert({fingerprint})"))
                .map_err(refused)?;
        }
        Ok(builder)
    }
}

/// Biscuit prints strings as they are, and published clients search the print: a quote could end a name early.
pub(crate) fn check_name(name: &str) -> Result<(), MintError> {
    let plain = |character: char| !character.is_control() && character != '"' && character != '\\';
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(plain) {
        Ok(())
    } else {
        let shown: String = name
            .chars()
            .take(NAME_BYTES_MAX)
            .flat_map(char::escape_default)
            .collect();
        Err(MintError::Name(shown))
    }
}

fn number(value: u64) -> Result<i64, MintError> {
    i64::try_from(value).map_err(|_| MintError::Number(value))
}

fn refused(error: BiscuitError) -> MintError {
    MintError::Biscuit(error.to_string())
}
