//! Reasons of a check that is not passed, with their stable codes and numbers.
//!
//! C enums, exceptions and exit codes hang on codes and numbers, so neither ever changes and none is used twice. A
//! reason says what happened and what to do; which token permits what is decided in [`crate::verifier`].

use std::time::Duration;

use hessra_revocation::{Identity, IdentityError, Revision, RuleKind, UnixSeconds};

use crate::{ChainError, Costly, TokenClass, TokenError};

/// Seconds that a token lives for at most: as long as the authority issues any, and remembers revocations of it. Thirty days.
pub const LIFE_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;

/// Makes an enum of reasons from one table: `Variant = number, "code" fields;`.
macro_rules! reasons {
    (
        $(#[$meta:meta])* $reason:ident, $range:literal:
        $($(#[$attribute:meta])* $name:ident = $number:literal, $code:literal $(($($item:ty),*))? $({$($(#[$field_doc:meta])* $field:ident: $type:ty,)*})?;)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum $reason {
            $($(#[$attribute])* $name $(($($item),*))? $({$($(#[$field_doc])* $field: $type,)*})?,)*
        }

        impl $reason {
            /// Code and number of every reason.
            pub const ALL: &[(&'static str, u16)] = &[$(($code, $number),)*];

            /// Stable word for machines.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)* }
            }

            #[doc = concat!("Stable number for machines, ", $range, ".")]
            #[must_use]
            pub fn number(&self) -> u16 {
                match self { $(Self::$name { .. } => $number,)* }
            }
        }
    };
}

reasons! {
    /// Reason why a token does not permit a request.
    DenyReason, "1 to 99":
    /// Text that is not a token.
    #[error("{0}")]
    Malformed = 1, "malformed" (TokenError);
    /// Token above a size limit.
    #[error("{0}")]
    TooLarge = 2, "too_large" (TokenError);
    /// Key that the verifier does not have.
    #[error("the token names key {key_id}, which is not known here: ask for a new token")]
    UnknownKey = 3, "unknown_key" {
        /// Id of the key, as the token has it.
        key_id: u32,
    };
    /// Key that is revoked.
    #[error("key {key_id}, which signed the token, is revoked: ask for a new token")]
    KeyRevoked = 4, "key_revoked" {
        /// Id of the key.
        key_id: u32,
    };
    /// Signature that does not verify.
    #[error(
        "a signature of the token does not verify: it was changed, or comes from another cluster"
    )]
    BadSignature = 5, "bad_signature";
    /// Token of another class than the needed one.
    #[error("{found} cannot be used here: present {} token", .wanted.with_article())]
    WrongClass = 6, "wrong_class" {
        /// Description of the token, in words.
        found: String,
        /// Class that the request needs.
        wanted: TokenClass,
    };
    /// Shape that this version does not understand, and so cannot vouch for.
    #[error("{0}: ask for a token of the published shape")]
    UnsupportedShape = 7, "unsupported_shape" (String);
    /// Name that is not canonical.
    #[error("a name in the token is not an identity: {0}")]
    MalformedIdentity = 8, "malformed_identity" (IdentityError);
    /// Delegation outside of its parent.
    #[error("the delegation is not valid: {0}")]
    BrokenChain = 9, "broken_chain" (ChainError);
    /// Identity that was delegated too often.
    #[error(
        "the identity was delegated more than {limit} times: delegate from one nearer to the root"
    )]
    TooDeep = 10, "too_deep" {
        /// Most delegations.
        limit: usize,
    };
    /// Identity that is restricted to a domain.
    #[error("{}", ChainError::DomainRequired)]
    DomainRequired = 11, "domain_required";
    /// Actor, named by the caller, that the token does not stand for.
    #[error("the token is of `{actual}` and cannot be used as `{expected}`")]
    ActorMismatch = 12, "actor_mismatch" {
        /// Actor that the caller named.
        expected: Identity,
        /// Actor that was derived from the token.
        actual: Identity,
    };
    /// Token without a right to this operation on this resource for this subject.
    #[error("the token does not grant this operation on this resource to this subject")]
    NotGranted = 13, "not_granted";
    /// Token that has ended.
    #[error("the token ended at {at} (unix seconds): ask for a new one")]
    Expired = 14, "expired" {
        /// Instant from which on it is refused.
        at: UnixSeconds,
    };
    /// Token that a rule of the feed covers.
    #[error("the token is revoked by a rule about its {}", rule_about(*.by))]
    Revoked = 15, "revoked" {
        /// Kind of the rule.
        by: RuleKind,
    };
    /// Check in the token that does not hold.
    #[error("a check in the token does not hold: {0}")]
    CheckFailed = 16, "check_failed" (String);
    /// Service that attested out of turn, or is not of the chain.
    #[error("the services of the chain did not attest in order{}: start again with a new token", turn(.expected.as_deref()))]
    ChainOrder = 17, "chain_order" {
        /// Component whose turn it was; `None` = all had attested.
        expected: Option<String>,
    };
    /// Service before the one that asks that has not attested.
    #[error("`{component}` has not attested: send the token through it first")]
    ChainIncomplete = 18, "chain_incomplete" {
        /// Component whose turn it is.
        component: String,
    };
    /// Service, named by the caller, that the token's chain does not have; of a token that is no chain, any.
    #[error("the token's chain has no service `{component}`: ask for a token of this chain")]
    NotInChain = 19, "not_in_chain" {
        /// Component, as the caller names it.
        component: String,
    };
    /// Chain of the token that differs from the caller's.
    #[error(
        "the token was issued for another chain of services than is configured here: ask for a new one"
    )]
    ChainDiffers = 20, "chain_differs";
    /// Party that has not signed.
    #[error("`{component}` has not signed: have the token signed there first")]
    SignoffMissing = 21, "signoff_missing" {
        /// Component whose signature is missing.
        component: String,
    };
    /// Stub that was not restricted to a prefix.
    #[error("the token is a stub: have its attestor restrict it to a prefix first")]
    PrefixMissing = 22, "prefix_missing";
    /// Path that is not under the token's prefix, or has more than one reading.
    #[error(
        "the path is not under the prefix that the token is restricted to: name a path of whole, plain segments under it"
    )]
    OutsidePrefix = 23, "outside_prefix";
    /// Latent capability that was not activated.
    #[error("the capability is latent: have it activated first")]
    NotActivated = 24, "not_activated";
    /// Dimension that the token is bound in and that this request is not known to be in.
    #[error("the token is bound to another `{label}`, or to one that was not shown here")]
    DesignationMissing = 25, "designation_missing" {
        /// Label of the dimension.
        label: String,
    };
    /// Dimension that the caller requires and that the token is not bound in.
    #[error("the token is not bound to any `{label}`, which is required here: ask for one that is")]
    DesignationRequired = 26, "designation_required" {
        /// Label of the dimension.
        label: String,
    };
    /// Single-use token, whose use cannot be booked here.
    #[error("the token is good once: have a node of the authority spend it")]
    SingleUse = 27, "single_use";
    /// Exposure of the session that must be kept apart.
    #[error("the session has been exposed to `{label}`, which is excluded here")]
    Exposed = 28, "exposed" {
        /// Label of the exposure.
        label: String,
    };
    /// Domain of the identity that is not the caller's, or not the one that it requires.
    #[error("the identity is not of the domain `{domain}`: present one that was minted for it")]
    DomainMismatch = 29, "domain_mismatch" {
        /// Domain, as the caller names it.
        domain: String,
    };
    /// Check of a holder's making that costs more than verifiers give.
    #[error("a holder added a check that verifiers do not evaluate ({0}): use a token without it")]
    TooCostly = 30, "too_costly" (Costly);
    /// Token from the future: the clock of its issuer, or of this machine, is wrong.
    #[error("the token says that it was issued at {at} (unix seconds), which is not yet: compare this machine's clock with the issuer's")]
    IssuedLater = 31, "issued_later" {
        /// Instant at which it says that it was issued.
        at: UnixSeconds,
    };
    /// Token that lives for longer than any that a node issues.
    #[error("the token lives for {seconds} s, and none is issued for more than {LIFE_SECONDS_MAX}: ask for a new one")]
    LivesTooLong = 32, "lives_too_long" {
        /// Time from its issue to its end.
        seconds: u64,
    };
}

impl From<TokenError> for DenyReason {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::TooLong { .. }
            | TokenError::TooManyBlocks { .. }
            | TokenError::TooMany { .. } => Self::TooLarge(error),
            TokenError::Encoding | TokenError::Format(_) => Self::Malformed(error),
        }
    }
}

impl From<ChainError> for DenyReason {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Shape(_) => Self::UnsupportedShape(error.to_string()),
            ChainError::DomainRequired => Self::DomainRequired,
            ChainError::Identity(error) => Self::MalformedIdentity(error),
            ChainError::Sideways { .. } | ChainError::NotDelegable { .. } => {
                Self::BrokenChain(error)
            }
            ChainError::TooDeep { limit } => Self::TooDeep { limit },
            ChainError::Costly(costly) => Self::TooCostly(costly),
        }
    }
}

fn turn(expected: Option<&str>) -> String {
    expected.map_or_else(String::new, |component| {
        format!(": it was the turn of `{component}`")
    })
}

fn rule_about(kind: RuleKind) -> &'static str {
    match kind {
        RuleKind::Token => "token id",
        RuleKind::Subtree => "identity or one above it",
        RuleKind::Exact => "actor",
        RuleKind::Key => "signing key",
        RuleKind::Certificate => "client certificate",
        RuleKind::Lock => "identity or one above it, for a time",
        RuleKind::Unknown(_) => "feed that only a newer version understands: upgrade this verifier",
    }
}

reasons! {
    /// Reason why a verifier cannot tell.
    UnknownReason, "from 101":
    /// Verifier without rules to ask.
    #[error(
        "revocation was not checked: connect the verifier to a feed, or ask for an offline check by name"
    )]
    RevocationNotChecked = 101, "revocation_not_checked";
    /// Rules of unknown age.
    #[error(
        "the feed has not been confirmed since this process started: wait for it, or check its nodes"
    )]
    NeverSynced = 102, "never_synced";
    /// Rules that are older than the bound.
    #[error("the last confirmation of the feed is {} ms old and the bound is {} ms: check its nodes", .age.as_millis(), .age_max.as_millis())]
    Stale = 103, "stale" {
        /// Age of the knowledge.
        age: Duration,
        /// Oldest age that the policy trusts.
        age_max: Duration,
    };
    /// Token that is newer than the rules.
    #[error(
        "the token was minted at revision {token}, and this verifier is at {verifier}: it must catch up first"
    )]
    Behind = 104, "behind" {
        /// `rev` of the token.
        token: Revision,
        /// Revision of the rules.
        verifier: Revision,
    };
    /// Checks in the token that were not finished.
    #[error(
        "the checks of the token did not finish within the limits: try again, or use a token with fewer checks"
    )]
    LimitExceeded = 105, "limit_exceeded";
}

/// Outcome of a check that is not passed.
pub(crate) enum Refusal {
    Deny(DenyReason),
    Unknown(UnknownReason),
}
