//! The state in memory, what of it is not yet written, and how far it is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use hessra_state::{Applied, Change, RecordKey, Stamped, State, supported};
use openraft::{AsyncRuntime, EntryPayload};
use tokio::sync::watch;

use super::Published;
use super::records::Packs;
use crate::engine::{Engine, synced};
use crate::snapshot::{Contents, Shelf, SnapshotImage};
use crate::{Answers, Batch, Entry, LogId, Proposal, SnapshotMeta, StoreError, StoredMembership};

/// Changed records that may wait: a pack of them takes about a millisecond.
const CHANGES_MAX: usize = 1024;
/// Applied batches that may wait: what a restart applies again at most.
const APPLIES_MAX: usize = 64;

/// Keeps the state, in memory and on disk.
pub(crate) struct Keeper<E> {
    engine: E,
    memory: Mutex<Memory>,
    published: watch::Sender<Arc<Published>>,
    settled: watch::Sender<Settled>,
}

/// What is durable for sure.
#[derive(Clone, Debug, Default)]
struct Settled {
    applied: Option<LogId>,
    /// Set once the state machine can never go on.
    failed: Option<StoreError>,
}

struct Memory {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// What the disk was not yet told.
    changes: BTreeMap<RecordKey, Change>,
    applies: usize,
    packs: Packs,
    /// What the disk was last told: last applied and membership.
    written: (Option<LogId>, StoredMembership),
    /// A snapshot is taking the place of everything on disk.
    installing: bool,
}

impl<E: Engine> Keeper<E> {
    /// Around a state that is on disk as it is.
    pub(super) fn new(engine: E, published: Published, packs: Packs) -> Self {
        let settled = Settled {
            applied: published.applied,
            failed: None,
        };
        let memory = Memory {
            state: (*published.state).clone(),
            applied: published.applied,
            membership: published.membership.clone(),
            changes: BTreeMap::new(),
            applies: 0,
            packs,
            written: (published.applied, published.membership.clone()),
            installing: false,
        };
        Self {
            engine,
            memory: Mutex::new(memory),
            published: watch::Sender::new(Arc::new(published)),
            settled: watch::Sender::new(settled),
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.borrow())
    }

    /// Up to where entries are applied in memory.
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.memory().applied
    }

    /// Up to where the applied state is durable.
    pub(crate) fn settled(&self) -> Option<LogId> {
        self.settled.borrow().applied
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
            let mut memory = self.memory();
            let answers = entries
                .into_iter()
                .map(|entry| memory.apply(entry))
                .collect::<Result<_, _>>()?;
            memory.collect();
            self.publish(&memory);
            if memory.changes.len() >= CHANGES_MAX || memory.applies >= APPLIES_MAX {
                memory.write_behind(&self.engine)?;
            }
            Ok(answers)
        })
    }

    /// Writes what waits. Not yet durable.
    pub(crate) fn write_behind(&self) -> Result<(), StoreError> {
        self.failing(|| self.memory().write_behind(&self.engine))
    }

    /// Makes the applied state durable.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        self.write_behind()?;
        let applied = self.memory().applied;
        synced(&self.engine)
            .await
            .inspect_err(|error| self.fail(error))?;
        self.settled
            .send_modify(|settled| settled.applied = settled.applied.max(applied));
        Ok(())
    }

    /// Waits until the applied state is durable up to `upto`: for a snapshot that is being installed.
    pub(crate) async fn settled_through(&self, upto: LogId) -> Result<(), StoreError> {
        let reached = |settled: &Settled| settled.failed.is_some() || settled.applied >= Some(upto);
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
        shelf: &Shelf<E>,
        meta: &SnapshotMeta,
        image: &SnapshotImage,
    ) -> Result<(), StoreError> {
        self.try_install(shelf, meta, image)
            .await
            .inspect_err(|error| self.fail(error))
    }

    async fn try_install(
        &self,
        shelf: &Shelf<E>,
        meta: &SnapshotMeta,
        image: &SnapshotImage,
    ) -> Result<(), StoreError> {
        let published = believe(meta, image, "the received snapshot")?;
        let stored = shelf.put(meta, image).await?;
        let batch = self.begin_replacing(&published)?;
        shelf.make_current(stored, batch).await?;
        self.adopt(published);
        tracing::info!(
            index = meta.last_log_id.map(|id| id.index),
            bytes = image.len(),
            "snapshot installed"
        );
        self.forget_packs(meta.last_log_id).await
    }

    /// Deletes the packs that a durable snapshot makes useless, some at a time.
    pub(crate) async fn forget_packs(&self, upto: Option<LogId>) -> Result<(), StoreError> {
        let Some(upto) = upto else { return Ok(()) };
        while self.failing(|| self.memory().forget(&self.engine, upto.index))? {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// From here on nothing else is written. Returns what must become true together with the snapshot.
    fn begin_replacing(&self, published: &Published) -> Result<Batch, StoreError> {
        let mut memory = self.memory();
        if published.applied < memory.applied {
            let what = "a snapshot was to be installed that is behind the applied state";
            return Err(StoreError::stopped(what));
        }
        memory.write_behind(&self.engine)?;
        memory.installing = true;
        let mut batch = Batch::default();
        memory.packs.replaced(published.applied.map(|id| id.index));
        memory
            .packs
            .put_applied(&mut batch, published.applied, &published.membership);
        Ok(batch)
    }

    fn adopt(&self, published: Published) {
        let mut memory = self.memory();
        memory.state = (*published.state).clone();
        memory.applied = published.applied;
        memory.membership = published.membership.clone();
        memory.written = (published.applied, published.membership.clone());
        memory.installing = false;
        self.settled
            .send_modify(|settled| settled.applied = settled.applied.max(published.applied));
        self.published.send_replace(Arc::new(published));
    }

    fn publish(&self, memory: &Memory) {
        let published = Published {
            applied: memory.applied,
            membership: memory.membership.clone(),
            state: Arc::new(memory.state.clone()),
        };
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

/// The state of an image, when all of it is right and it is the one that `meta` names.
pub(super) fn believe(
    meta: &SnapshotMeta,
    image: &SnapshotImage,
    source: &str,
) -> Result<Published, StoreError> {
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
    let state = super::records::rebuild(records, source)?;
    Ok(Published {
        applied: meta.last_log_id,
        membership: meta.last_membership.clone(),
        state: Arc::new(state),
    })
}

impl Memory {
    fn apply<R: AsyncRuntime>(&mut self, entry: Entry<R>) -> Result<Answers, StoreError> {
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
        Ok(self.state.apply(stamped))
    }

    fn collect(&mut self) {
        self.applies += 1;
        let changes = self.state.take_changes();
        self.changes
            .extend(changes.into_iter().map(|change| (change.key(), change)));
    }

    fn write_behind(&mut self, engine: &impl Engine) -> Result<(), StoreError> {
        if self.applies == 0 || self.installing {
            return Ok(());
        }
        let mut batch = Batch::default();
        if let Some(applied) = self.applied.filter(|_| !self.changes.is_empty()) {
            self.packs
                .put(&mut batch, applied.index, self.changes.values());
        }
        self.packs
            .put_applied(&mut batch, self.applied, &self.membership);
        // After an error nothing is written any more, so what is remembered may be ahead of it.
        engine.write(batch)?;
        self.written = (self.applied, self.membership.clone());
        self.changes.clear();
        self.applies = 0;
        Ok(())
    }

    /// True when there may be more.
    fn forget(&mut self, engine: &impl Engine, upto: u64) -> Result<bool, StoreError> {
        let mut batch = Batch::default();
        if self.installing || !self.packs.forget(&mut batch, upto) {
            return Ok(false);
        }
        let (applied, membership) = &self.written;
        self.packs.put_applied(&mut batch, *applied, membership);
        engine.write(batch)?;
        Ok(true)
    }
}
