//! Settings of a node's audit: its folder, and how much of it is kept.

use std::path::PathBuf;
use std::time::Duration;

/// Place, size and age of the audit of a node.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Folder of the segments; made when it is not there.
    pub folder: PathBuf,
    /// Id of the node whose chain it is.
    pub node: u64,
    /// Bytes at which a segment is turned over.
    pub segment_bytes: u64,
    /// Age of a last record above which its segment is deleted.
    pub keep_age: Duration,
    /// Bytes of all segments above which the oldest are deleted.
    pub keep_bytes: u64,
    /// Least free bytes of the file system: nothing is written below, as the replicated log needs the rest.
    pub free_min: u64,
}
