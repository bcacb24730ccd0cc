//! The state's records on disk: writing changes, reading all of them, replacing all of them.

use hessra_proto::v1::raft;
use hessra_state::{Change, InvalidRecords, Record, State};
use prost::Message;

use super::{Keeper, Published};
use crate::engine::Engine;
use crate::error::name;
use crate::layout::{Space, mark, record_key};
use crate::snapshot::Shelf;
use crate::{Batch, LogId, SnapshotMeta, StoreError, StoredMembership, codec, frame};

/// Records read, deleted or written at once.
const RECORDS_PER_BATCH: usize = 1024;

/// What all records add up to. Body of the mark `applied`: `count u64, sum u128` (big-endian), then last applied and
/// membership as a `SnapshotMeta` without id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    count: u64,
    sum: u128,
}

impl Sums {
    fn add(&mut self, value: &[u8]) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(frame::checksum(value));
    }

    fn remove(&mut self, value: &[u8]) {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(frame::checksum(value));
    }

    /// Puts the mark `applied`.
    pub(super) fn put(
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
        let mut body = self.count.to_be_bytes().to_vec();
        body.extend(self.sum.to_be_bytes());
        body.extend(codec::encode_snapshot_meta(&meta, 0).encode_to_vec());
        batch.put(
            Space::Marks,
            mark::APPLIED,
            frame::wrap(Space::Marks, mark::APPLIED, &body).0,
        );
    }

    fn read(engine: &impl Engine) -> Result<Option<(Self, SnapshotMeta)>, StoreError> {
        let Some(value) = engine.get(Space::Marks, mark::APPLIED)? else {
            return Ok(None);
        };
        let key = || name(Space::Marks, mark::APPLIED);
        let wrong = || StoreError::corrupt(engine.location(), key(), "it has another form");
        let (body, _) = frame::unwrap(engine, Space::Marks, mark::APPLIED, &value)?;
        let (count, rest) = body.split_first_chunk().ok_or_else(wrong)?;
        let (sum, meta) = rest.split_first_chunk().ok_or_else(wrong)?;
        let (meta, _) = codec::decode::<raft::SnapshotMeta>("applied", meta)
            .and_then(|meta| codec::decode_snapshot_meta(&meta))
            .map_err(|error| StoreError::undecodable(engine.location(), key(), &error))?;
        Ok(Some((
            Self {
                count: u64::from_be_bytes(*count),
                sum: u128::from_be_bytes(*sum),
            },
            meta,
        )))
    }
}

/// Adds changes to a batch; returns what the records add up to afterwards.
pub(super) fn put_changes<'a>(
    engine: &impl Engine,
    batch: &mut Batch,
    mut sums: Sums,
    changes: impl Iterator<Item = &'a Change>,
) -> Result<Sums, StoreError> {
    for change in changes {
        let key = record_key(&change.key());
        if let Some(before) = engine.get(Space::State, &key)? {
            sums.remove(&before);
        }
        match change {
            Change::Put(record) => put_record(batch, &mut sums, record),
            Change::Delete(_) => batch.delete(Space::State, key),
        }
    }
    Ok(sums)
}

fn put_record(batch: &mut Batch, sums: &mut Sums, record: &Record) {
    let key = record_key(&record.key());
    let (value, _) = frame::wrap(Space::State, &key, &codec::encode_record(record));
    sums.add(&value);
    batch.put(Space::State, key, value);
}

/// A state from its records.
pub(super) fn rebuild(records: Vec<Record>, source: &str) -> Result<State, StoreError> {
    // Before the first entry there is nothing, not even the record that every state has.
    if records.is_empty() {
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
    /// Reads and checks every record; first finishes the installation of a snapshot, should a crash have ended one.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the record that is damaged, or saying that one is missing.
    pub(crate) fn open(engine: E, shelf: &Shelf<E>) -> Result<Self, StoreError> {
        if let Some(value) = engine.get(Space::Marks, mark::INSTALL)? {
            frame::unwrap(&engine, Space::Marks, mark::INSTALL, &value)?;
            finish_install(&engine, shelf)?;
        }
        let (expected, meta) = Sums::read(&engine)?.unwrap_or_default();
        let (records, found) = read_all(&engine)?;
        if found != expected {
            let what = format!(
                "its {} records are not the {} that were last written: some are missing or of another time",
                found.count, expected.count
            );
            return Err(StoreError::corrupt(engine.location(), "state", what));
        }
        let state = rebuild(records, &engine.location())?;
        let published = Published {
            applied: meta.last_log_id,
            membership: meta.last_membership,
            state: state.into(),
        };
        Ok(Self::new(engine, published, found))
    }
}

fn read_all(engine: &impl Engine) -> Result<(Vec<Record>, Sums), StoreError> {
    let (mut records, mut sums) = (Vec::new(), Sums::default());
    let mut after: Option<Vec<u8>> = None;
    loop {
        let found = engine.scan(Space::State, after.as_deref(), RECORDS_PER_BATCH)?;
        for (key, value) in &found {
            let (body, _) = frame::unwrap(engine, Space::State, key, value)?;
            let record = codec::decode_record(body).map_err(|error| {
                StoreError::undecodable(engine.location(), name(Space::State, key), &error)
            })?;
            sums.add(value);
            records.push(record);
        }
        let Some((key, _)) = found.last() else {
            return Ok((records, sums));
        };
        after = Some(key.clone());
    }
}

fn finish_install<E: Engine>(engine: &E, shelf: &Shelf<E>) -> Result<(), StoreError> {
    let missing = || {
        let key = name(Space::Marks, mark::INSTALL);
        StoreError::corrupt(
            engine.location(),
            key,
            "the snapshot that was being installed is gone",
        )
    };
    let (stored, image) = shelf.load()?.ok_or_else(missing)?;
    let published = super::keeper::believe(&stored.meta, &image, &engine.location())?;
    let mut replacement = Replacement::new(&published);
    while let Some(batch) = replacement.next(engine)? {
        engine.write(batch)?;
    }
    tracing::warn!(
        index = stored.meta.last_log_id.map(|id| id.index),
        "interrupted installation of a snapshot finished"
    );
    Ok(())
}

/// The batches that put one state in the place of another: deletes, then puts, then the marks.
pub(super) struct Replacement<'a> {
    records: Box<dyn Iterator<Item = Record> + Send + 'a>,
    published: &'a Published,
    sums: Sums,
    stage: Stage,
}

enum Stage {
    Deleting,
    Writing,
    Done,
}

impl<'a> Replacement<'a> {
    pub(super) fn new(published: &'a Published) -> Self {
        let records = Box::new(published.state.records());
        Self {
            records,
            published,
            sums: Sums::default(),
            stage: Stage::Deleting,
        }
    }

    /// The next batch; the one before must be written. `None` when all was given out.
    pub(super) fn next(&mut self, engine: &impl Engine) -> Result<Option<Batch>, StoreError> {
        let mut batch = Batch::default();
        if let Stage::Deleting = self.stage {
            let found = engine.scan(Space::State, None, RECORDS_PER_BATCH)?;
            if !found.is_empty() {
                found
                    .into_iter()
                    .for_each(|(key, _)| batch.delete(Space::State, key));
                return Ok(Some(batch));
            }
            self.stage = Stage::Writing;
        }
        if let Stage::Done = self.stage {
            return Ok(None);
        }
        let records = self.records.by_ref().take(RECORDS_PER_BATCH);
        records.for_each(|record| put_record(&mut batch, &mut self.sums, &record));
        if batch.len() < RECORDS_PER_BATCH {
            self.sums.put(
                &mut batch,
                self.published.applied,
                &self.published.membership,
            );
            batch.delete(Space::Marks, mark::INSTALL);
            self.stage = Stage::Done;
        }
        Ok(Some(batch))
    }

    /// What the new records add up to, once all were given out.
    pub(super) fn sums(&self) -> Sums {
        self.sums
    }
}
