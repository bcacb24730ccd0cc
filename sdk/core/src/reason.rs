//! Reasons of a check that is not passed, with their stable codes and numbers.
//!
//! C enums, exceptions and exit codes hang on codes and numbers, so neither ever changes and none is used twice. A reason
//! says what happened and what to do; which token permits what is decided in [`crate::verifier`].

use std::time::Duration;

use hessra_revocation::{Identity, IdentityError, Revision, RuleKind, UnixSeconds};

use crate::{ChainError, TokenClass, TokenError};

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
    /// Why a token does not permit a request.
    DenyReason, "1 to 99":
    /// Not a token.
    #[error("{0}")]
    Malformed = 1, "malformed" (TokenError);
    /// Above a size limit.
    #[error("{0}")]
    TooLarge = 2, "too_large" (TokenError);
    /// Signed with a key that the verifier does not have.
    #[error("the token names key {key_id}, which is not known here: ask for a new token")]
    UnknownKey = 3, "unknown_key" {
        /// As the token has it.
        key_id: u32,
    };
    /// Signed with a key of which nothing stands any more.
    #[error("key {key_id}, which signed the token, is revoked: ask for a new token")]
    KeyRevoked = 4, "key_revoked" {
        /// Id of the key.
        key_id: u32,
    };
    /// A signature does not verify.
    #[error(
        "a signature of the token does not verify: it was changed, or comes from another cluster"
    )]
    BadSignature = 5, "bad_signature";
    /// One class where another is needed.
    #[error("{found} cannot be used here: present {} token", .wanted.with_article())]
    WrongClass = 6, "wrong_class" {
        /// What the token is, in words.
        found: String,
        /// What the request needs.
        wanted: TokenClass,
    };
    /// A shape that this version does not understand, and so cannot vouch for.
    #[error("{0}: ask for a token of the published shape")]
    UnsupportedShape = 7, "unsupported_shape" (String);
    /// A name that is not canonical.
    #[error("a name in the token is not an identity: {0}")]
    MalformedIdentity = 8, "malformed_identity" (IdentityError);
    /// A delegation outside of what it was delegated from.
    #[error("the delegation is not valid: {0}")]
    BrokenChain = 9, "broken_chain" (ChainError);
    /// Delegated too often.
    #[error(
        "the identity was delegated more than {limit} times: delegate from one nearer to the root"
    )]
    TooDeep = 10, "too_deep" {
        /// The limit.
        limit: usize,
    };
    /// Restricted to a domain.
    #[error("{}", ChainError::DomainRequired)]
    DomainRequired = 11, "domain_required";
    /// The caller named an actor that the token does not stand for.
    #[error("the token is of `{actual}` and cannot be used as `{expected}`")]
    ActorMismatch = 12, "actor_mismatch" {
        /// Named by the caller.
        expected: Identity,
        /// Derived from the token.
        actual: Identity,
    };
    /// No right to this operation on this resource for this subject.
    #[error("the token does not grant this operation on this resource to this subject")]
    NotGranted = 13, "not_granted";
    /// It has ended.
    #[error("the token ended at {at} (unix seconds): ask for a new one")]
    Expired = 14, "expired" {
        /// From then on it is refused.
        at: UnixSeconds,
    };
    /// A rule of the feed covers it.
    #[error("the token is revoked by a rule about its {}", rule_about(*.by))]
    Revoked = 15, "revoked" {
        /// Kind of the rule.
        by: RuleKind,
    };
    /// A check in the token does not hold.
    #[error("a check in the token does not hold: {0}")]
    CheckFailed = 16, "check_failed" (String);
    /// A service attested out of turn, or one that is not of the chain.
    #[error("the services of the chain did not attest in order{}: start again with a new token", turn(.expected.as_deref()))]
    ChainOrder = 17, "chain_order" {
        /// Whose turn it was; `None` = all had attested.
        expected: Option<String>,
    };
    /// A service before the one that asks has not attested.
    #[error("`{component}` has not attested: send the token through it first")]
    ChainIncomplete = 18, "chain_incomplete" {
        /// Whose turn it is.
        component: String,
    };
    /// The caller names a service that the token's chain does not have; of a token that is no chain, any.
    #[error("the token's chain has no service `{component}`: ask for a token of this chain")]
    NotInChain = 19, "not_in_chain" {
        /// As the caller names it.
        component: String,
    };
    /// The caller knows another chain than the token.
    #[error(
        "the token was issued for another chain of services than is configured here: ask for a new one"
    )]
    ChainDiffers = 20, "chain_differs";
    /// A party has not signed.
    #[error("`{component}` has not signed: have the token signed there first")]
    SignoffMissing = 21, "signoff_missing" {
        /// Whose signature is missing.
        component: String,
    };
    /// A stub that was not restricted to a prefix.
    #[error("the token is a stub: have its attestor restrict it to a prefix first")]
    PrefixMissing = 22, "prefix_missing";
    /// The path is not under the prefix that the token is restricted to, or has more than one reading.
    #[error(
        "the path is not under the prefix that the token is restricted to: name a path of whole, plain segments under it"
    )]
    OutsidePrefix = 23, "outside_prefix";
    /// A latent capability that was not activated.
    #[error("the capability is latent: have it activated first")]
    NotActivated = 24, "not_activated";
    /// The token is bound in a dimension that this request is not known to be in.
    #[error("the token is bound to another `{label}`, or to one that was not shown here")]
    DesignationMissing = 25, "designation_missing" {
        /// Which dimension.
        label: String,
    };
    /// The token is not bound in a dimension that the caller requires.
    #[error("the token is not bound to any `{label}`, which is required here: ask for one that is")]
    DesignationRequired = 26, "designation_required" {
        /// Which dimension.
        label: String,
    };
    /// Good once, and nobody here can tell whether it was used.
    #[error("the token is good once: have a node of the authority spend it")]
    SingleUse = 27, "single_use";
    /// The session has been exposed to something that must be kept apart.
    #[error("the session has been exposed to `{label}`, which is excluded here")]
    Exposed = 28, "exposed" {
        /// Which exposure.
        label: String,
    };
    /// Restricted to another domain than the caller stands in, or not to the one that it requires.
    #[error("the identity is not of the domain `{domain}`: present one that was minted for it")]
    DomainMismatch = 29, "domain_mismatch" {
        /// As the caller names it.
        domain: String,
    };
}

impl From<TokenError> for DenyReason {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::TooLong { .. } | TokenError::TooManyBlocks { .. } => Self::TooLarge(error),
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
    /// Why a verifier cannot tell.
    UnknownReason, "from 101":
    /// There are no rules to ask.
    #[error(
        "revocation was not checked: connect the verifier to a feed, or ask for an offline check by name"
    )]
    RevocationNotChecked = 101, "revocation_not_checked";
    /// The age of the rules is not known.
    #[error(
        "the feed has not been confirmed since this process started: wait for it, or check its nodes"
    )]
    NeverSynced = 102, "never_synced";
    /// The rules are older than the bound.
    #[error("the last confirmation of the feed is {} ms old and the bound is {} ms: check its nodes", .age.as_millis(), .age_max.as_millis())]
    Stale = 103, "stale" {
        /// Age of the knowledge.
        age: Duration,
        /// Oldest that the policy trusts.
        age_max: Duration,
    };
    /// The token is newer than the rules.
    #[error(
        "the token was minted at revision {token}, and this verifier is at {verifier}: it must catch up first"
    )]
    Behind = 104, "behind" {
        /// `rev` of the token.
        token: Revision,
        /// Revision of the rules.
        verifier: Revision,
    };
    /// The checks in the token were not finished.
    #[error(
        "the checks of the token did not finish within the limits: try again, or use a token with fewer checks"
    )]
    LimitExceeded = 105, "limit_exceeded";
}

/// Every outcome of a check but a pass.
pub(crate) enum Refusal {
    Deny(DenyReason),
    Unknown(UnknownReason),
}
