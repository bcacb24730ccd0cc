//! Operators: what they may do, and to whom.

use hessra_revocation::Identity;

/// Right that an operator may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Right {
    Revoke,
    Lift,
    Keys,
    Policy,
    Cluster,
    Read,
    Audit,
}

impl Right {
    /// Every right, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Revoke,
        Self::Lift,
        Self::Keys,
        Self::Policy,
        Self::Cluster,
        Self::Read,
        Self::Audit,
    ];

    /// Name in the policy file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Lift => "lift",
            Self::Keys => "keys",
            Self::Policy => "policy",
            Self::Cluster => "cluster",
            Self::Read => "read",
            Self::Audit => "audit:read",
        }
    }

    /// True when it may be bounded by an identity that it is used under.
    pub(crate) fn is_bounded(self) -> bool {
        matches!(self, Self::Revoke | Self::Lift)
    }
}

/// Roles that every policy has. A responder to an incident revokes and looks; lifting is another person's decision.
pub(crate) const BUILT_IN_ROLES: [(&str, &[Right]); 3] = [
    ("responder", &[Right::Revoke, Right::Read]),
    ("auditor", &[Right::Read, Right::Audit]),
    ("administrator", &Right::ALL),
];

/// Reason for which an operator may not; the sentence may be shown to them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotPermitted(pub String);

/// An operator of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Identity, as the policy spells it.
    pub identity: String,
    /// Rights of its own and of its roles; sorted, each once.
    pub rights: Vec<Right>,
    /// Identities at or below which it may revoke and lift; empty = anywhere.
    pub under: Vec<Identity>,
    /// Line of its entry in `clients.toml`.
    pub line: usize,
}
