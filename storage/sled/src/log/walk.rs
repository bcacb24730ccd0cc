//! Walk along the chain on disk: every pack is read, and must follow the one before it.

use std::collections::BTreeMap;

use super::ends::End;
use super::pack::{self, Pack};
use crate::StoreError;
use crate::engine::Engine;
use crate::error::name;
use crate::frame::{self, RecordHash};
use crate::layout::{Space, pack_key};

/// Number of packs read at once.
const WALK_PACKS: usize = 64;

/// Link: the index entry of a pack.
#[derive(Clone, Copy)]
pub(super) struct Link {
    /// Index of its last entry.
    pub(super) last: u64,
    /// Hash of the pack before.
    pub(super) prev: RecordHash,
    /// Hash of this pack.
    pub(super) hash: RecordHash,
}

/// Reads every pack and follows the links.
pub(super) fn walk(engine: &impl Engine, purged: &End) -> Result<BTreeMap<u64, Link>, StoreError> {
    let mut packs = BTreeMap::new();
    let mut before: Option<Link> = None;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let found = engine.scan(Space::Log, after.as_deref(), WALK_PACKS)?;
        for (key, value) in &found {
            let (pack, hash) = unpack(engine, key, value)?;
            let link = Link {
                last: pack.last(),
                prev: pack.prev,
                hash,
            };
            check_link(engine, key, pack.first, &link, before, purged)?;
            packs.insert(pack.first, link);
            before = Some(link);
        }
        let Some((key, _)) = found.last() else {
            return Ok(packs);
        };
        after = Some(key.clone());
    }
}

fn check_link(
    engine: &impl Engine,
    key: &[u8],
    first: u64,
    link: &Link,
    before: Option<Link>,
    purged: &End,
) -> Result<(), StoreError> {
    let expected = before.map_or(purged.hash, |before| before.hash);
    let purged_through = purged.id.map(|id| id.index);
    // A hole is allowed only below the purged end: there a snapshot replaced the entries.
    let follows = match before.map(|before| before.last).or(purged_through) {
        Some(last) => first == last + 1 || first.checked_sub(1) <= purged_through,
        None => true,
    };
    if link.prev == expected && follows {
        return Ok(());
    }
    let what = "it does not follow the pack before it: one in between is missing or another one was written here";
    Err(StoreError::corrupt(
        engine.location(),
        name(Space::Log, key),
        what,
    ))
}

/// Decodes a pack from a stored value, and returns its hash too.
pub(super) fn unpack(
    engine: &impl Engine,
    key: &[u8],
    value: &[u8],
) -> Result<(Pack, RecordHash), StoreError> {
    let (body, hash) = frame::unwrap(engine, Space::Log, key, value)?;
    let wrong = || {
        StoreError::corrupt(
            engine.location(),
            name(Space::Log, key),
            "it is not a pack of entries",
        )
    };
    let pack = pack::decode(body)
        .filter(|pack| pack_key(pack.first) == key)
        .ok_or_else(wrong)?;
    Ok((pack, hash))
}
