//! Pack: consecutive entries in one record, linked to the pack before.
//!
//! Body: `prev 32 · first u64 · count u32`, then a [`block`] with, per entry, `length u32` and its bytes. Numbers are
//! big-endian. Commands of one incident share their author, reason and message, and sled writes every byte several
//! times (decision 0004), so an append gains by every byte less.

use crate::block;
use crate::frame::RecordHash;

/// Bytes of entries in one pack, about. A larger entry has a pack of its own. Origin: an append of 64 commands of
/// 256 bytes is one pack, and sled keeps it in one piece.
pub(super) const PACK_BYTES_MAX: usize = 16 * 1024;

const HEAD_BYTES: usize = 32 + 8 + 4;

/// Pack as it was read.
pub(super) struct Pack {
    /// Hash of the pack before.
    pub(super) prev: RecordHash,
    /// Index of the first entry.
    pub(super) first: u64,
    entries: Vec<Vec<u8>>,
}

impl Pack {
    /// Index of the last entry.
    pub(super) fn last(&self) -> u64 {
        // INVARIANT: `decode` accepts no empty pack.
        self.first + self.entries.len() as u64 - 1
    }

    /// Encoded entries from `index` on.
    pub(super) fn entries_from(&self, index: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let all = (self.first..).zip(self.entries.iter().map(Vec::as_slice));
        all.skip_while(move |(at, _)| *at < index)
    }

    /// Encoded entries before `index`.
    pub(super) fn entries_before(&self, index: u64) -> Vec<&[u8]> {
        let all = (self.first..).zip(&self.entries);
        all.take_while(|(at, _)| *at < index)
            .map(|(_, entry)| entry.as_slice())
            .collect()
    }
}

/// Encodes the body of a pack.
pub(super) fn encode(prev: &RecordHash, first: u64, entries: &[&[u8]]) -> Vec<u8> {
    let bytes: usize = entries.iter().map(|entry| 4 + entry.len()).sum();
    let mut plain = Vec::with_capacity(bytes);
    for entry in entries {
        plain.extend((entry.len() as u32).to_be_bytes());
        plain.extend_from_slice(entry);
    }
    let block = block::pack(&plain);
    let mut body = Vec::with_capacity(HEAD_BYTES + block.len());
    body.extend(prev);
    body.extend(first.to_be_bytes());
    body.extend((entries.len() as u32).to_be_bytes());
    body.extend(block);
    body
}

/// Decodes the body of a pack; `None` for anything else.
pub(super) fn decode(body: &[u8]) -> Option<Pack> {
    let (prev, rest) = body.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (count, block) = rest.split_first_chunk()?;
    let plain = block::unpack(block)?;
    let mut rest = plain.as_slice();
    let mut entries = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk()?;
        let (entry, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        entries.push(entry.to_vec());
        rest = after;
    }
    let complete = rest.is_empty() && !entries.is_empty();
    complete.then(|| Pack {
        prev: *prev,
        first: u64::from_be_bytes(*first),
        entries,
    })
}
