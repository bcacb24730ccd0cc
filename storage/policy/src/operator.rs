//! Operators: what they may do, and to whom.

use hessra_revocation::Identity;

use crate::names::without_scheme;
use crate::view::PolicyView;

/// What an operator may be allowed to do.
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

    /// As in the policy file.
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

    /// May it be bounded by an identity that it is used under?
    fn is_bounded(self) -> bool {
        matches!(self, Self::Revoke | Self::Lift)
    }
}

/// Roles that every policy has. Who responds to an incident revokes and looks; lifting is another person's decision.
pub(crate) const BUILT_IN_ROLES: [(&str, &[Right]); 3] = [
    ("responder", &[Right::Revoke, Right::Read]),
    ("auditor", &[Right::Read, Right::Audit]),
    ("administrator", &Right::ALL),
];

/// Why an operator may not; the sentence may be shown to them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotPermitted(pub String);

/// An operator of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// As the policy spells it.
    pub identity: String,
    /// Its own and those of its roles; sorted, each once.
    pub rights: Vec<Right>,
    /// Revokes and lifts only at or below one of these; empty = anywhere.
    pub under: Vec<Identity>,
    /// Line of its entry in `clients.toml`.
    pub line: usize,
}

impl PolicyView {
    /// The operator of that name; `uri:` in front is optional, case is not.
    #[must_use]
    pub fn operator(&self, identity: &str) -> Option<&Operator> {
        self.operators.get(without_scheme(identity))
    }

    /// Operators by name.
    pub fn operators(&self) -> impl Iterator<Item = &Operator> {
        self.operators.values()
    }

    /// May this operator use the right, on this identity or on something that is not an identity (`None`)?
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn may(
        &self,
        identity: &str,
        right: Right,
        under: Option<&Identity>,
    ) -> Result<(), NotPermitted> {
        let refused = |sentence| Err(NotPermitted(sentence));
        let Some(operator) = self.operator(identity) else {
            return refused(format!("`{identity}` is not an operator of the policy"));
        };
        if !operator.rights.contains(&right) {
            return refused(format!("`{identity}` has not the right `{}`", right.name()));
        }
        if !right.is_bounded() || operator.under.is_empty() {
            return Ok(());
        }
        let bounds = quoted(&operator.under);
        match under {
            Some(target)
                if operator
                    .under
                    .iter()
                    .any(|bound| target.is_at_or_below(bound)) =>
            {
                Ok(())
            }
            Some(target) => refused(format!(
                "`{identity}` may {} only at or below {bounds}, not `{target}`",
                right.name()
            )),
            None => refused(format!(
                "`{identity}` may {} only identities at or below {bounds}",
                right.name()
            )),
        }
    }
}

fn quoted(identities: &[Identity]) -> String {
    let quoted: Vec<String> = identities
        .iter()
        .map(|identity| format!("`{identity}`"))
        .collect();
    quoted.join(" or ")
}
