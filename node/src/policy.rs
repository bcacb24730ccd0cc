//! The policy in force on this node: parsed once per change of the state.
//!
//! The meaning of a policy is in [`hessra_policy`], its versions are in the state. This connects the two, and keeps the
//! status of the repository that this node follows ([`Followed`]).

mod followed;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tracing::error;

use hessra_revocation::Hash;
use hessra_state::State;

use crate::tls::PeerCertificate;

pub use followed::Followed;
pub use hessra_policy::*;

impl ProvenNames for PeerCertificate {
    fn uris(&self) -> &[String] {
        &self.san_uris
    }

    fn dns_names(&self) -> &[String] {
        &self.san_dns
    }
}

/// The parsed policy of the newest state; parses once per change. Cheap to clone and to ask; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    cached: Arc<ArcSwap<(Hash, Arc<PolicyView>)>>,
    followed: Arc<ArcSwapOption<Followed>>,
}

impl Policies {
    /// Status of the repository that this node follows; `None` = it follows none.
    #[must_use]
    pub fn followed(&self) -> Option<Arc<Followed>> {
        self.followed.load_full()
    }

    /// Replaces the status of the followed repository.
    pub(crate) fn set_followed(&self, followed: Followed) {
        self.followed.store(Some(Arc::new(followed)));
    }

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
