//! Limits and bounds of writing and reading.

use std::time::Duration;

/// Pause between two tries during an election: a third of the shortest one.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Limits and bounds of writing and reading.
#[derive(Clone, Debug)]
pub struct ConsensusSettings {
    /// Revocations waiting to be proposed; more are refused. Reserved: no other write takes their place. Default 4,096.
    pub revocations_queued_max: usize,
    /// Other writes waiting. Default 512.
    pub others_queued_max: usize,
    /// Bytes of all writes waiting or under way. Default 64 MiB.
    pub queued_bytes_max: usize,
    /// Log entries under way at a time: while one is replicated the next is written. Default 2.
    pub pipeline: usize,
    /// A write or linearizable read without a deadline of its own gets this one. Default 10 s.
    pub deadline: Duration,
    /// A member that was not heard of for so long is taken for dead. Default 3 s.
    pub silent_after: Duration,
}

impl Default for ConsensusSettings {
    fn default() -> Self {
        Self {
            revocations_queued_max: 4_096,
            others_queued_max: 512,
            queued_bytes_max: 64 * 1024 * 1024,
            pipeline: 2,
            deadline: Duration::from_secs(10),
            silent_after: Duration::from_secs(3),
        }
    }
}
