//! Snapshot while it arrives: not yet believed, and bounded.

use std::collections::BTreeMap;

use super::trouble::{Trouble, unreadable};
use crate::view::keys_from_bytes;
use crate::{PublicKeyRecord, RevocationSet};

/// Most bytes of a snapshot. Origin: a rule has 18 to 35 bytes, so this is room for fifteen million rules or more,
/// above the ten million that the product is measured with.
pub const SNAPSHOT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Parts of a snapshot that have arrived.
#[derive(Debug)]
pub(super) struct Loading {
    set: RevocationSet,
    keys: BTreeMap<u32, PublicKeyRecord>,
    /// Buckets that have come: each may come once, so that a carrier cannot make us work without end.
    seen: [bool; 256],
    /// True once a first chunk has come.
    begun: bool,
    bytes: usize,
}

impl Loading {
    /// Begins with a set whose buckets the chunks replace.
    pub(super) fn on_top_of(set: RevocationSet) -> Self {
        Self {
            set,
            keys: BTreeMap::new(),
            seen: [false; 256],
            begun: false,
            bytes: 0,
        }
    }

    pub(super) fn add(&mut self, buckets: &[u8], rules: &[u8], keys: &[u8]) -> Result<(), Trouble> {
        self.bytes = self
            .bytes
            .saturating_add(rules.len())
            .saturating_add(keys.len());
        let empty_handed = self.begun && buckets.is_empty();
        if self.bytes > SNAPSHOT_BYTES_MAX || empty_handed || (self.begun && !keys.is_empty()) {
            return Err(Trouble::ELSEWHERE);
        }
        self.begun = true;
        for bucket in buckets {
            if std::mem::replace(&mut self.seen[usize::from(*bucket)], true) {
                return Err(Trouble::ELSEWHERE);
            }
        }
        if !keys.is_empty() {
            self.keys = keys_from_bytes(keys).map_err(unreadable)?;
        }
        self.set.replace_buckets(buckets, rules).map_err(unreadable)
    }

    pub(super) fn finish(self) -> (RevocationSet, BTreeMap<u32, PublicKeyRecord>) {
        (self.set, self.keys)
    }
}
