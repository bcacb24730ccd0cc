//! Layout of the disk: spaces, and the names of records in them.
//!
//! | space | key | value |
//! |---|---|---|
//! | `marks` | a word, see [`mark`] | small records that change often |
//! | `log` | first index, 8 bytes big-endian | a pack of entries ([`crate::log`]) |
//! | `copies` | `vote`, `start` | these marks once more, apart, so that they cannot go back in time unnoticed |
//! | `snapshots` | generation 8 bytes, number 4 bytes, both big-endian | a chunk of a snapshot |
//!
//! Within a space no key is the beginning of another one: an engine may append to keys and keep their order.

use std::fmt;

/// Space of records. They are kept apart, because some are small and hot and others large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Small records that change often.
    Marks,
    /// Packs of log entries.
    Log,
    /// Chunks of snapshots.
    Snapshots,
    /// Second copies of records that must not go back in time.
    Copies,
}

impl Space {
    /// All spaces.
    pub const ALL: [Self; 4] = [Self::Marks, Self::Log, Self::Snapshots, Self::Copies];

    /// Stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Marks => "marks",
            Self::Log => "log",
            Self::Snapshots => "snapshots",
            Self::Copies => "copies",
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names in [`Space::Marks`].
pub mod mark {
    /// Vote.
    pub const VOTE: &[u8] = b"vote";
    /// Both ends of the log's chain.
    pub const ENDS: &[u8] = b"ends";
    /// Index up to which the state is applied, and its history there.
    pub const APPLIED: &[u8] = b"applied";
    /// Newest start of a process on this store.
    pub const START: &[u8] = b"start";
    /// Current snapshot.
    pub const SNAPSHOT: &[u8] = b"snapshot";
}

/// Key of a pack: the index of its first entry.
#[must_use]
pub fn pack_key(index: u64) -> Vec<u8> {
    index.to_be_bytes().to_vec()
}

/// Key of a chunk of a snapshot.
#[must_use]
pub fn chunk_key(generation: u64, number: u32) -> Vec<u8> {
    [&generation.to_be_bytes()[..], &number.to_be_bytes()].concat()
}
