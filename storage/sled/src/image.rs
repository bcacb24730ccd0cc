//! Snapshot as bytes, as openraft passes it around. Its format is in [`crate::snapshot`].

use std::fmt;
use std::sync::Arc;

/// Snapshot as one piece of bytes. Clones share it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SnapshotImage(Arc<Vec<u8>>);

impl SnapshotImage {
    /// All bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True before anything was received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for SnapshotImage {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl fmt::Debug for SnapshotImage {
    // The bytes hold sealed keys and names of people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotImage({} bytes)", self.len())
    }
}
