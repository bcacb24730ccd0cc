//! Frame of every record: a format number and a checksum over the record *and its name*.
//!
//! `format u8 · checksum 16 · body`, checksum = the first half of `SHA-256("hessra record\0", space, key length, key,
//! format, body)`. The name is in it, so that a good record under another key is found too. SHA-256 because its whole
//! hash also links the log's chain; 128 bits are plenty against accidents.

use std::cmp::Ordering;

use sha2::{Digest as _, Sha256};

use crate::engine::Engine;
use crate::error::name;
use crate::{Space, StoreError};

/// Format of all records. 1 had packs that were not compressed.
const FORMAT: u8 = 2;
const CHECKSUM_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + CHECKSUM_BYTES;

/// SHA-256 of a record with its name.
pub(crate) type RecordHash = [u8; 32];

/// Wraps a body, and returns its hash too.
pub(crate) fn wrap(space: Space, key: &[u8], body: &[u8]) -> (Vec<u8>, RecordHash) {
    let hash = hash(FORMAT, space, key, body);
    let mut value = Vec::with_capacity(HEAD_BYTES + body.len());
    value.push(FORMAT);
    value.extend_from_slice(&hash[..CHECKSUM_BYTES]);
    value.extend_from_slice(body);
    (value, hash)
}

/// Unwraps a stored value into its body, and returns its hash too.
///
/// # Errors
/// [`StoreError::Corrupt`] with the record's name when the value is not the one written under this key;
/// [`StoreError::Upgrade`] when its format is newer, [`StoreError::Outdated`] when it is older.
pub(crate) fn unwrap<'a>(
    engine: &impl Engine,
    space: Space,
    key: &[u8],
    value: &'a [u8],
) -> Result<(&'a [u8], RecordHash), StoreError> {
    let corrupt = |what: &str| StoreError::corrupt(engine.location(), name(space, key), what);
    let (head, body) = value
        .split_at_checked(HEAD_BYTES)
        .ok_or_else(|| corrupt("it is cut off"))?;
    let hash = hash(head[0], space, key, body);
    if head[1..] != hash[..CHECKSUM_BYTES] {
        return Err(corrupt("its checksum does not match"));
    }
    check_format(head[0], FORMAT, engine.location(), || name(space, key))?;
    Ok((body, hash))
}

/// Checks that the format is the one that this version reads.
pub(crate) fn check_format(
    found: u8,
    known: u8,
    file: String,
    what: impl FnOnce() -> String,
) -> Result<(), StoreError> {
    match found.cmp(&known) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(StoreError::Outdated { file, what: what() }),
        Ordering::Greater => Err(StoreError::Upgrade { file, what: what() }),
    }
}

fn hash(format: u8, space: Space, key: &[u8], body: &[u8]) -> RecordHash {
    let hasher = Sha256::new_with_prefix(b"hessra record\0")
        .chain_update(space.name())
        .chain_update([0])
        .chain_update((key.len() as u64).to_be_bytes())
        .chain_update(key)
        .chain_update([format])
        .chain_update(body);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryEngine;

    fn read(format: u8) -> Result<usize, StoreError> {
        let (mut value, _) = wrap(Space::Marks, b"vote", b"body");
        let hash = hash(format, Space::Marks, b"vote", b"body");
        value[0] = format;
        value[1..HEAD_BYTES].copy_from_slice(&hash[..CHECKSUM_BYTES]);
        let engine = MemoryEngine::new(1);
        unwrap(&engine, Space::Marks, b"vote", &value).map(|(body, _)| body.len())
    }

    /// Neither is damage: no healthy node may be thrown away for it.
    #[test]
    fn a_record_of_another_version_says_which_way_to_go() {
        assert!(matches!(read(FORMAT), Ok(4)));
        assert!(matches!(read(FORMAT - 1), Err(StoreError::Outdated { .. })));
        assert!(matches!(read(FORMAT + 1), Err(StoreError::Upgrade { .. })));
    }
}
