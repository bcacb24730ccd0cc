//! The state on disk: the current snapshot, and a pack of changes for every write since.
//!
//! ```text
//! snapshot, up to entry 20,000 ◀─ pack 20,064 ◀─ pack 20,128 ◀─ … ◀─ applied
//! ```
//! A record is small and a write changes a thousand of them all over the key space: one by one they cost sled a third of
//! a node's time and ten times their bytes, because it rewrites a page for a few of them. A pack is one value and is
//! written once. A new snapshot makes the packs up to it useless, and they are deleted, some at a time.
//!
//! The mark `applied` says how many packs there are, what their checksums add up to (modulo 2^128, in any order), and up
//! to where only the snapshot has what was applied. So a pack that is missing, old or too many is found at opening, and so
//! is a snapshot that is missing or old.

use std::collections::BTreeMap;

use hessra_proto::v1::raft;
use hessra_state::{Change, InvalidRecords, Record, State};
use prost::Message;

use super::{Keeper, Published};
use crate::engine::Engine;
use crate::error::name;
use crate::layout::{Space, mark, pack_key, record_key};
use crate::snapshot::Shelf;
use crate::{Batch, LogId, SnapshotMeta, StoreError, StoredMembership, codec, frame};

/// Packs read or deleted at once: none delays a write by more than a millisecond or two.
const PACKS_PER_BATCH: usize = 64;
/// Before every change of a pack: put or delete, and the length of what follows.
const PUT: u8 = 1;
const DELETE: u8 = 0;

/// The packs on disk: what is remembered of each.
#[derive(Debug, Default)]
pub(super) struct Packs {
    checksums: BTreeMap<u64, u128>,
    sum: u128,
    /// Up to here only the snapshot has what was applied.
    needs_snapshot: Option<u64>,
}

/// What all packs add up to. Body of the mark `applied`: `count u64, sum u128`, the entry up to which the snapshot is
/// needed plus one as `u64` (0 = none; all big-endian), then last applied and membership as a `SnapshotMeta` without id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    count: u64,
    sum: u128,
    needs_snapshot: Option<u64>,
}

impl Packs {
    /// Adds the pack of the changes up to the entry at `index` to a batch.
    pub(super) fn put<'a>(
        &mut self,
        batch: &mut Batch,
        index: u64,
        changes: impl Iterator<Item = &'a Change>,
    ) {
        let key = pack_key(index);
        let (value, _) = frame::wrap(Space::State, &key, &encode(changes));
        self.add(index, frame::checksum(&value));
        batch.put(Space::State, key, value);
    }

    /// Adds the deletes of some packs up to the entry at `upto` to a batch; true when it deletes any.
    pub(super) fn forget(&mut self, batch: &mut Batch, upto: u64) -> bool {
        let useless: Vec<u64> = self
            .checksums
            .range(..=upto)
            .take(PACKS_PER_BATCH)
            .map(|(index, _)| *index)
            .collect();
        for index in &useless {
            let checksum = self.checksums.remove(index).unwrap_or_default();
            self.sum = self.sum.wrapping_sub(checksum);
            batch.delete(Space::State, pack_key(*index));
        }
        self.needs_snapshot = self.needs_snapshot.max(useless.last().copied());
        !useless.is_empty()
    }

    /// Everything up to the entry at `upto` is in the snapshot alone.
    pub(super) fn replaced(&mut self, upto: Option<u64>) {
        self.needs_snapshot = self.needs_snapshot.max(upto);
    }

    /// Puts the mark `applied`.
    pub(super) fn put_applied(
        &self,
        batch: &mut Batch,
        applied: Option<LogId>,
        membership: &StoredMembership,
    ) {
        let meta = SnapshotMeta {
            last_log_id: applied,
            last_membership: membership.clone(),
            snapshot_id: String::new(),
        };
        let sums = self.sums();
        let mut body = sums.count.to_be_bytes().to_vec();
        body.extend(sums.sum.to_be_bytes());
        body.extend(
            sums.needs_snapshot
                .map_or(0, |index| index + 1)
                .to_be_bytes(),
        );
        body.extend(codec::encode_snapshot_meta(&meta, 0).encode_to_vec());
        batch.put(
            Space::Marks,
            mark::APPLIED,
            frame::wrap(Space::Marks, mark::APPLIED, &body).0,
        );
    }

    fn add(&mut self, index: u64, checksum: u128) {
        self.checksums.insert(index, checksum);
        self.sum = self.sum.wrapping_add(checksum);
    }

    fn sums(&self) -> Sums {
        Sums {
            count: self.checksums.len() as u64,
            sum: self.sum,
            needs_snapshot: self.needs_snapshot,
        }
    }
}

impl Sums {
    fn read(engine: &impl Engine) -> Result<Option<(Self, SnapshotMeta)>, StoreError> {
        let Some(value) = engine.get(Space::Marks, mark::APPLIED)? else {
            return Ok(None);
        };
        let key = || name(Space::Marks, mark::APPLIED);
        let wrong = || StoreError::corrupt(engine.location(), key(), "it has another form");
        let (body, _) = frame::unwrap(engine, Space::Marks, mark::APPLIED, &value)?;
        let (count, rest) = body.split_first_chunk().ok_or_else(wrong)?;
        let (sum, rest) = rest.split_first_chunk().ok_or_else(wrong)?;
        let (needs_snapshot, meta) = rest.split_first_chunk().ok_or_else(wrong)?;
        let (meta, _) = codec::decode::<raft::SnapshotMeta>("applied", meta)
            .and_then(|meta| codec::decode_snapshot_meta(&meta))
            .map_err(|error| StoreError::undecodable(engine.location(), key(), &error))?;
        let sums = Self {
            count: u64::from_be_bytes(*count),
            sum: u128::from_be_bytes(*sum),
            needs_snapshot: u64::from_be_bytes(*needs_snapshot).checked_sub(1),
        };
        Ok(Some((sums, meta)))
    }
}

/// A state from its records.
pub(super) fn rebuild(
    records: impl IntoIterator<Item = Record>,
    source: &str,
) -> Result<State, StoreError> {
    let mut records = records.into_iter().peekable();
    // Before the first entry there is nothing, not even the record that every state has.
    if records.peek().is_none() {
        return Ok(State::new());
    }
    State::from_records(records).map_err(|error| match error {
        InvalidRecords::Invalid(what) => StoreError::corrupt(source, "state", what),
        InvalidRecords::Upgrade { .. } => StoreError::Upgrade {
            file: source.to_owned(),
            what: "the state".to_owned(),
        },
    })
}

impl<E: Engine> Keeper<E> {
    /// Reads and checks the snapshot and every pack.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the pack that is damaged, or saying that one is missing.
    pub(crate) fn open(engine: E, shelf: &Shelf<E>) -> Result<Self, StoreError> {
        let (base, mut records) = base(&engine, shelf)?;
        let (expected, meta) = Sums::read(&engine)?.unwrap_or_default();
        if base > meta.last_log_id {
            let what = "the snapshot goes further than the state is said to be applied";
            return Err(StoreError::corrupt(
                engine.location(),
                name(Space::Marks, mark::APPLIED),
                what,
            ));
        }
        if base.map(|id| id.index) < expected.needs_snapshot {
            let what = "the snapshot that it goes on from is gone, or of an earlier time";
            return Err(StoreError::corrupt(engine.location(), "state", what));
        }
        let mut packs = read_packs(&engine, base.map(|id| id.index), &mut records)?;
        packs.replaced(expected.needs_snapshot);
        if packs.sums() != expected {
            let what = format!(
                "its {} packs are not the {} that were last written: some are missing or of another time",
                packs.sums().count,
                expected.count
            );
            return Err(StoreError::corrupt(engine.location(), "state", what));
        }
        let published = Published {
            applied: meta.last_log_id,
            membership: meta.last_membership,
            state: rebuild(records.into_values(), &engine.location())?.into(),
        };
        Ok(Self::new(engine, published, packs))
    }
}

/// Records by the bytes of their keys.
type Records = BTreeMap<Vec<u8>, Record>;

/// What the current snapshot goes up to, and what is in it.
fn base<E: Engine>(engine: &E, shelf: &Shelf<E>) -> Result<(Option<LogId>, Records), StoreError> {
    let Some((stored, image)) = shelf.load()? else {
        return Ok((None, Records::new()));
    };
    let contents = image.open(&engine.location())?;
    let records = contents
        .records
        .into_iter()
        .map(|record| (record_key(&record.key()), record));
    Ok((stored.meta.last_log_id, records.collect()))
}

/// Checks every pack, and applies those above `base` to the records, in their order.
fn read_packs(
    engine: &impl Engine,
    base: Option<u64>,
    records: &mut Records,
) -> Result<Packs, StoreError> {
    let mut packs = Packs::default();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let found = engine.scan(Space::State, after.as_deref(), PACKS_PER_BATCH)?;
        for (key, value) in &found {
            let (body, _) = frame::unwrap(engine, Space::State, key, value)?;
            let named = || name(Space::State, key);
            let wrong = || StoreError::corrupt(engine.location(), named(), "it has another form");
            let index = u64::from_be_bytes(key.as_slice().try_into().map_err(|_| wrong())?);
            packs.add(index, frame::checksum(value));
            if Some(index) > base {
                replay(body, records, &wrong).map_err(|error| {
                    error.unwrap_or_else(|error| {
                        StoreError::undecodable(engine.location(), named(), &error)
                    })
                })?;
            }
        }
        let Some((key, _)) = found.last() else {
            return Ok(packs);
        };
        after = Some(key.clone());
    }
}

/// `(tag u8 · length u32 big-endian · record or key)` for every change.
fn encode<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in changes {
        let (tag, item) = match change {
            Change::Put(record) => (PUT, codec::encode_record(record)),
            Change::Delete(key) => (DELETE, record_key(key)),
        };
        bytes.push(tag);
        bytes.extend((item.len() as u32).to_be_bytes());
        bytes.extend(item);
    }
    bytes
}

/// Inverse of [`encode`], applied at once. The error of a record that cannot be decoded, or of another form.
fn replay(
    mut body: &[u8],
    records: &mut Records,
    wrong: &impl Fn() -> StoreError,
) -> Result<(), Result<StoreError, codec::CodecError>> {
    while let Some((tag, rest)) = body.split_first() {
        let cut = || Ok(wrong());
        let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        let (item, rest) = rest
            .split_at_checked(u32::from_be_bytes(*length) as usize)
            .ok_or_else(cut)?;
        match *tag {
            PUT => {
                let record = codec::decode_record(item).map_err(Err)?;
                records.insert(record_key(&record.key()), record);
            }
            DELETE => {
                records.remove(item);
            }
            _ => return Err(cut()),
        }
        body = rest;
    }
    Ok(())
}
