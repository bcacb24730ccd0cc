//! Errors of reading, minting, delegating and attesting a token, and of a schema.
//!
//! Refusals of a check are not errors: they are in [`crate::reason`]. Errors of keys and signers are beside those.

use hessra_revocation::Identity;

use crate::signer::SignerError;
use crate::third_party::ThirdPartyKey;

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
    /// A name that published clients, which read the printed text, could take for something else.
    #[error(
        "`{0}` cannot name a resource, operation, component, role or label: use 1 to 256 printable characters without `\"` and `\\`"
    )]
    Name(String),
    /// More ancestor ids than a token has blocks.
    #[error(
        "a token records at most {limit} ancestors, not {count}: exchange one with fewer blocks, or start from a new one"
    )]
    TooManyParents {
        /// Given.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// More of something than a token holds.
    #[error("a token has at most {limit} {what}, not {count}: name fewer")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Given.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The components of a chain or the parties are not a list of different ones.
    #[error(
        "the components that must sign are not usable ({0}): name each once, with a key of its own"
    )]
    Nodes(String),
    /// The schema requires a designation that the capability would not have.
    #[error("this operation requires a designation `{0}`: name which one")]
    DesignationRequired(String),
    /// A label with a meaning of its own.
    #[error("`{0}` is not a label for designations: name the anchor or the facet as such")]
    Reserved(String),
    /// The subject of a restricted identity is not below its domain.
    #[error("`{subject}` is not below the domain `{domain}`: name something under `{domain}:`")]
    OutsideDomain {
        /// Asked for.
        subject: Identity,
        /// Who mints.
        domain: Identity,
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

/// Why nothing was added to a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The token does not pass its own check.
    #[error("the token cannot be added to: {0}")]
    Refused(String),
    /// The token does not wait for a signature of this key.
    #[error("the token does not ask for a signature with `{key}`: sign with a key that it names")]
    NotAsked {
        /// Of the signer.
        key: ThirdPartyKey,
    },
    /// A service before this one has not attested.
    #[error(
        "`{component}` comes after `{before}`, which has not attested: send the token there first"
    )]
    OutOfOrder {
        /// Who would attest.
        component: String,
        /// Whose turn it is.
        before: String,
    },
    /// A prefix with more than one reading.
    #[error(
        "`{0}` is not a prefix: write whole segments joined by `/`, without `.`, `..`, `%`, `\\` and quotes"
    )]
    Prefix(String),
    /// Designations that cannot be added.
    #[error("the designations cannot be added: {0}")]
    Designation(String),
    /// The token was sealed by its holder.
    #[error("the token is sealed and cannot be added to: use the unsealed one")]
    Sealed,
    /// The signer did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The library refused what we built.
    #[error("cannot append to the token ({0}): report this")]
    Biscuit(String),
}

/// Why a schema of required designations is not accepted, or has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Not a name.
    #[error(
        "`{0}` cannot be a name in a schema: use 1 to 256 printable characters without `\"` and `\\`"
    )]
    Name(String),
    /// A label with a meaning of its own.
    #[error("`{0}` is a reserved label: require another")]
    Reserved(String),
    /// The same operation twice.
    #[error("operation `{operation}` of `{target}` is there twice: join the two entries")]
    Twice {
        /// Of what.
        target: String,
        /// Which.
        operation: String,
    },
    /// Too many of something.
    #[error("a schema has at most {limit} of each kind: split the target")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Not an operation of the target.
    #[error("`{target}` has no operation `{operation}`: add it to the schema")]
    Unknown {
        /// Of what.
        target: String,
        /// Which.
        operation: String,
    },
}
