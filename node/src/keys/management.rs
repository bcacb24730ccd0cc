//! Everything that managing keys needs beside the cluster.

use super::rotation::Schedule;
use crate::seal::KekRing;

/// The key-encryption keys of this node, and the times of a rotation. Cheap to clone.
#[derive(Clone)]
pub struct KeyManagement {
    /// Seals new keys.
    pub keks: KekRing,
    /// When keys are replaced by themselves, and how long they must have been published.
    pub schedule: Schedule,
}
