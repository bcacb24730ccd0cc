//! Rule of two persons: what a new policy would take from it, and who could change nothing any more.
//!
//! Both compare what stands with what would: what is so already is no weakening, and locks out nobody anew.

use std::fmt;

use hessra_revocation::Identity;

use crate::operator::{Operator, Right};
use crate::view::PolicyView;

/// Rights that are used by two people together: one asks, another approves.
const TOGETHER: [Right; 5] = [
    Right::Revoke,
    Right::Lift,
    Right::Keys,
    Right::Policy,
    Right::Cluster,
];

/// Reason for which a new policy weakens the rule of two persons: with it, one person could do more alone, or choose the
/// second one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weakening {
    /// The rule is switched off.
    Off,
    /// Revocations nearer to the root need one person only.
    Depth {
        /// Segments before.
        from: u8,
        /// Segments after.
        to: u8,
    },
    /// Operator that there was not.
    Added(String),
    /// Right that an operator did not have.
    Gained(String, Right),
    /// Identities that an operator could not revoke or lift before.
    Wider(String),
    /// Fewer than two operators have a right that two people use together, so nobody could approve its use.
    TooFew(Right),
}

/// Reason for which a new policy locks people out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lockout {
    /// The author would not have the right `policy` any more.
    Author(String),
    /// No operator would have it.
    Everybody,
    /// Two people use this right together, and fewer than two operators would have it.
    TooFew(Right),
}

/// Reasons for which `new` weakens the rule of two persons that `old` has. Without the rule there is none.
#[must_use]
pub fn weakenings(old: &PolicyView, new: &PolicyView) -> Vec<Weakening> {
    if !old.two_person() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !new.two_person() {
        found.push(Weakening::Off);
    }
    let (from, to) = (old.min_revocation_depth(), new.min_revocation_depth());
    if to < from {
        found.push(Weakening::Depth { from, to });
    }
    for operator in new.operators() {
        match old.operator(&operator.identity) {
            None => found.push(Weakening::Added(operator.identity.clone())),
            Some(before) => found.extend(gains(before, operator)),
        }
    }
    let too_few = TOGETHER
        .into_iter()
        .filter(|right| holders(old, *right) >= 2 && holders(new, *right) < 2);
    found.extend(too_few.map(Weakening::TooFew));
    found
}

/// Reasons for which replacing `old` by `new` locks people out. `author`: the operator that would replace it, when one does.
#[must_use]
pub fn lockouts(old: &PolicyView, new: &PolicyView, author: Option<&str>) -> Vec<Lockout> {
    let may_change = |view: &PolicyView, who: &str| view.may(who, Right::Policy, None).is_ok();
    let mut found = Vec::new();
    if let Some(author) = author
        && may_change(old, author)
        && !may_change(new, author)
    {
        found.push(Lockout::Author(author.to_owned()));
    }
    let before = shortages(old);
    let anew = shortages(new);
    found.extend(anew.into_iter().filter(|lockout| !before.contains(lockout)));
    found
}

/// Rights that too few operators of a policy have, whatever stood before it.
#[must_use]
pub fn shortages(view: &PolicyView) -> Vec<Lockout> {
    let changes_it = |operator: &Operator| operator.rights.contains(&Right::Policy);
    let everybody = (!view.operators().any(changes_it)).then_some(Lockout::Everybody);
    let too_few = TOGETHER
        .into_iter()
        .filter(|right| view.two_person() && holders(view, *right) < 2);
    everybody
        .into_iter()
        .chain(too_few.map(Lockout::TooFew))
        .collect()
}

fn gains(before: &Operator, after: &Operator) -> Vec<Weakening> {
    let name = || after.identity.clone();
    let gained = after
        .rights
        .iter()
        .filter(|right| !before.rights.contains(right));
    let mut found: Vec<Weakening> = gained
        .map(|right| Weakening::Gained(name(), *right))
        .collect();
    let is_bounded = |identity: &Identity| {
        before
            .under
            .iter()
            .any(|bound| identity.is_at_or_below(bound))
    };
    let is_wider =
        !before.under.is_empty() && (after.under.is_empty() || !after.under.iter().all(is_bounded));
    if is_wider && after.rights.iter().any(|right| right.is_bounded()) {
        found.push(Weakening::Wider(name()));
    }
    found
}

/// Number of operators that have a right everywhere.
fn holders(view: &PolicyView, right: Right) -> usize {
    let holds = |operator: &&Operator| {
        operator.rights.contains(&right) && (!right.is_bounded() || operator.under.is_empty())
    };
    view.operators().filter(holds).count()
}

impl fmt::Display for Weakening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("it switches `two_person` off"),
            Self::Depth { from, to } => {
                write!(f, "it lowers `min_revocation_depth` from {from} to {to}")
            }
            Self::Added(operator) => write!(f, "it adds the operator `{operator}`"),
            Self::Gained(operator, right) => {
                write!(f, "it gives `{operator}` the right `{}`", right.name())
            }
            Self::Wider(operator) => {
                write!(f, "it lets `{operator}` revoke or lift more identities")
            }
            Self::TooFew(right) => write!(
                f,
                "it leaves fewer than two operators with the right `{}`",
                right.name()
            ),
        }
    }
}

impl fmt::Display for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Author(author) => write!(
                f,
                "`{author}`, who applies it, would not have the right `policy` any more"
            ),
            Self::Everybody => f.write_str(
                "nobody would have the right `policy` any more, so nobody could change it again",
            ),
            Self::TooFew(right) => write!(
                f,
                "two people use the right `{}` together, and fewer than two operators would have it everywhere",
                right.name()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDS: &str = r#"
[[operators]]
identity = "urn:h:ann"
rights = ["revoke", "lift", "keys", "policy", "cluster", "read"]

[[operators]]
identity = "uri:urn:h:bob"
rights = ["revoke", "lift", "keys", "policy", "cluster"]

[[operators]]
identity = "urn:h:eve"
rights = ["revoke"]
under = "urn:h:eves"

[limits]
two_person = true
min_revocation_depth = 3
"#;

    fn view(text: &str) -> PolicyView {
        PolicyView::parse(text, "").unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn changed(from: &str, to: &str) -> PolicyView {
        assert!(STANDS.contains(from), "{from}");
        view(&STANDS.replacen(from, to, 1))
    }

    #[test]
    fn whatever_lets_one_person_do_more_weakens_the_rule() {
        let name = |name: &str| name.to_owned();
        let more = "[[operators]]\nidentity = \"urn:h:dan\"\nroles = [\"auditor\"]\n\n[limits]";
        for (from, to, reason) in [
            ("two_person = true", "two_person = false", Weakening::Off),
            (
                "min_revocation_depth = 3",
                "min_revocation_depth = 2",
                Weakening::Depth { from: 3, to: 2 },
            ),
            ("[limits]", more, Weakening::Added(name("urn:h:dan"))),
            (
                "\"revoke\"]\nunder",
                "\"revoke\", \"keys\"]\nunder",
                Weakening::Gained(name("urn:h:eve"), Right::Keys),
            ),
            (
                "under = \"urn:h:eves\"",
                "under = [\"urn:h:eves:x\", \"urn:h:ann\"]",
                Weakening::Wider(name("urn:h:eve")),
            ),
            (
                "under = \"urn:h:eves\"",
                "",
                Weakening::Wider(name("urn:h:eve")),
            ),
            (
                "\"keys\", \"policy\", \"cluster\"]",
                "\"keys\", \"policy\"]",
                Weakening::TooFew(Right::Cluster),
            ),
        ] {
            let found = weakenings(&view(STANDS), &changed(from, to));
            assert_eq!(found, [reason], "{to}");
        }
    }

    #[test]
    fn what_takes_rights_or_changes_nothing_of_the_rule_does_not_weaken_it() {
        for (from, to) in [
            (
                "two_person = true",
                "two_person = true\nstub_duration_max = 60",
            ),
            ("min_revocation_depth = 3", "min_revocation_depth = 4"),
            ("\"urn:h:eves\"", "\"urn:h:eves:x\""),
            ("\"uri:urn:h:bob\"", "\"urn:h:bob\""),
            ("\"cluster\", \"read\"]", "\"cluster\"]"),
        ] {
            assert_eq!(weakenings(&view(STANDS), &changed(from, to)), [], "{to}");
        }
        let off = changed("two_person = true", "two_person = false");
        assert_eq!(weakenings(&off, &view("")), [], "there is no rule");
    }

    #[test]
    fn a_policy_says_whom_it_locks_out() {
        let without = "\"keys\", \"cluster\", \"read\"]";
        let author = changed("\"keys\", \"policy\", \"cluster\", \"read\"]", without);
        assert_eq!(
            lockouts(&view(STANDS), &author, Some("uri:urn:h:ann")),
            [
                Lockout::Author("uri:urn:h:ann".to_owned()),
                Lockout::TooFew(Right::Policy)
            ]
        );
        assert_eq!(
            lockouts(&view(STANDS), &author, Some("urn:h:bob")),
            [Lockout::TooFew(Right::Policy)]
        );
        let nobody = view("[limits]\ntwo_person = false");
        assert_eq!(lockouts(&author, &nobody, None), [Lockout::Everybody]);
        let one_more = "two_person = true\nstub_duration_max = 60";
        let harmless = changed("two_person = true", one_more);
        assert_eq!(lockouts(&view(STANDS), &harmless, Some("urn:h:ann")), []);
    }
}
