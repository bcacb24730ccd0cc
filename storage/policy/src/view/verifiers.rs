//! Verifiers of a policy: whose an id is.

use hessra_revocation::Identity;

use super::PolicyView;
use crate::names::without_scheme;

impl PolicyView {
    /// Identity that a verifier's id belongs to, without `uri:`; `None` = nobody's. No id belongs to two.
    #[must_use]
    pub fn verifier_owner(&self, id: &str) -> Option<&str> {
        self.verifiers.owner(id)
    }

    /// True when this identity may use a verifier's id; `uri:` in front is optional.
    #[must_use]
    pub fn is_verifier(&self, identity: &str, id: &str) -> bool {
        self.verifier_owner(id) == Some(without_scheme(identity))
    }

    /// True when the policy names this identity: as a client, a member of a realm, an operator, or the owner of verifiers.
    #[must_use]
    pub fn names(&self, identity: &str) -> bool {
        let is_client = || Identity::parse(identity).is_ok_and(|identity| self.is_known(&identity));
        self.owns_verifiers(identity) || self.operator(identity).is_some() || is_client()
    }

    /// True when some verifier's id belongs to this identity.
    #[must_use]
    pub fn owns_verifiers(&self, identity: &str) -> bool {
        self.verifiers.has_owner(identity)
    }
}
