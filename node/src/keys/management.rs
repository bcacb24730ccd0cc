//! Everything that managing keys needs beside the cluster.

use super::rotation::Schedule;
use crate::seal::KekRing;

/// The key-encryption keys of this node, and the times of a rotation. Cheap to clone.
#[derive(Clone)]
pub struct KeyManagement {
    /// Key-encryption keys that seal new keys.
    pub keks: KekRing,
    /// Times at which keys are replaced by themselves, and for which they must have been published.
    pub schedule: Schedule,
}
