//! The policy in force on this node, and the status of the repository that it follows ([`Followed`]).
//!
//! The meaning of a policy is in [`hessra_policy`], its versions are in the state, and [`hessra_consensus::policies`] parses
//! each once.

mod followed;

use std::sync::Arc;

use arc_swap::ArcSwapOption;

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

/// The parsed policy of the newest state. Cheap to clone and to ask; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    parsed: hessra_consensus::policies::Policies,
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

    /// The policy of this state, see [`hessra_consensus::policies::Policies::of`].
    #[must_use]
    pub fn of(&self, state: &State) -> Arc<PolicyView> {
        self.parsed.of(state)
    }

    /// The parsed policies alone, shared with consensus.
    pub(crate) fn parsed(&self) -> hessra_consensus::policies::Policies {
        self.parsed.clone()
    }
}
