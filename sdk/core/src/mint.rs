//! Authority blocks, signed by whoever holds the key.
//!
//! The published shapes and their order are kept exactly, because published clients read the printed text; our facts
//! come beside them and every published verifier ignores them. The signer is a trait, bytes in and signature out: a
//! hardware module, a cloud key or a threshold of nodes can stand behind it, and no private key ever comes here.

use biscuit_auth::builder::{BlockBuilder, Term};
use biscuit_auth::error::Token as BiscuitError;
use biscuit_auth::macros::{block, fact};
use rand::{CryptoRng, RngCore};

use hessra_revocation::{Identity, Revision, TokenId, UnixSeconds};

use crate::token::BLOCKS_MAX;
use crate::{MintError, SignerError, TokenClass};

mod authority;

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
}

/// What an identity token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityParameters {
    /// Whose identity.
    pub subject: Identity,
    /// May its holder delegate?
    pub delegatable: bool,
    /// From this instant on it is refused.
    pub expires_at: UnixSeconds,
    /// When it is issued.
    pub issued_at: UnixSeconds,
    /// Revision that the minting node has applied.
    pub rev: Revision,
    /// SHA-256 of the client certificate that it is issued over.
    pub cert: Option<[u8; 32]>,
}

/// What an authorization token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationParameters {
    /// To whom it is granted.
    pub subject: Identity,
    /// On what.
    pub resource: String,
    /// What may be done.
    pub operation: String,
    /// From this instant on it is refused.
    pub expires_at: UnixSeconds,
    /// When it is issued.
    pub issued_at: UnixSeconds,
    /// Revision that the minting node has applied.
    pub rev: Revision,
    /// Ids of every block of the identity token that is exchanged, and those it recorded itself.
    pub parents: Vec<TokenId>,
    /// SHA-256 of the client certificate that it is issued over.
    pub cert: Option<[u8; 32]>,
    /// For which published verifiers.
    pub shape: TokenShape,
}

/// Which published verifiers an authorization serves. The words are those of the configuration.
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

/// Mints an identity token of the published shape.
///
/// # Errors
/// [`MintError::Lifetime`], [`MintError::Number`]; [`MintError::Signer`] and [`MintError::Signature`] from the signer.
pub fn mint_identity(
    signer: &impl Signer,
    parameters: &IdentityParameters,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    let common = Common {
        class: TokenClass::Identity,
        issued_at: parameters.issued_at,
        expires_at: parameters.expires_at,
        rev: parameters.rev,
        parents: &[],
        cert: parameters.cert,
    };
    common.check()?;
    let published = identity_block(parameters)?;
    common.sign(signer, published, rng)
}

/// Mints an authorization token.
///
/// # Errors
/// As [`mint_identity`], and [`MintError::Name`], [`MintError::TooManyParents`].
pub fn mint_authorization(
    signer: &impl Signer,
    parameters: &AuthorizationParameters,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    let common = Common {
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
    let published = authorization_block(parameters)?;
    common.sign(signer, published, rng)
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
        if self.parents.len() > BLOCKS_MAX {
            return Err(MintError::TooManyParents {
                count: self.parents.len(),
                limit: BLOCKS_MAX,
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
fn check_name(name: &str) -> Result<(), MintError> {
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
