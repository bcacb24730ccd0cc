//! Operators of a policy: found by name, and asked for a right.

use hessra_revocation::Identity;

use super::PolicyView;
use crate::names::without_scheme;
use crate::operator::{NotPermitted, Operator, Right};

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

    /// Checks that this operator may use the right, on this identity or on something that is not an identity (`None`).
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
