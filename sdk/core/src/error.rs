//! Errors of reading, minting, delegating and attesting a token, and of a schema.
//!
//! Refusals of a check are not errors: they are in [`crate::reason`]. Errors of keys and signers are beside those.

use hessra_revocation::Identity;

use crate::signer::SignerError;
use crate::third_party::ThirdPartyKey;

/// Error of a text that is not a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Text longer than [`crate::Limits::text_bytes_max`].
    #[error("a token has at most {limit} bytes, this one has {length}: ask for a shorter one")]
    TooLong {
        /// Bytes of the text.
        length: usize,
        /// Most bytes.
        limit: usize,
    },
    /// More blocks than [`crate::Limits::blocks_max`].
    #[error(
        "a token has at most {limit} blocks, this one has {count}: delegate from an identity nearer to the root"
    )]
    TooManyBlocks {
        /// Blocks of the token.
        count: usize,
        /// Most blocks.
        limit: usize,
    },
    /// More of something than a verifier reads.
    #[error(
        "a token has at most {limit} {what}, this one has {count}: add less to it, or ask for a new one"
    )]
    TooMany {
        /// Kind of the parts.
        what: &'static str,
        /// Parts of the token.
        count: usize,
        /// Most parts.
        limit: usize,
    },
    /// Text that is not URL-safe base64 with padding.
    #[error(
        "the token is not URL-safe base64 with padding: copy it whole, without spaces or a line end"
    )]
    Encoding,
    /// Bytes that are no Biscuit, or not in the one encoding that a Biscuit has.
    #[error("the token is not a well-formed Biscuit ({0}): copy it whole, or ask for a new one")]
    Format(String),
}

/// Reason for which a check of a holder's making is not evaluated: its cost is not bounded, or above the bound.
///
/// The list of what is evaluated is in the module `token::policy`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Costly {
    /// Operator that does not cost the same for everything that it is given.
    #[error("`{0}` is not evaluated for a holder of a token")]
    Operator(&'static str),
    /// Predicates whose facts would have to be tried in each combination.
    #[error("a query names each predicate once, and one of `right` and `designation`")]
    Join,
    /// Value where only plain ones are compared.
    #[error(
        "values are numbers, texts, times and truth values, and a collection holds nothing but these: no collection in it"
    )]
    Value,
    /// Expression that leaves no value.
    #[error("an expression has no value")]
    Malformed,
    /// More of something than all holders of a token may add.
    #[error("the holders of a token may add at most {limit} {what}")]
    TooMany {
        /// Kind of the parts.
        what: &'static str,
        /// Most parts.
        limit: usize,
    },
}

/// Error of a token that was not minted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// Lifetime that would have ended when the token is issued.
    #[error(
        "the token would end at {expires_at}, not after it is issued at {issued_at}: ask for a longer lifetime"
    )]
    Lifetime {
        /// Instant of the issue, in Unix seconds.
        issued_at: u64,
        /// Instant of the end, in Unix seconds.
        expires_at: u64,
    },
    /// Name that published clients, which read the printed text, could take for something else.
    #[error(
        "`{0}` cannot name a resource, operation, component, role or label: use 1 to 256 printable characters without `\"` and `\\`"
    )]
    Name(String),
    /// More ancestor ids than a token has blocks.
    #[error(
        "a token records at most {limit} ancestors, not {count}: exchange one with fewer blocks, or start from a new one"
    )]
    TooManyParents {
        /// Number given.
        count: usize,
        /// Most ancestor ids.
        limit: usize,
    },
    /// More of something than a token holds.
    #[error("a token has at most {limit} {what}, not {count}: name fewer")]
    TooMany {
        /// Kind of the items.
        what: &'static str,
        /// Number given.
        count: usize,
        /// Most items.
        limit: usize,
    },
    /// Components of a chain or parties that are not a list of different ones.
    #[error(
        "the components that must sign are not usable ({0}): name each once, with a key of its own"
    )]
    Nodes(String),
    /// Designation that the schema requires and the capability would not have.
    #[error("this operation requires a designation `{0}`: name which one")]
    DesignationRequired(String),
    /// Label with a meaning of its own.
    #[error("`{0}` is not a label for designations: name the anchor or the facet as such")]
    Reserved(String),
    /// Subject of a restricted identity that is not below its domain.
    #[error("`{subject}` is not below the domain `{domain}`: name something under `{domain}:`")]
    OutsideDomain {
        /// Subject asked for.
        subject: Identity,
        /// Domain that mints.
        domain: Identity,
    },
    /// Number that Datalog's signed 64 bits do not hold.
    #[error("{0} does not fit a token: check the clock of the node")]
    Number(u64),
    /// Signer that did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// Signature that is not by the key that the signer says it has.
    #[error(
        "the signer of key {key_id} made a signature that its public key does not verify: check the key's material"
    )]
    Signature {
        /// Key id of the signer.
        key_id: u32,
    },
    /// Refusal by the library of a token that we built.
    #[error("cannot build the token ({0}): report this")]
    Biscuit(String),
}

/// Error of an identity that was not delegated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DelegateError {
    /// Parent, or result, that does not pass its own check.
    #[error("the identity cannot be delegated: {0}")]
    Refused(String),
    /// Name that is not below the current actor.
    #[error(
        "`{child}` is not below `{actor}`: name something under `{actor}:`, such as `{actor}:agent`"
    )]
    NotBelow {
        /// Name asked for.
        child: Identity,
        /// Current actor.
        actor: Identity,
    },
    /// Identity that was issued without the right to delegate.
    #[error("`{actor}` cannot be delegated: ask for a delegatable identity")]
    NotDelegatable {
        /// Current actor.
        actor: Identity,
    },
    /// Identity that was delegated too often already.
    #[error("an identity is delegated at most {limit} times: delegate from one nearer to the root")]
    TooDeep {
        /// Most delegations.
        limit: usize,
    },
    /// Child that would have expired already.
    #[error("the delegation would end at {expires_at}, and it is {now}: choose a longer lifetime")]
    Lifetime {
        /// Instant of the end, in Unix seconds.
        expires_at: u64,
        /// Instant of the delegation, in Unix seconds.
        now: u64,
    },
    /// Token that was sealed by its holder.
    #[error("the token is sealed and cannot be delegated: delegate from the unsealed one")]
    Sealed,
    /// Additional check that is not Datalog, or more than checks.
    #[error(
        "the additional check is not accepted ({0}): write `check if ...` about `time`, `resource` and `operation`"
    )]
    Check(String),
    /// Additional check that every verifier would refuse.
    #[error("the additional check would deny every use of the token: {0}")]
    NeverHolds(NeverHolds),
    /// Refusal by the library of a token that we built.
    #[error("cannot append to the token ({0}): report this")]
    Biscuit(String),
}

/// Reason for which no request could meet a check of a holder's making. `Display` says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NeverHolds {
    /// Fact with other values than requests have.
    #[error("`{name}` has one value, {kind}: write `{name}($x)`, and compare `$x` with {kind}")]
    Fact {
        /// Name of the fact.
        name: String,
        /// Kind of its value.
        kind: &'static str,
    },
    /// Operator between values that it is not for.
    #[error(
        "`{operator}` does not work on {left} and {right}: `time` is a number or a time like 2030-01-01T00:00:00Z, and \
         `resource` and `operation` are texts without an order"
    )]
    Operands {
        /// Operator, as it is written.
        operator: &'static str,
        /// Kind of the first value.
        left: &'static str,
        /// Kind of the second value.
        right: &'static str,
    },
    /// Operator of a value that it is not for.
    #[error("`{operator}` does not work on {operand}: leave it out")]
    Operand {
        /// Operator, as it is written.
        operator: &'static str,
        /// Kind of the value.
        operand: &'static str,
    },
    /// Expression that does not say yes or no.
    #[error("an expression comes out as {kind}, not as yes or no: compare it with something")]
    NoAnswer {
        /// Kind of what comes out.
        kind: &'static str,
    },
    /// Condition that nothing fulfils before the token ends.
    #[error(
        "no request fulfils it before the token ends: look at its times, and at texts that cannot be true together"
    )]
    NotInItsLife,
    /// `reject if` of what every request has.
    #[error(
        "every request has what it rejects: name a value, like `reject if operation(\"write\")`"
    )]
    AlwaysRejects,
    /// Number that Datalog does not hold.
    #[error("a number in it becomes larger than 64 bits hold: compute with smaller ones")]
    Overflow,
    /// Division by zero.
    #[error("it divides by zero: divide by something else")]
    Division,
    /// Part that this version does not know.
    #[error(
        "a part of it is not known to this version: write it with the operators that are documented"
    )]
    Unreadable,
}

/// Error of a token that nothing was added to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// Token that does not pass its own check.
    #[error("the token cannot be added to: {0}")]
    Refused(String),
    /// Token that does not wait for a signature of this key.
    #[error("the token does not ask for a signature with `{key}`: sign with a key that it names")]
    NotAsked {
        /// Key of the signer.
        key: ThirdPartyKey,
    },
    /// Service before this one that has not attested.
    #[error(
        "`{component}` comes after `{before}`, which has not attested: send the token there first"
    )]
    OutOfOrder {
        /// Component that would attest.
        component: String,
        /// Component whose turn it is.
        before: String,
    },
    /// Prefix with more than one reading.
    #[error(
        "`{0}` is not a prefix: write whole segments joined by `/`, without `.`, `..`, `%`, `\\` and quotes"
    )]
    Prefix(String),
    /// Designations that cannot be added.
    #[error("the designations cannot be added: {0}")]
    Designation(String),
    /// Token that was sealed by its holder.
    #[error("the token is sealed and cannot be added to: use the unsealed one")]
    Sealed,
    /// Signer that did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// Refusal by the library of a token that we built.
    #[error("cannot append to the token ({0}): report this")]
    Biscuit(String),
}

/// Error of a schema of required designations, or of a question that it has no answer to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Text that is not a name.
    #[error(
        "`{0}` cannot be a name in a schema: use 1 to 256 printable characters without `\"` and `\\`"
    )]
    Name(String),
    /// Label with a meaning of its own.
    #[error("`{0}` is a reserved label: require another")]
    Reserved(String),
    /// Operation that is there twice.
    #[error("operation `{operation}` of `{target}` is there twice: join the two entries")]
    Twice {
        /// Target of the operation.
        target: String,
        /// Operation.
        operation: String,
    },
    /// Too many of one kind.
    #[error("a schema has at most {limit} of each kind: split the target")]
    TooMany {
        /// Most of each kind.
        limit: usize,
    },
    /// Operation that the target does not have.
    #[error("`{target}` has no operation `{operation}`: add it to the schema")]
    Unknown {
        /// Target that was asked about.
        target: String,
        /// Operation that was asked about.
        operation: String,
    },
}
