//! Facts that every minted token carries, and the step that signs it.

use std::fmt;

use biscuit_auth::builder::{BlockBuilder, Term};
use biscuit_auth::macros::{block, fact};
use rand::{CryptoRng, RngCore};

use hessra_revocation::{Revision, TokenId, UnixSeconds};

use super::authority::{build, refused};
use crate::signer::Signer;
use crate::token::ANCESTORS_MAX;
use crate::{MintError, TokenClass};

/// Most bytes of a resource or operation. Origin: as long as paths people write, and short in a header.
pub const NAME_BYTES_MAX: usize = 256;

/// Token that was minted.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// Text form: padded URL-safe base64, no line end.
    pub token: String,
    /// Instant from which on it is refused.
    pub expires_at: UnixSeconds,
    /// Id of its authority block: revokes it and all that is derived from it.
    pub revocation_id: TokenId,
}

/// Hides the token.
impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted")
            .field("expires_at", &self.expires_at)
            .field("revocation_id", &self.revocation_id)
            .finish_non_exhaustive()
    }
}

/// Facts that every minted token carries, beside those of its class.
pub(super) struct Issue<'a> {
    pub(super) class: TokenClass,
    pub(super) issued_at: UnixSeconds,
    pub(super) expires_at: UnixSeconds,
    pub(super) rev: Revision,
    pub(super) parents: &'a [TokenId],
    pub(super) cert: Option<[u8; 32]>,
}

impl Issue<'_> {
    pub(super) fn check(&self) -> Result<(), MintError> {
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

    pub(super) fn sign(
        &self,
        signer: &impl Signer,
        published: BlockBuilder,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<Minted, MintError> {
        let builder = self.add_facts(published)?;
        let (token, revocation_id) = build(signer, builder, rng)?;
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

/// Checks a name. Biscuit prints strings as they are, and published clients search the print: a quote could end a name
/// early.
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

pub(super) fn number(value: u64) -> Result<i64, MintError> {
    i64::try_from(value).map_err(|_| MintError::Number(value))
}
