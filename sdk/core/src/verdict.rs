//! Allow, deny, unknown, and why.
//!
//! Three answers, because two would lie: a verifier that has lost its feed does not know that a token is good. Unknown
//! is never allow. Codes and numbers are stable from the first day: C enums, exceptions and exit codes hang on them.

use std::time::Duration;

use hessra_revocation::{Identity, IdentityError, Revision, RuleKind, UnixSeconds};

use crate::{ChainError, TokenClass, TokenError};

mod verified;

pub use verified::{Spend, Verified};

/// The answer to one check.
#[must_use]
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "allow is the common answer, and a box would allocate on every check"
)]
pub enum Verdict {
    /// The token permits the request, and nothing that the verifier knows forbids it.
    Allow(Verified),
    /// It does not; that needs no fresh knowledge.
    Deny(DenyReason),
    /// The verifier cannot tell. Not allowed.
    Unknown(UnknownReason),
}

impl Verdict {
    /// Is it an allow?
    #[must_use]
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// `allow`, or the code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Deny(reason) => reason.code(),
            Self::Unknown(reason) => reason.code(),
        }
    }

    /// 0 for allow, 1 to 99 for deny, 101 and above for unknown.
    #[must_use]
    pub fn number(&self) -> u16 {
        match self {
            Self::Allow(_) => 0,
            Self::Deny(reason) => reason.number(),
            Self::Unknown(reason) => reason.number(),
        }
    }
}

/// Every verdict but allow.
pub(crate) enum Refusal {
    Deny(DenyReason),
    Unknown(UnknownReason),
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Deny(reason) => Self::Deny(reason),
            Refusal::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

/// Why a token does not permit a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DenyReason {
    /// Not a token.
    #[error(transparent)]
    Malformed(TokenError),
    /// Above a size limit.
    #[error(transparent)]
    TooLarge(TokenError),
    /// Signed with a key that the verifier does not have.
    #[error("the token names key {key_id}, which is not known here: ask for a new token")]
    UnknownKey {
        /// As the token has it.
        key_id: u32,
    },
    /// Signed with a key of which nothing stands any more.
    #[error("key {key_id}, which signed the token, is revoked: ask for a new token")]
    KeyRevoked {
        /// Id of the key.
        key_id: u32,
    },
    /// A signature does not verify.
    #[error(
        "a signature of the token does not verify: it was changed, or comes from another cluster"
    )]
    BadSignature,
    /// One class where another is needed.
    #[error("{found} cannot be used here: present {} token", .wanted.with_article())]
    WrongClass {
        /// What the token is, in words.
        found: String,
        /// What the request needs.
        wanted: TokenClass,
    },
    /// A shape that this version does not understand, and so cannot vouch for.
    #[error("{0}: ask for a token of the published shape")]
    UnsupportedShape(String),
    /// A name that is not canonical.
    #[error("a name in the token is not an identity: {0}")]
    MalformedIdentity(IdentityError),
    /// A delegation outside of what it was delegated from.
    #[error("the delegation is not valid: {0}")]
    BrokenChain(ChainError),
    /// Delegated too often.
    #[error(
        "the identity was delegated more than {limit} times: delegate from one nearer to the root"
    )]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Restricted to a domain.
    #[error("{}", ChainError::DomainRequired)]
    DomainRequired,
    /// Restricted to another domain than the caller stands in, or not to the one that it requires.
    #[error("the identity is not of the domain `{domain}`: present one that was minted for it")]
    DomainMismatch {
        /// As the caller names it.
        domain: String,
    },
    /// The caller named an actor that the token does not stand for.
    #[error("the token is of `{actual}` and cannot be used as `{expected}`")]
    ActorMismatch {
        /// Named by the caller.
        expected: Identity,
        /// Derived from the token.
        actual: Identity,
    },
    /// No right to this operation on this resource for this subject.
    #[error("the token does not grant this operation on this resource to this subject")]
    NotGranted,
    /// It has ended.
    #[error("the token ended at {at} (unix seconds): ask for a new one")]
    Expired {
        /// From then on it is refused.
        at: UnixSeconds,
    },
    /// A rule of the feed covers it.
    #[error("the token is revoked by a rule about its {}", rule_about(*.by))]
    Revoked {
        /// Kind of the rule.
        by: RuleKind,
    },
    /// A service attested out of turn, or one that is not of the chain.
    #[error("the services of the chain did not attest in order{}: start again with a new token", turn(.expected.as_deref()))]
    ChainOrder {
        /// Whose turn it was; `None` = all had attested.
        expected: Option<String>,
    },
    /// A service before the one that asks has not attested.
    #[error("`{component}` has not attested: send the token through it first")]
    ChainIncomplete {
        /// Whose turn it is.
        component: String,
    },
    /// The caller names a service that the token's chain does not have; of a token that is no chain, any.
    #[error("the token's chain has no service `{component}`: ask for a token of this chain")]
    NotInChain {
        /// As the caller names it.
        component: String,
    },
    /// The caller knows another chain than the token.
    #[error(
        "the token was issued for another chain of services than is configured here: ask for a new one"
    )]
    ChainDiffers,
    /// A party has not signed.
    #[error("`{component}` has not signed: have the token signed there first")]
    SignoffMissing {
        /// Whose signature is missing.
        component: String,
    },
    /// A stub that was not restricted to a prefix.
    #[error("the token is a stub: have its attestor restrict it to a prefix first")]
    PrefixMissing,
    /// The path is not under the prefix that the token is restricted to, or has more than one reading.
    #[error(
        "the path is not under the prefix that the token is restricted to: name a path of whole, plain segments under it"
    )]
    OutsidePrefix,
    /// A latent capability that was not activated.
    #[error("the capability is latent: have it activated first")]
    NotActivated,
    /// The token is bound in a dimension that this request is not known to be in.
    #[error("the token is bound to another `{label}`, or to one that was not shown here")]
    DesignationMissing {
        /// Which dimension.
        label: String,
    },
    /// The token is not bound in a dimension that the caller requires.
    #[error("the token is not bound to any `{label}`, which is required here: ask for one that is")]
    DesignationRequired {
        /// Which dimension.
        label: String,
    },
    /// Good once, and nobody here can tell whether it was used.
    #[error("the token is good once: have a node of the authority spend it")]
    SingleUse,
    /// The session has been exposed to something that must be kept apart.
    #[error("the session has been exposed to `{label}`, which is excluded here")]
    Exposed {
        /// Which exposure.
        label: String,
    },
    /// A check in the token does not hold.
    #[error("a check in the token does not hold: {0}")]
    CheckFailed(String),
}

impl DenyReason {
    /// Stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.stable().0
    }

    /// Stable number for machines, 1 to 99.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.stable().1
    }

    fn stable(&self) -> (&'static str, u16) {
        match self {
            Self::Malformed(_) => ("malformed", 1),
            Self::TooLarge(_) => ("too_large", 2),
            Self::UnknownKey { .. } => ("unknown_key", 3),
            Self::KeyRevoked { .. } => ("key_revoked", 4),
            Self::BadSignature => ("bad_signature", 5),
            Self::WrongClass { .. } => ("wrong_class", 6),
            Self::UnsupportedShape(_) => ("unsupported_shape", 7),
            Self::MalformedIdentity(_) => ("malformed_identity", 8),
            Self::BrokenChain(_) => ("broken_chain", 9),
            Self::TooDeep { .. } => ("too_deep", 10),
            Self::DomainRequired => ("domain_required", 11),
            Self::ActorMismatch { .. } => ("actor_mismatch", 12),
            Self::NotGranted => ("not_granted", 13),
            Self::Expired { .. } => ("expired", 14),
            Self::Revoked { .. } => ("revoked", 15),
            Self::CheckFailed(_) => ("check_failed", 16),
            Self::ChainOrder { .. } => ("chain_order", 17),
            Self::ChainIncomplete { .. } => ("chain_incomplete", 18),
            Self::NotInChain { .. } => ("not_in_chain", 19),
            Self::ChainDiffers => ("chain_differs", 20),
            Self::SignoffMissing { .. } => ("signoff_missing", 21),
            Self::PrefixMissing => ("prefix_missing", 22),
            Self::OutsidePrefix => ("outside_prefix", 23),
            Self::NotActivated => ("not_activated", 24),
            Self::DesignationMissing { .. } => ("designation_missing", 25),
            Self::DesignationRequired { .. } => ("designation_required", 26),
            Self::SingleUse => ("single_use", 27),
            Self::Exposed { .. } => ("exposed", 28),
            Self::DomainMismatch { .. } => ("domain_mismatch", 29),
        }
    }
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

/// Why a verifier cannot tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownReason {
    /// There are no rules to ask.
    #[error(
        "revocation was not checked: connect the verifier to a feed, or ask for an offline check by name"
    )]
    RevocationNotChecked,
    /// The age of the rules is not known.
    #[error(
        "the feed has not been confirmed since this process started: wait for it, or check its nodes"
    )]
    NeverSynced,
    /// The rules are older than the bound.
    #[error("the last confirmation of the feed is {} ms old and the bound is {} ms: check its nodes", .age.as_millis(), .age_max.as_millis())]
    Stale {
        /// Age of the knowledge.
        age: Duration,
        /// Oldest that the policy trusts.
        age_max: Duration,
    },
    /// The token is newer than the rules.
    #[error(
        "the token was minted at revision {token}, and this verifier is at {verifier}: it must catch up first"
    )]
    Behind {
        /// `rev` of the token.
        token: Revision,
        /// Revision of the rules.
        verifier: Revision,
    },
    /// The checks in the token were not finished.
    #[error(
        "the checks of the token did not finish within the limits: try again, or use a token with fewer checks"
    )]
    LimitExceeded,
}

impl UnknownReason {
    /// Stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.stable().0
    }

    /// Stable number for machines, from 101.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.stable().1
    }

    fn stable(&self) -> (&'static str, u16) {
        match self {
            Self::RevocationNotChecked => ("revocation_not_checked", 101),
            Self::NeverSynced => ("never_synced", 102),
            Self::Stale { .. } => ("stale", 103),
            Self::Behind { .. } => ("behind", 104),
            Self::LimitExceeded => ("limit_exceeded", 105),
        }
    }
}
