//! Pieces of values, so that no page of sled becomes a blob.
//!
//! A leaf of sled has up to 16 items, for a moment up to 20, and is written whole. It becomes a blob above a quarter of a
//! segment, 512 KiB here: with pieces of 20 KiB at most it stays below 420 KiB.
//!
//! Piece `n` of key `k` is stored under `k, n u16 big-endian`; piece 0 begins with the number of pieces (`u16`). No key of
//! a space is the beginning of another one, so pieces stay in the order of their keys.

use std::ops::Bound;

use sled::{IVec, Tree};

use crate::engine::Pair;

/// Bytes of a piece.
const PIECE_BYTES: usize = 20 * 1024;

/// Reason why the pieces of a value do not fit together.
type Torn = &'static str;

/// Pairs, or the key whose pieces do not fit together.
type Scanned = Result<Vec<Pair>, (Vec<u8>, Torn)>;

/// Key of sled's and its new value; `None` deletes.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Value under a key.
pub(super) fn get(tree: &Tree, key: &[u8]) -> sled::Result<Result<Option<Vec<u8>>, Torn>> {
    let Some(first) = tree.get(piece_key(key, 0))? else {
        return Ok(Ok(None));
    };
    let Some((count, data)) = head(&first) else {
        return Ok(Err("its first piece is cut off"));
    };
    let mut value = data.to_vec();
    for number in 1..count {
        match tree.get(piece_key(key, number))? {
            Some(piece) => value.extend_from_slice(&piece),
            None => return Ok(Err("a piece of it is gone")),
        }
    }
    Ok(Ok(Some(value)))
}

/// Pairs above `after`, at most `limit`.
pub(super) fn scan(tree: &Tree, after: Option<&[u8]>, limit: usize) -> sled::Result<Scanned> {
    let start = after.map_or(Bound::Unbounded, |key| {
        Bound::Excluded(piece_key(key, u16::MAX))
    });
    let mut found: Vec<Pair> = Vec::new();
    let mut missing = 0;
    for item in tree.range::<Vec<u8>, _>((start, Bound::Unbounded)) {
        let (stored, value) = item?;
        let Some((key, number)) = name(&stored) else {
            return Ok(Err((stored.to_vec(), "its name is cut off")));
        };
        if missing == 0 && found.len() == limit {
            break;
        }
        match (missing, found.last_mut()) {
            (0, _) if number == 0 => {
                let Some((count, data)) = head(&value) else {
                    return Ok(Err((key.to_vec(), "its first piece is cut off")));
                };
                missing = count.saturating_sub(1);
                found.push((key.to_vec(), data.to_vec()));
            }
            (1.., Some((open, data))) if open == key => {
                missing -= 1;
                data.extend_from_slice(&value);
            }
            _ => return Ok(Err((key.to_vec(), "a piece of it is gone"))),
        }
    }
    match (missing, found.pop()) {
        (1.., Some((key, _))) => Ok(Err((key, "a piece of it is gone"))),
        (_, last) => {
            found.extend(last);
            Ok(Ok(found))
        }
    }
}

/// Cuts a new value, or a delete, into changes of sled's keys. Pieces that the value no longer has are deleted.
pub(super) fn put(
    tree: &Tree,
    key: &[u8],
    value: Option<&[u8]>,
    changes: &mut Vec<Change>,
) -> sled::Result<()> {
    let before = tree.get(piece_key(key, 0))?;
    let before = before
        .and_then(|first| head(&first).map(|(count, _)| count))
        .unwrap_or(0);
    let after = match value {
        Some(value) => put_pieces(key, value, changes)?,
        None => 0,
    };
    changes.extend((after..before).map(|number| (piece_key(key, number), None)));
    Ok(())
}

fn put_pieces(key: &[u8], value: &[u8], changes: &mut Vec<Change>) -> sled::Result<u16> {
    let count = value.len().div_ceil(PIECE_BYTES).max(1);
    let too_large =
        |_| sled::Error::Unsupported(format!("a record of {} bytes is too large", value.len()));
    let count = u16::try_from(count).map_err(too_large)?;
    let (first, rest) = value.split_at(value.len().min(PIECE_BYTES));
    let first = [&count.to_be_bytes()[..], first].concat();
    changes.push((piece_key(key, 0), Some(first)));
    for (number, piece) in (1..).zip(rest.chunks(PIECE_BYTES)) {
        changes.push((piece_key(key, number), Some(piece.to_vec())));
    }
    Ok(count)
}

fn piece_key(key: &[u8], number: u16) -> Vec<u8> {
    [key, &number.to_be_bytes()].concat()
}

fn name(stored: &IVec) -> Option<(&[u8], u16)> {
    let (key, number) = stored.split_last_chunk()?;
    Some((key, u16::from_be_bytes(*number)))
}

fn head(first: &IVec) -> Option<(u16, &[u8])> {
    let (count, data) = first.split_first_chunk()?;
    Some((u16::from_be_bytes(*count), data))
}
