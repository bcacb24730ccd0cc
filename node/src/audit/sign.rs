//! Signs checkpoints of the chain with the audit key that is active.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use hessra_revocation::KeyPurpose;
use hessra_sled::Published;
use tokio::sync::watch;

use super::writer::HeadSigner;
use crate::signer::{ActiveSigner, Keyholder};

/// The audit key of the cluster, as the state has it at the time.
pub struct ChainSigner {
    published: watch::Receiver<Arc<Published>>,
    key: ActiveSigner,
}

impl ChainSigner {
    /// Signs with the keys of this node, for the cluster whose state is published.
    #[must_use]
    pub fn new(published: watch::Receiver<Arc<Published>>, keys: &Keyholder) -> Self {
        Self {
            published,
            key: keys.signer(KeyPurpose::Audit),
        }
    }
}

impl HeadSigner for ChainSigner {
    fn cluster(&self) -> String {
        HEXLOWER.encode(&self.published.borrow().state.view().feed_id.0)
    }

    fn sign(&self, statement: &[u8]) -> Option<(u32, [u8; 64])> {
        self.key.sign(statement).ok()
    }
}
