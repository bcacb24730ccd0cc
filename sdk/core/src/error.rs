//! Why a token could not be read, minted or delegated, and why a key could not be read.
//!
//! Refusals of a check are not errors: they are in [`crate::verdict`].

use hessra_revocation::Identity;

/// Why a text is not a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Above [`crate::Limits::text_bytes_max`].
    #[error("a token has at most {limit} bytes, this one has {length}: ask for a shorter one")]
    TooLong {
        /// Bytes of the text.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Above [`crate::Limits::blocks_max`].
    #[error(
        "a token has at most {limit} blocks, this one has {count}: delegate from an identity nearer to the root"
    )]
    TooManyBlocks {
        /// Blocks of the token.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Not URL-safe base64 with padding.
    #[error(
        "the token is not URL-safe base64 with padding: copy it whole, without spaces or a line end"
    )]
    Encoding,
    /// Not a Biscuit, or not in the one encoding that a Biscuit has.
    #[error("the token is not a well-formed Biscuit ({0}): copy it whole, or ask for a new one")]
    Format(String),
}

/// Why a public key could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not an SPKI document in PEM form, or not of an Ed25519 key.
    #[error("not an Ed25519 public key in PEM form: take it from `/public_key` of a node")]
    Pem,
    /// 32 bytes that are no point of the curve, or one of small order.
    #[error("the bytes are not an Ed25519 public key: take it from `/public_key` of a node")]
    Bytes,
}

/// Why a signer did not sign. The text is for operators and must not carry key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign: {0}")]
pub struct SignerError(pub String);

/// Why no token was minted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// The token would have expired when issued.
    #[error(
        "the token would end at {expires_at}, not after it is issued at {issued_at}: ask for a longer lifetime"
    )]
    Lifetime {
        /// Unix seconds.
        issued_at: u64,
        /// Unix seconds.
        expires_at: u64,
    },
    /// A resource or operation that published clients, which read the printed text, could take for something else.
    #[error(
        "`{0}` cannot name a resource or operation: use 1 to 256 printable characters without `\"` and `\\`"
    )]
    Name(String),
    /// More ancestor ids than a token has blocks.
    #[error(
        "a token records at most {limit} ancestors, not {count}: exchange a token with fewer blocks"
    )]
    TooManyParents {
        /// Given.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A number that Datalog's signed 64 bits do not hold.
    #[error("{0} does not fit a token: check the clock of the node")]
    Number(u64),
    /// The signer did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The signature is not by the key that the signer says it has.
    #[error(
        "the signer of key {key_id} made a signature that its public key does not verify: check the key's material"
    )]
    Signature {
        /// Key id of the signer.
        key_id: u32,
    },
    /// The library refused what we built.
    #[error("cannot build the token ({0}): report this")]
    Biscuit(String),
}

/// Why an identity was not delegated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DelegateError {
    /// The parent, or what was made of it, does not pass its own check.
    #[error("the identity cannot be delegated: {0}")]
    Refused(String),
    /// Not below the current actor.
    #[error(
        "`{child}` is not below `{actor}`: name something under `{actor}:`, such as `{actor}:agent`"
    )]
    NotBelow {
        /// Asked for.
        child: Identity,
        /// Who delegates.
        actor: Identity,
    },
    /// The identity was issued without the right to delegate.
    #[error("`{actor}` cannot be delegated: ask for a delegatable identity")]
    NotDelegatable {
        /// Who delegates.
        actor: Identity,
    },
    /// Delegated too often already.
    #[error("an identity is delegated at most {limit} times: delegate from one nearer to the root")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The child would have expired already.
    #[error("the delegation would end at {expires_at}, and it is {now}: choose a longer lifetime")]
    Lifetime {
        /// Unix seconds.
        expires_at: u64,
        /// Unix seconds.
        now: u64,
    },
    /// The token was sealed by its holder.
    #[error("the token is sealed and cannot be delegated: delegate from the unsealed one")]
    Sealed,
    /// The additional check is not Datalog, or more than checks.
    #[error(
        "the additional check is not accepted ({0}): write `check if ...` without `actor` and `subject`"
    )]
    Check(String),
    /// The library refused what we built.
    #[error("cannot append to the token ({0}): report this")]
    Biscuit(String),
}
