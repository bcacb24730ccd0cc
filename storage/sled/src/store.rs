//! Opening of the store, in the order in which its parts depend on each other.

use std::sync::Arc;

use hessra_state::Judge;
use openraft::AsyncRuntime;

use crate::StoreError;
use crate::engine::Engine;
use crate::log::{Durability, LogReader, LogStore, read_start, read_vote};
use crate::machine::{Keeper, StateMachine};
use crate::snapshot::SnapshotStore;

/// Store: log, vote, state and snapshots over one engine.
pub struct Store;

/// Parts of the store that openraft is given.
pub type Parts<E, R> = (LogStore<E, R>, StateMachine<E, R>);

impl Store {
    /// Reads and checks everything that the engine holds: every chunk of the snapshot, every pack of the log; and applies
    /// the log above the snapshot again, as far as it was applied. `judge` says what the authors of commands may: the same on
    /// every node, or their states differ.
    ///
    /// ```
    /// use hessra_sled::{LogStore, MemoryEngine, StateMachine, Store};
    /// # use hessra_state::{Judge, Pending, Refusal, Stamped, State};
    /// # struct Rights;
    /// # impl Judge for Rights {
    /// #     fn judge(&self, _: &State, stamped: &Stamped) -> Result<String, Refusal> { Ok(stamped.author.to_string()) }
    /// #     fn still_asks(&self, _: &State, _: &Pending) -> bool { true }
    /// # }
    /// let engine = MemoryEngine::new(7);
    /// let (log, machine): (LogStore<_>, StateMachine<_>) = Store::open(engine, std::sync::Arc::new(Rights))?;
    /// assert!(machine.watch().borrow().applied.is_none());
    /// # drop(log);
    /// # Ok::<(), hessra_sled::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with file, record and next step when anything is not as it was written;
    /// [`StoreError::Upgrade`] when a newer version wrote it; [`StoreError::Io`] when the disk does not answer.
    pub fn open<E: Engine, R: AsyncRuntime>(
        engine: E,
        judge: Arc<dyn Judge>,
    ) -> Result<Parts<E, R>, StoreError> {
        read_vote(&engine)?;
        read_start(&engine)?;
        let snapshots = Arc::new(SnapshotStore::open(engine.clone())?);
        let log = LogReader::open(engine.clone())?;
        let keeper = Arc::new(Keeper::open(engine, judge, &snapshots, &log)?);
        // A crash came between an installed snapshot and the purge below it.
        log.hide_below(keeper.settled().upto());
        let durability = Durability::default();
        let store = LogStore::new(log, keeper.settled().clone(), durability.clone());
        Ok((store, StateMachine::new(keeper, snapshots, durability)))
    }
}
