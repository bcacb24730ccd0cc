//! The policy in force on this node: parsed once per change of the state.
//!
//! The meaning of a policy is in [`hessra_policy`], its versions are in the state. This connects the two.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hessra_policy::PolicyView;
use hessra_revocation::Hash;
use hessra_state::State;
use tracing::error;

/// The parsed policy of the newest state; parses once per change. Cheap to clone and to ask; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    cached: Arc<ArcSwap<(Hash, Arc<PolicyView>)>>,
}

impl Policies {
    /// The policy of this state. Before `Init`, and for content that this version cannot read, one that permits nothing.
    #[must_use]
    pub fn of(&self, state: &State) -> Arc<PolicyView> {
        let (_, policy) = state.policy();
        let cached = self.cached.load();
        if cached.0 == policy.digest {
            return Arc::clone(&cached.1);
        }
        let view = PolicyView::parse(&policy.clients_toml, &policy.resources_toml).unwrap_or_else(|reason| {
            error!(%reason, "policy not readable: nothing is permitted until this node is upgraded or another applied");
            PolicyView::default()
        });
        let view = Arc::new(view);
        self.cached
            .store(Arc::new((policy.digest, Arc::clone(&view))));
        view
    }
}
