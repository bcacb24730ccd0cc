//! Opening the state machine: the current snapshot, and the entries of the log up to the mark `applied`.
//!
//! ```text
//! snapshot, up to entry 20,000 ◀─ log entry 20,001 ◀─ … ◀─ applied 26,314 ◀─ … ◀─ end of the log
//! ```
//! The log is durable before an entry is applied, and it is purged below the snapshot only: so the state need not be
//! written a second time. The mark is written with every applied batch and never synced on its own: it may lie behind,
//! and the entries above it are applied again once a leader says that they are committed.
//!
//! The mark also carries the feed's history at that point, its revision and `log_root`. A binary that applies an entry
//! in another way than the one that wrote the mark is found here, before the node answers anybody.

use std::sync::Arc;

use hessra_state::Judge;
use openraft::AsyncRuntime;

use super::mark::{Reached, wrong};
use super::memory::{Memory, believe};
use crate::engine::Engine;
use crate::log::LogReader;
use crate::snapshot::SnapshotStore;
use crate::{LogId, StoreError};

/// Reads and checks the snapshot, and applies the entries above it up to the mark. Returns the state machine, and up to
/// where the snapshot goes.
///
/// # Errors
/// [`StoreError::Corrupt`] naming the record that is damaged or missing; [`StoreError::Diverged`] when the log makes
/// another history than the mark names; [`StoreError::Upgrade`] when a newer version wrote the snapshot,
/// [`StoreError::Stopped`] when only a newer one knows a command.
pub(super) fn opened<E: Engine, R: AsyncRuntime>(
    engine: &E,
    judge: Arc<dyn Judge>,
    snapshots: &SnapshotStore<E>,
    entries: &LogReader<E, R>,
) -> Result<(Memory, Option<LogId>), StoreError> {
    let base = base(engine, judge, snapshots)?;
    let reached = Reached::read(engine)?;
    if base.applied > reached.map(|reached| reached.applied) {
        let what = "the snapshot goes further than the state is said to be applied";
        return Err(wrong(engine, what));
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
        Some(reached) => replayed(engine, base, &reached, entries)?,
        None => base,
    };
    Ok((memory, stored))
}

/// Opens the state machine of the current snapshot.
fn base<E: Engine>(
    engine: &E,
    judge: Arc<dyn Judge>,
    snapshots: &SnapshotStore<E>,
) -> Result<Memory, StoreError> {
    match snapshots.load()? {
        Some((stored, image)) => believe(&stored.meta, &image, (&judge, &engine.location())),
        None => Ok(Memory::empty(judge)),
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
        let entries = log.kept(next, last + 1)?;
        // An unpurged log begins where it begins: its chain says that this is all of it.
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

fn text(id: Option<LogId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| format!("entry {}", id.index))
}
