//! Where the audit of a node is kept, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

/// Place, size and age of the audit of a node.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Folder of the segments; made when it is not there.
    pub folder: PathBuf,
    /// Whose chain it is.
    pub node: u64,
    /// A segment is turned over at so many bytes.
    pub segment_bytes: u64,
    /// Segments whose last record is older are deleted.
    pub keep_age: Duration,
    /// The oldest segments are deleted while all take more bytes.
    pub keep_bytes: u64,
    /// Nothing is written while less is free on the file system: the replicated log needs the rest.
    pub free_min: u64,
}
