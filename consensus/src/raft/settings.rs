//! Timing and compaction of consensus, and the identity of a node.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use sha2::{Digest as _, Sha256};

use crate::error::StartError;

/// Timing and compaction. The defaults suit one site; members far apart want a longer heartbeat and election.
#[derive(Clone, Debug)]
pub struct RaftSettings {
    /// Interval between heartbeats of the leader, and the longest one append to a follower may take, its disk included.
    /// Default 150 ms.
    pub heartbeat: Duration,
    /// Least random part of an election time-out. A follower waits `election_max` (nobody may depose a leader sooner)
    /// plus a random time from `election_min` to `election_max` after the last word of its leader before it stands.
    /// Default 450 ms.
    pub election_min: Duration,
    /// Greatest random part, see `election_min`. Default 750 ms: the longest failover stays below two seconds.
    pub election_max: Duration,
    /// Log entries after which a snapshot is built. Default 20,000.
    pub snapshot_entries: u64,
    /// Entries kept below the snapshot, so that a member that was away for a short time catches up by log. Default
    /// 10,000.
    pub log_keep: u64,
    /// Entries kept for an audit that cannot be written; without it those beyond `log_keep` are purged as soon as their records are
    /// durable. Default 100,000.
    pub log_keep_unrecorded: u64,
    /// Entries purged at a time, so few that purging never stalls an append. Default 1,000.
    pub purge_batch: u64,
    /// Entries in one append to a follower. Default 128.
    pub append_entries_max: u64,
    /// The longest one snapshot may take to be sent and installed. Default 5 min.
    pub snapshot_timeout: Duration,
}

impl Default for RaftSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(450),
            election_max: Duration::from_millis(750),
            snapshot_entries: 20_000,
            log_keep: 10_000,
            log_keep_unrecorded: 100_000,
            purge_batch: 1_000,
            append_entries_max: 128,
            snapshot_timeout: Duration::from_secs(300),
        }
    }
}

impl RaftSettings {
    pub(super) fn config(&self, cluster: &str) -> Result<Config, StartError> {
        let config = Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(self.snapshot_timeout),
            max_payload_entries: self.append_entries_max,
            // A follower further behind than what is kept can only be helped by a snapshot.
            replication_lag_threshold: self.snapshot_entries + self.log_keep,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            // The log is purged by `RaftHandle::purge`, which waits for the audit.
            max_in_snapshot_log_to_keep: u64::MAX,
            ..Config::default()
        };
        config
            .validate()
            .map_err(|error| StartError::Settings(error.to_string()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Identity of this node, to its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Number of the node, 1 or more, for ever: a replaced node gets a new one.
    pub id: u64,
    /// Name of its cluster, as every member's configuration and certificate spell it.
    pub cluster: String,
}

impl NodeIdentity {
    /// Digest of the cluster's name, which every request between members carries; known before the first command.
    #[must_use]
    pub fn cluster_id(&self) -> [u8; 16] {
        let digest = Sha256::new()
            .chain_update(b"hessra cluster\n")
            .chain_update(&self.cluster)
            .finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        id
    }

    /// URN that the SAN of a member's certificate spells, and the author of the member's own commands.
    #[must_use]
    pub fn urn(&self, id: u64) -> String {
        format!("urn:hessra:node:{}:{id}", self.cluster)
    }
}
