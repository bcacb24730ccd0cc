//! State machine of openraft: applies in memory, publishes, and keeps snapshots.
//!
//! ```text
//! apply (what is on this disk) ──▶ Machine in memory ──▶ its state published to readers (a clone, once per applied batch)
//!              └─ the mark `applied`: how far, and what the history is then
//! ```
//!
//! The log is the durability. On disk the state is the current snapshot and the log above it; at opening the entries up
//! to the mark are applied again (`opening`). An entry is applied here after it was appended here, and the engine keeps
//! a prefix of what was written: so the log has every entry that the mark speaks of. Checksum, chain and mark are
//! against accidents, not against somebody who writes to the disk.
//!
//! No record that is still needed is ever deleted: the log is purged up to a durable snapshot only. An installed
//! snapshot becomes current in one batch with the mark.

mod keeper;
mod mark;
mod memory;
mod opening;
mod readers;
mod recent;

use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{
    AsyncRuntime, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, Snapshot,
    StorageError, TokioRuntime,
};
use tokio::sync::watch;

use crate::engine::Engine;
use crate::image::SnapshotImage;
use crate::log::Durability;
use crate::plant::{Plant, is_planted};
use crate::snapshot::{self, SnapshotStore};
use crate::{Answers, Entry, LogId, SnapshotMeta, StoreError, StoredMembership, Types};

pub(crate) use keeper::Keeper;
pub use readers::{MachineImage, Published, Remembered};
pub use recent::{RecentEntry, TracedChange};

/// State machine of openraft.
pub struct StateMachine<E: Engine, R: AsyncRuntime = TokioRuntime> {
    keeper: Arc<Keeper<E>>,
    snapshots: Arc<SnapshotStore<E>>,
    durability: Durability,
    runtime: std::marker::PhantomData<fn() -> R>,
}

/// Builder of one snapshot, of the state as it was when the builder was asked for.
pub struct SnapshotBuilder<E: Engine, R: AsyncRuntime = TokioRuntime> {
    frozen: MachineImage,
    snapshots: Arc<SnapshotStore<E>>,
    keeper: Arc<Keeper<E>>,
    runtime: std::marker::PhantomData<fn() -> R>,
}

impl<E: Engine, R: AsyncRuntime> StateMachine<E, R> {
    pub(crate) fn new(
        keeper: Arc<Keeper<E>>,
        snapshots: Arc<SnapshotStore<E>>,
        durability: Durability,
    ) -> Self {
        Self {
            keeper,
            snapshots,
            durability,
            runtime: std::marker::PhantomData,
        }
    }

    /// Watches the state after every applied batch; the newest at once.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.keeper.watch()
    }

    /// Handle on the unpublished part, also once openraft owns the state machine.
    #[must_use]
    pub fn remembered(&self) -> Arc<dyn Remembered> {
        Arc::clone(&self.keeper) as Arc<dyn Remembered>
    }
}

impl<E: Engine, R: AsyncRuntime> StateMachine<E, R> {
    /// Waits until the entries up to `index` are on this disk: a leader counts itself for a commit before they are.
    async fn on_disk(&self, index: u64) -> Result<(), StoreError> {
        if is_planted(Plant::CommitBeforeOwnFsync) {
            return Ok(());
        }
        self.durability.through(index).await
    }
}

impl<E: Engine, R: AsyncRuntime> RaftStateMachine<Types<R>> for StateMachine<E, R> {
    type SnapshotBuilder = SnapshotBuilder<E, R>;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembership), StorageError<u64>> {
        let published = self.keeper.published();
        Ok((published.applied, published.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<R>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry<R>> = entries.into_iter().collect();
        let last = entries.last().map_or(0, |entry| entry.log_id.index);
        let applied = match self.on_disk(last).await {
            Ok(()) => self.keeper.apply(entries),
            Err(error) => Err(error),
        };
        applied.map_err(|error| error.raft(ErrorSubject::StateMachine, ErrorVerb::Write))
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        SnapshotBuilder {
            frozen: self.keeper.image(),
            snapshots: Arc::clone(&self.snapshots),
            keeper: Arc::clone(&self.keeper),
            runtime: std::marker::PhantomData,
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotImage>, StorageError<u64>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotImage>,
    ) -> Result<(), StorageError<u64>> {
        let installed = self.keeper.install(&self.snapshots, meta, &snapshot).await;
        installed.map_err(|error| {
            error.raft(
                ErrorSubject::Snapshot(Some(meta.signature())),
                ErrorVerb::Write,
            )
        })
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<Types<R>>>, StorageError<u64>> {
        // Not `Snapshot(None)` with `Read`: openraft says that pair itself when the stream to a member is closed, which is
        // no failure of a disk and must not be taken for one, nor the other way round.
        let loaded = self
            .snapshots
            .load()
            .map_err(|error| error.raft(ErrorSubject::Store, ErrorVerb::Read))?;
        Ok(loaded.map(|(stored, image)| Snapshot {
            meta: stored.meta,
            snapshot: Box::new(image),
        }))
    }
}

impl<E: Engine, R: AsyncRuntime> SnapshotBuilder<E, R> {
    async fn build(&self) -> Result<(SnapshotMeta, SnapshotImage), StoreError> {
        let meta = meta_of(&self.frozen);
        let image = snapshot::build(&meta, &self.frozen.machine).await;
        let stored = self.snapshots.put(&meta, &image).await?;
        // It is not beyond the mark, which was written with the batch that made this state.
        self.snapshots
            .make_current(stored, crate::Batch::default())
            .await?;
        self.keeper.settled().settle(meta.last_log_id);
        Ok((meta, image))
    }
}

/// Metadata of a snapshot. Equal states have equal snapshot ids: which node built it does not matter.
fn meta_of(frozen: &MachineImage) -> SnapshotMeta {
    let snapshot_id = frozen.applied.map_or_else(
        || "empty".to_owned(),
        |id| format!("{}-{}", id.leader_id.term, id.index),
    );
    SnapshotMeta {
        last_log_id: frozen.applied,
        last_membership: frozen.membership.clone(),
        snapshot_id,
    }
}

impl<E: Engine, R: AsyncRuntime> RaftSnapshotBuilder<Types<R>> for SnapshotBuilder<E, R> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types<R>>, StorageError<u64>> {
        let built = self.build().await;
        let (meta, image) =
            built.map_err(|error| error.raft(ErrorSubject::Snapshot(None), ErrorVerb::Write))?;
        tracing::info!(
            index = meta.last_log_id.map(|id| id.index),
            bytes = image.len(),
            "snapshot built"
        );
        Ok(Snapshot {
            meta,
            snapshot: Box::new(image),
        })
    }
}
