//! The state as it was: the current snapshot, and the entries of the log up to the mark `applied`.
//!
//! ```text
//! snapshot, up to entry 20,000 ◀─ log entry 20,001 ◀─ … ◀─ applied 26,314 ◀─ … ◀─ end of the log
//! ```
//! The log is durable before an entry is applied, and it is purged below the snapshot only: so the state need not be
//! written a second time. The mark is written with every applied batch and never synced on its own: it may lie behind,
//! and what is above it is applied again once a leader says that it is committed.
//!
//! The mark also carries what the feed's history came to, its revision and `log_root`. A binary that applies an
//! entry in another way than the one that wrote the mark is found here, before it says anything to anybody.

use hessra_proto::v1::log;
use hessra_revocation::{Hash, Revision};
use hessra_state::{InvalidRecords, Machine, Record, State};
use openraft::AsyncRuntime;

use super::believe;
use super::keeper::{Keeper, Memory};
use crate::engine::Engine;
use crate::error::name;
use crate::layout::{Space, mark};
use crate::log::LogReader;
use crate::snapshot::SnapshotStore;
use crate::{Batch, LogId, StoreError, codec, frame};

/// How far the state is applied, and what its history is then. Body: `term u64 · index u64 · revision u64 · log_root
/// 32`, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    applied: LogId,
    revision: Revision,
    log_root: Hash,
}

impl Reached {
    pub(super) fn of(applied: LogId, state: &State) -> Self {
        let view = state.view();
        Self {
            applied,
            revision: view.revision,
            log_root: view.log_root(),
        }
    }

    pub(super) fn put(&self, batch: &mut Batch) {
        let mut body = self.applied.leader_id.term.to_be_bytes().to_vec();
        body.extend(self.applied.index.to_be_bytes());
        body.extend(self.revision.0.to_be_bytes());
        body.extend(self.log_root);
        let (value, _) = frame::wrap(Space::Marks, mark::APPLIED, &body);
        batch.put(Space::Marks, mark::APPLIED, value);
    }

    fn read(engine: &impl Engine) -> Result<Option<Self>, StoreError> {
        let Some(value) = engine.get(Space::Marks, mark::APPLIED)? else {
            return Ok(None);
        };
        let (body, _) = frame::unwrap(engine, Space::Marks, mark::APPLIED, &value)?;
        let decoded = Self::decode(body).ok_or_else(|| wrong(engine, "it has another form"))?;
        Ok(Some(decoded))
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (term, rest) = body.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (revision, rest) = rest.split_first_chunk()?;
        let (term, index) = (u64::from_be_bytes(*term), u64::from_be_bytes(*index));
        Some(Self {
            applied: codec::decode_log_id(&log::LogId { term, index }),
            revision: Revision(u64::from_be_bytes(*revision)),
            log_root: rest.try_into().ok()?,
        })
    }
}

impl<E: Engine> Keeper<E> {
    /// Reads and checks the snapshot, and applies the entries above it up to the mark.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming what is damaged or missing; [`StoreError::Diverged`] when the log makes another
    /// history than the mark names; [`StoreError::Upgrade`] when a newer version wrote the snapshot, [`StoreError::Stopped`] when only a newer one knows a command.
    pub(crate) fn open<R: AsyncRuntime>(
        engine: E,
        snapshots: &SnapshotStore<E>,
        entries: &LogReader<E, R>,
    ) -> Result<Self, StoreError> {
        let base = base(&engine, snapshots)?;
        let reached = Reached::read(&engine)?;
        if base.applied > reached.map(|reached| reached.applied) {
            let what = "the snapshot goes further than the state is said to be applied";
            return Err(wrong(&engine, what));
        }
        if entries.purged() > base.applied {
            let what = format!(
                "the log begins after {}, and the snapshot goes up to {} only: it is gone, or of an earlier time",
                text(entries.purged()),
                text(base.applied)
            );
            return Err(StoreError::corrupt(engine.location(), "snapshot", what));
        }
        let stored = base.applied;
        let memory = match reached {
            Some(reached) => replayed(&engine, base, &reached, entries)?,
            None => base,
        };
        Ok(Self::new(engine, memory, stored))
    }
}

/// What the current snapshot says.
fn base<E: Engine>(engine: &E, snapshots: &SnapshotStore<E>) -> Result<Memory, StoreError> {
    match snapshots.load()? {
        Some((stored, image)) => believe(&stored.meta, &image, &engine.location()),
        None => Ok(Memory::default()),
    }
}

fn replayed<E: Engine, R: AsyncRuntime>(
    engine: &E,
    base: Memory,
    reached: &Reached,
    log: &LogReader<E, R>,
) -> Result<Memory, StoreError> {
    let last = reached.applied.index;
    let mut memory = base;
    let mut next = memory.applied.map_or(0, |id| id.index + 1);
    while next <= last {
        let entries = log.some(next, last + 1)?;
        // Where nothing was purged the log begins where it begins: its chain says that this is all of it.
        let first = entries.first().map(|entry| entry.log_id.index);
        let follows = first == Some(next) || (first.is_some() && next == 0);
        if !follows {
            let what = format!("it is applied up to entry {last}, and the log has no entry {next}");
            return Err(wrong(engine, &what));
        }
        for entry in entries {
            next = entry.log_id.index + 1;
            memory.apply(entry)?;
        }
    }
    let applied = memory.applied;
    if applied.map(|id| Reached::of(id, memory.machine.state())) == Some(*reached) {
        return Ok(memory);
    }
    Err(StoreError::Diverged {
        file: engine.location(),
        index: last,
    })
}

/// A state machine from its records.
pub(super) fn rebuild(
    records: impl IntoIterator<Item = Record>,
    source: &str,
) -> Result<Machine, StoreError> {
    let mut records = records.into_iter().peekable();
    // Before the first entry there is nothing, not even the record that every state has.
    if records.peek().is_none() {
        return Ok(Machine::new());
    }
    Machine::from_records(records).map_err(|error| match error {
        InvalidRecords::Invalid(what) => StoreError::corrupt(source, "state", what),
        InvalidRecords::Upgrade { .. } => StoreError::Upgrade {
            file: source.to_owned(),
            what: "the state".to_owned(),
        },
    })
}

fn wrong(engine: &impl Engine, what: &str) -> StoreError {
    StoreError::corrupt(engine.location(), name(Space::Marks, mark::APPLIED), what)
}

fn text(id: Option<LogId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| format!("entry {}", id.index))
}
