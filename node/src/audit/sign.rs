//! The cluster around a chain: its id, its audit key, the heads that it has witnessed.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use hessra_audit::Chain;
use hessra_revocation::{FeedId, KeyPurpose};
use hessra_sled::Published;
use hessra_state::{ChainName, Witnessed};
use tokio::sync::watch;

use crate::signer::{ActiveSigner, Keyholder};

/// The cluster as the audit of a node sees it.
pub trait ClusterSide: Send + Sync {
    /// Feed id of the cluster; zeros before it began.
    fn cluster(&self) -> FeedId;

    /// Id of the cluster's audit key that is active, and its Ed25519 signature; `None` = there is none.
    fn sign(&self, statement: &[u8]) -> Option<(u32, [u8; 64])>;

    /// Newest head of one of this node's chains that the cluster has witnessed, as far as this node knows.
    fn witnessed(&self, chain: Chain) -> Option<Witnessed>;
}

/// The cluster, as the state has it at the time.
pub struct StateSide {
    published: watch::Receiver<Arc<Published>>,
    key: ActiveSigner,
    node: u64,
}

impl StateSide {
    /// The cluster whose state is published, for this node, with the keys of the node.
    #[must_use]
    pub fn new(published: watch::Receiver<Arc<Published>>, keys: &Keyholder, node: u64) -> Self {
        Self {
            key: keys.signer(KeyPurpose::Audit, published.clone()),
            published,
            node,
        }
    }
}

impl ClusterSide for StateSide {
    fn cluster(&self) -> FeedId {
        self.published.borrow().state.view().feed_id
    }

    fn sign(&self, statement: &[u8]) -> Option<(u32, [u8; 64])> {
        self.key.sign(statement).ok()
    }

    fn witnessed(&self, chain: Chain) -> Option<Witnessed> {
        let name = ChainName {
            node: self.node,
            chain: chain.as_str().to_owned(),
        };
        self.published
            .borrow()
            .state
            .witnessed()
            .find(&name)
            .cloned()
    }
}

/// The id as records write it.
pub(super) fn hex(cluster: &FeedId) -> String {
    HEXLOWER.encode(&cluster.0)
}
