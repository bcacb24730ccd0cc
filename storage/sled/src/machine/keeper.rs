//! The state in memory, and up to where a durable snapshot holds it.

use std::sync::{Arc, Mutex, MutexGuard};

use hessra_state::{Applied, Machine, RequestId, Stamped, supported};
use openraft::{AsyncRuntime, EntryPayload};
use tokio::sync::watch;

use super::opening::{Reached, rebuild};
use super::{MachineImage, Published, Remembered};
use crate::engine::Engine;
use crate::snapshot::{Contents, SnapshotImage, SnapshotStore};
use crate::{Answers, Batch, Entry, LogId, Proposal, SnapshotMeta, StoreError, StoredMembership};

/// Keeps the state machine in memory, and on disk what it is made of.
pub(crate) struct Keeper<E> {
    engine: E,
    memory: Mutex<Memory>,
    published: watch::Sender<Arc<Published>>,
    settled: watch::Sender<Settled>,
}

/// What needs no log any more.
#[derive(Clone, Debug, Default)]
struct Settled {
    /// A durable snapshot goes up to here.
    snapshot: Option<LogId>,
    /// Set once the state machine can never go on.
    failed: Option<StoreError>,
}

/// The state machine, and up to where it is applied.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) machine: Machine,
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
}

impl<E: Engine> Keeper<E> {
    /// Around a state machine, and the durable snapshot below it.
    pub(super) fn new(engine: E, memory: Memory, snapshot: Option<LogId>) -> Self {
        let settled = Settled {
            snapshot,
            failed: None,
        };
        Self {
            engine,
            published: watch::Sender::new(Arc::new(memory.published())),
            memory: Mutex::new(memory),
            settled: watch::Sender::new(settled),
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.borrow())
    }

    /// Up to where a durable snapshot holds the state: what the log need not have any more.
    pub(crate) fn settled(&self) -> Option<LogId> {
        self.settled.borrow().snapshot
    }

    /// Applies entries in their order, all in memory, and publishes once.
    ///
    /// # Errors
    /// When an entry needs a newer binary, or the disk failed. Nothing is answered then and the node must stop.
    pub(crate) fn apply<R: AsyncRuntime>(
        &self,
        entries: impl IntoIterator<Item = Entry<R>>,
    ) -> Result<Vec<Answers>, StoreError> {
        self.failing(|| {
            let (answers, published) = {
                let mut memory = self.memory();
                let answers = entries
                    .into_iter()
                    .map(|entry| memory.apply(entry))
                    .collect::<Result<_, _>>()?;
                (answers, memory.published())
            };
            // Who asks for an answer does not wait for the disk. openraft calls one at a time, so batches stay in order.
            self.engine.write(reached(&published))?;
            self.published.send_replace(Arc::new(published));
            Ok(answers)
        })
    }

    /// A snapshot that was built here is durable up to `upto`.
    pub(crate) fn settle(&self, upto: Option<LogId>) {
        self.settled
            .send_modify(|settled| settled.snapshot = settled.snapshot.max(upto));
    }

    /// Waits until a durable snapshot holds the state up to `upto`: for one that is being installed.
    pub(crate) async fn settled_through(&self, upto: LogId) -> Result<(), StoreError> {
        let reached =
            |settled: &Settled| settled.failed.is_some() || settled.snapshot >= Some(upto);
        let mut settled = self.settled.subscribe();
        let settled = settled.wait_for(reached).await;
        let settled = settled.expect("the keeper, which is borrowed here, holds the sender");
        settled.failed.clone().map_or(Ok(()), Err)
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
        let memory = believe(meta, image, "the received snapshot")?;
        if memory.applied < self.published().applied {
            let what = "a snapshot was to be installed that is behind the applied state";
            return Err(StoreError::stopped(what));
        }
        let stored = snapshots.put(meta, image).await?;
        snapshots
            .make_current(stored, reached(&memory.published()))
            .await?;
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
        self.settle(published.applied);
        self.published.send_replace(Arc::new(published));
    }

    fn failing<T>(&self, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        act().inspect_err(|error| self.fail(error))
    }

    /// Wakes the log, should it wait for the state machine.
    fn fail(&self, error: &StoreError) {
        self.settled
            .send_modify(|settled| settled.failed = Some(error.clone()));
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

    fn image(&self) -> MachineImage {
        let memory = self.memory();
        MachineImage {
            applied: memory.applied,
            membership: memory.membership.clone(),
            machine: memory.machine.freeze(),
        }
    }
}

/// The state machine of an image, when all of it is right and it is the one that `meta` names.
pub(super) fn believe(
    meta: &SnapshotMeta,
    image: &SnapshotImage,
    source: &str,
) -> Result<Memory, StoreError> {
    let Contents {
        meta: found,
        records,
    } = image.open(source)?;
    if (&found.last_log_id, &found.last_membership) != (&meta.last_log_id, &meta.last_membership) {
        return Err(StoreError::corrupt(
            source,
            "snapshot",
            "it goes up to another entry than it was sent for",
        ));
    }
    Ok(Memory {
        machine: rebuild(records, source)?,
        applied: meta.last_log_id,
        membership: meta.last_membership.clone(),
    })
}

/// The mark of how far a state is applied.
fn reached(published: &Published) -> Batch {
    let mut batch = Batch::default();
    if let Some(applied) = published.applied {
        Reached::of(applied, &published.state).put(&mut batch);
    }
    batch
}

impl Memory {
    pub(super) fn published(&self) -> Published {
        Published {
            applied: self.applied,
            membership: self.membership.clone(),
            state: Arc::new(self.machine.state().clone()),
        }
    }

    pub(super) fn apply<R: AsyncRuntime>(
        &mut self,
        entry: Entry<R>,
    ) -> Result<Answers, StoreError> {
        let id = entry.log_id;
        if self
            .applied
            .is_some_and(|applied| id.index <= applied.index)
        {
            return Err(StoreError::stopped(format!(
                "entry {} was to be applied a second time",
                id.index
            )));
        }
        let answers = match entry.payload {
            EntryPayload::Blank => Answers::default(),
            EntryPayload::Normal(Proposal(commands)) => Answers(
                commands
                    .iter()
                    .map(|stamped| self.command(stamped))
                    .collect::<Result<_, _>>()?,
            ),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(id), membership);
                Answers::default()
            }
        };
        self.applied = Some(id);
        Ok(answers)
    }

    fn command(&mut self, stamped: &Stamped) -> Result<Applied, StoreError> {
        supported(stamped).map_err(|error| StoreError::stopped(error.to_string()))?;
        Ok(self.machine.apply(stamped))
    }
}
