//! Rights, as pairs of resource and operation, and the rules of a policy that bound them.

use std::collections::BTreeSet;
use std::fmt;

/// (resource, operation).
pub(crate) type Rights = BTreeSet<(String, String)>;

/// `resource:operation`.
pub(crate) fn right_text((resource, operation): &(String, String)) -> String {
    format!("{resource}:{operation}")
}

/// A set of rights that bounds an actor, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<'a> {
    /// Identity that the rule belongs to: the actor or an ancestor.
    pub(crate) holder: &'a str,
    pub(crate) rule: Rule<'a>,
    pub(crate) line: usize,
    pub(crate) rights: &'a Rights,
}

/// Kind of rule that bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule<'a> {
    Entry,
    DnsEntry(&'a str),
    Role {
        realm: &'a str,
        name: Option<&'a str>,
    },
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry => f.write_str("its entry"),
            Self::DnsEntry(pattern) => write!(f, "the entry `{pattern}`"),
            Self::Role {
                realm,
                name: Some(name),
            } => write!(f, "role `{name}` of realm `{realm}`"),
            Self::Role { realm, name: None } => {
                write!(f, "realm `{realm}`, which has no default role")
            }
        }
    }
}
