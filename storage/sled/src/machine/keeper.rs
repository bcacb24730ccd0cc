//! Keeper: the state machine in memory, and its parts on disk.

use std::sync::{Arc, Mutex, MutexGuard};

use hessra_state::{Applied, Judge, RequestId, Stamped, State};
use openraft::AsyncRuntime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::mark::Reached;
use super::memory::{Memory, believe};
use super::opening::opened;
use super::readers::{MachineImage, Published, Remembered};
use super::recent::{Recent, RecentEntry};
use crate::engine::Engine;
use crate::image::SnapshotImage;
use crate::log::LogReader;
use crate::plant::{Plant, is_planted};
use crate::settled::Settled;
use crate::snapshot::SnapshotStore;
use crate::{Answers, Batch, Entry, SnapshotMeta, StoreError};

/// Holds the state machine in memory, and writes its mark and its snapshots.
pub(crate) struct Keeper<E> {
    engine: E,
    memory: Mutex<Memory>,
    published: watch::Sender<Arc<Published>>,
    settled: Settled,
    recent: Recent,
}

impl<E: Engine> Keeper<E> {
    /// Opens the state machine as it was, see [`opened`].
    ///
    /// # Errors
    /// As [`opened`].
    pub(crate) fn open<R: AsyncRuntime>(
        engine: E,
        judge: Arc<dyn Judge>,
        snapshots: &SnapshotStore<E>,
        entries: &LogReader<E, R>,
    ) -> Result<Self, StoreError> {
        let (memory, snapshot) = opened(&engine, judge, snapshots, entries)?;
        Ok(Self {
            engine,
            published: watch::Sender::new(Arc::new(memory.published())),
            memory: Mutex::new(memory),
            settled: Settled::new(snapshot),
            recent: Recent::default(),
        })
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.borrow())
    }

    /// Mark up to which a durable snapshot holds the state.
    pub(crate) fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Applies entries in their order, all in memory, and publishes once.
    ///
    /// # Errors
    /// When an entry needs a newer binary, or the disk failed. No command is answered then and the node must stop.
    pub(crate) fn apply<R: AsyncRuntime>(
        &self,
        entries: impl IntoIterator<Item = Entry<R>>,
    ) -> Result<Vec<Answers>, StoreError> {
        self.failing(|| {
            let (answers, published) = {
                let mut memory = self.memory();
                let answers = entries
                    .into_iter()
                    .map(|entry| self.apply_one(&mut memory, entry))
                    .collect::<Result<_, _>>()?;
                (answers, memory.published())
            };
            // The answers do not wait for the disk. openraft calls one at a time, so batches stay in order.
            self.engine.write(Reached::batch(&published))?;
            self.published.send_replace(Arc::new(published));
            Ok(answers)
        })
    }

    fn apply_one<R: AsyncRuntime>(
        &self,
        memory: &mut Memory,
        entry: Entry<R>,
    ) -> Result<Answers, StoreError> {
        let (index, begun) = (entry.log_id.index, Instant::now());
        let (answers, changes) = memory.apply(entry)?;
        self.recent.note(RecentEntry {
            index,
            changes,
            applied: (begun, Instant::now()),
        });
        Ok(answers)
    }

    /// Replaces the state by a received snapshot; it is durable when this returns.
    ///
    /// # Errors
    /// When the snapshot is damaged or newer than this binary, or the disk failed. After any, the state machine has
    /// failed for good.
    pub(crate) async fn install(
        &self,
        snapshots: &SnapshotStore<E>,
        meta: &SnapshotMeta,
        image: &SnapshotImage,
    ) -> Result<(), StoreError> {
        self.try_install(snapshots, meta, image)
            .await
            .inspect_err(|error| self.fail(error))
    }

    async fn try_install(
        &self,
        snapshots: &SnapshotStore<E>,
        meta: &SnapshotMeta,
        image: &SnapshotImage,
    ) -> Result<(), StoreError> {
        let judge = Arc::clone(self.memory().judge());
        let memory = believe(meta, image, (&judge, "the received snapshot"))?;
        if memory.applied < self.published().applied {
            let what = "a snapshot was to be installed that is behind the applied state";
            return Err(StoreError::stopped(what));
        }
        let stored = snapshots.put(meta, image).await?;
        let mark = match is_planted(Plant::SnapshotWithoutMark) {
            true => Batch::default(),
            false => Reached::batch(&memory.published()),
        };
        snapshots.make_current(stored, mark).await?;
        self.adopt(memory);
        tracing::info!(
            index = meta.last_log_id.map(|id| id.index),
            bytes = image.len(),
            "snapshot installed"
        );
        Ok(())
    }

    fn adopt(&self, memory: Memory) {
        let published = memory.published();
        *self.memory() = memory;
        self.settled.settle(published.applied);
        self.published.send_replace(Arc::new(published));
    }

    fn failing<T>(&self, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        act().inspect_err(|error| self.fail(error))
    }

    /// Fails the state machine, and wakes the log, should it wait for it.
    fn fail(&self, error: &StoreError) {
        self.settled.fail(error);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory
            .lock()
            .expect("no code panics while it holds the state")
    }
}

impl<E: Engine> Remembered for Keeper<E> {
    fn answers(&self, requests: &mut dyn Iterator<Item = RequestId>) -> Vec<Option<Applied>> {
        let memory = self.memory();
        let remembered = memory.machine.requests();
        let answer = |request| Some(remembered.answer(&request)?.applied.clone());
        requests.map(answer).collect()
    }

    fn judge(&self) -> Arc<dyn Judge> {
        Arc::clone(self.memory().judge())
    }

    fn foresee(&self, commands: &mut dyn Iterator<Item = &Stamped>) -> State {
        let (frozen, judge) = {
            let memory = self.memory();
            (memory.machine.freeze(), Arc::clone(memory.judge()))
        };
        frozen.foresee(commands, &*judge)
    }

    fn recent(&self, after: u64) -> Vec<Arc<RecentEntry>> {
        self.recent.since(after)
    }

    fn image(&self) -> MachineImage {
        let memory = self.memory();
        MachineImage {
            applied: memory.applied,
            membership: memory.membership.clone(),
            machine: memory.machine.freeze(),
        }
    }
}
