//! Settings of a node's audit: its folder, and how much of each chain is kept.

use std::path::PathBuf;
use std::time::Duration;

use hessra_audit::Chain;

/// Place, size and age of the audit of a node.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Folder of the chains, each in one of its own; made when it is not there.
    pub folder: PathBuf,
    /// Id of the node whose audit it is.
    pub node: u64,
    /// Bytes at which a segment is turned over.
    pub segment_bytes: u64,
    /// Age of a last record above which its segment is deleted.
    pub keep_age: Duration,
    /// Bytes of all segments of changes and issued tokens above which the oldest are deleted.
    pub keep_bytes: u64,
    /// Bytes of all segments of refusals above which the oldest are deleted.
    pub refusals_keep_bytes: u64,
    /// Least free bytes of the file system: nothing is written below, as the replicated log needs the rest. Refusals stop
    /// at twice as much, so that they do not take the room of the changes.
    pub free_min: u64,
}

/// Place, size and age of one chain.
#[derive(Clone, Debug)]
pub(super) struct ChainSettings {
    pub(super) folder: PathBuf,
    pub(super) node: u64,
    pub(super) chain: Chain,
    pub(super) segment_bytes: u64,
    pub(super) keep_age: Duration,
    pub(super) keep_bytes: u64,
    pub(super) free_min: u64,
}

impl AuditSettings {
    /// Settings of one of the chains.
    pub(super) fn of(&self, chain: Chain) -> ChainSettings {
        let (keep_bytes, free_min) = match chain {
            Chain::Changes => (self.keep_bytes, self.free_min),
            Chain::Refusals => (self.refusals_keep_bytes, self.free_min.saturating_mul(2)),
        };
        ChainSettings {
            folder: self.folder.join(chain.as_str()),
            node: self.node,
            chain,
            segment_bytes: self.segment_bytes,
            keep_age: self.keep_age,
            keep_bytes,
            free_min,
        }
    }
}
