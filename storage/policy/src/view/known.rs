//! Names that a policy has heard of, and the nearest one to a name that it has not.

use std::collections::BTreeSet;

use hessra_revocation::Identity;
use hessra_settings::{SIMILAR, similarity};

use super::PolicyView;

impl PolicyView {
    /// True when something may have this name: the policy names it or something below it, as whatever; or it lies below a
    /// client, which may delegate, or have a member of its realm there.
    #[must_use]
    pub fn has_heard_of(&self, identity: &Identity) -> bool {
        let names_below = || {
            let names = self.all_names();
            names.iter().any(|name| name.is_at_or_below(identity))
        };
        let is_below_a_client = || {
            let mut above = std::iter::successors(Some(identity.clone()), Identity::parent);
            above.any(|name| self.client(&name).is_some())
        };
        is_below_a_client() || names_below()
    }

    /// The name of the policy that was probably meant; `None` when none is near.
    ///
    /// Compared below the segments that both have in common, and as deep as the known name goes: below a misspelt parent the
    /// parent is found.
    #[must_use]
    pub fn nearest_name(&self, identity: &Identity) -> Option<Identity> {
        let names = self.all_names().into_iter();
        let scored = names.filter_map(|name| Some((likeness(identity, &name)?, name)));
        let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
        best.filter(|(score, _)| *score >= SIMILAR)
            .map(|(_, name)| name)
    }

    /// Identities of clients, members, operators and owners of verifiers.
    fn all_names(&self) -> BTreeSet<Identity> {
        let operators = self.operators.values();
        let operators = operators.map(|operator| operator.identity.as_str());
        let owners = self.verifiers.owners();
        let others = operators
            .chain(owners)
            .filter_map(|name| Identity::parse(name).ok());
        self.named_identities().chain(others).collect()
    }
}

/// Likeness of a name to a known one, 0 to 1; `None` when it is shallower.
fn likeness(identity: &Identity, known: &Identity) -> Option<f64> {
    let depth = usize::from(known.depth());
    let wanted: Vec<&str> = identity.path().split(':').take(depth).collect();
    if wanted.len() < depth {
        return None;
    }
    let known: Vec<&str> = known.path().split(':').collect();
    let pairs = wanted.iter().zip(&known);
    let common = pairs.take_while(|(one, other)| one == other).count();
    similarity(&wanted[common..].join(":"), &known[common..].join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
[[clients]]
identifier = { type = "san_uri", value = "uri:urn:hessra:alice" }
resources = []

[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:gateway" }
resources = []

[[clients]]
identifier = { type = "san_dns", value = "*.svc.example" }
resources = []

[[operators]]
identity = "urn:hessra:operator"
rights = ["read"]
"#;

    fn policy() -> PolicyView {
        PolicyView::parse(POLICY, "").unwrap_or_else(|error| panic!("{error}"))
    }

    fn id(text: &str) -> Identity {
        Identity::parse(text).expect("an identity")
    }

    #[test]
    fn what_the_policy_names_and_what_lies_above_or_below_a_client_is_heard_of() {
        for name in [
            "urn:hessra:alice",
            "urn:hessra:alice:agent:task",
            "uri:urn:hessra:gateway",
            "urn:hessra:operator",
            "urn:hessra",
            "host.svc.example",
            "host.svc.example:agent",
        ] {
            assert!(policy().has_heard_of(&id(name)), "{name}");
        }
        for name in [
            "urn:hessra:alicia",
            "urn:hessra:galeway:x",
            "urn:other",
            "urn:hessra:operator:below",
            "host.other.example",
        ] {
            assert!(!policy().has_heard_of(&id(name)), "{name}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_also_for_what_lies_below_a_misspelt_one() {
        let nearest = |name| {
            policy()
                .nearest_name(&id(name))
                .map(|name| name.to_string())
        };
        assert_eq!(
            nearest("urn:hessra:alcie").as_deref(),
            Some("uri:urn:hessra:alice")
        );
        assert_eq!(
            nearest("urn:hessra:galeway:x").as_deref(),
            Some("urn:hessra:gateway")
        );
        assert_eq!(
            nearest("urn:hesra:gateway").as_deref(),
            Some("urn:hessra:gateway")
        );
        assert_eq!(nearest("urn:hessra:zzz"), None);
        assert_eq!(nearest("urn"), None);
    }
}
