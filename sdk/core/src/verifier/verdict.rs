//! Verdict: allow, deny or unknown.
//!
//! Three answers, because two would lie: a verifier that has lost its feed does not know that a token is good. Unknown
//! is never allow. The reasons are in [`crate::reason`].

use super::verified::Verified;
use crate::reason::{DenyReason, Refusal, UnknownReason};

/// Answer to one check.
#[must_use]
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "allow is the common answer, and a box would allocate on every check"
)]
pub enum Verdict {
    /// Allowed: the token permits the request, and no rule that the verifier knows forbids it.
    Allow(Verified),
    /// Denied: the token does not permit the request; that needs no fresh knowledge.
    Deny(DenyReason),
    /// Unknown: the verifier cannot tell. Not allowed.
    Unknown(UnknownReason),
}

impl Verdict {
    /// True for an allow.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Code of the verdict: `allow`, or that of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Deny(reason) => reason.code(),
            Self::Unknown(reason) => reason.code(),
        }
    }

    /// Number of the verdict: 0 for allow, 1 to 99 for deny, 101 and above for unknown.
    #[must_use]
    pub fn number(&self) -> u16 {
        match self {
            Self::Allow(_) => 0,
            Self::Deny(reason) => reason.number(),
            Self::Unknown(reason) => reason.number(),
        }
    }
}

impl From<Result<Verified, Refusal>> for Verdict {
    fn from(checked: Result<Verified, Refusal>) -> Self {
        match checked {
            Ok(verified) => Self::Allow(verified),
            Err(Refusal::Deny(reason)) => Self::Deny(reason),
            Err(Refusal::Unknown(reason)) => Self::Unknown(reason),
        }
    }
}
