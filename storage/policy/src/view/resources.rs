//! Resources of a policy: kind and lifetime of their tokens, and exposures that block them.

use std::sync::LazyLock;

use super::PolicyView;
use crate::resource::{Resource, ResourceKind};

static UNLISTED: LazyLock<Resource> = LazyLock::new(Resource::unlisted);

impl PolicyView {
    /// Resource of this name; the defaults when the policy does not name it.
    #[must_use]
    pub fn resource(&self, resource: &str) -> &Resource {
        self.resources.get(resource).unwrap_or(&UNLISTED)
    }

    /// Resources that `resources.toml` names, by name.
    pub fn resources(&self) -> impl Iterator<Item = (&str, &Resource)> {
        self.resources
            .iter()
            .map(|(name, resource)| (name.as_str(), resource))
    }

    /// Kind of token that a resource needs.
    #[must_use]
    pub fn resource_kind(&self, resource: &str) -> ResourceKind {
        self.resource(resource).kind
    }

    /// Seconds that an authorization token for this resource lives.
    #[must_use]
    pub fn authorization_duration_of(&self, resource: &str) -> u64 {
        let own = self.resource(resource).authorization_token_duration;
        own.unwrap_or(self.limits.authorization_token_duration)
    }

    /// True when a session that was exposed to these labels is kept from this resource.
    #[must_use]
    pub fn is_blocked_by_exposure(&self, labels: &[String], resource: &str) -> bool {
        self.exposure_rules
            .iter()
            .any(|rule| rule.blocks(labels, resource))
    }
}
