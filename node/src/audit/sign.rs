//! Signs checkpoints of the chain with the audit key that is active.

use data_encoding::HEXLOWER;
use hessra_revocation::KeyPurpose;

use super::writer::CheckpointSigner;
use crate::raft::RaftHandle;
use crate::signer::{ActiveSigner, Keyholder};

/// The audit key of the cluster, as the state has it at the time.
pub struct ChainSigner {
    raft: RaftHandle,
    key: ActiveSigner,
}

impl ChainSigner {
    /// Signs with the keys of this node.
    #[must_use]
    pub fn new(raft: RaftHandle, keys: &Keyholder) -> Self {
        Self {
            raft,
            key: keys.signer(KeyPurpose::Audit),
        }
    }
}

impl CheckpointSigner for ChainSigner {
    fn cluster(&self) -> String {
        HEXLOWER.encode(&self.raft.state().view().feed_id.0)
    }

    fn sign(&self, statement: &[u8]) -> Option<(u32, [u8; 64])> {
        self.key.sign(statement).ok()
    }
}
