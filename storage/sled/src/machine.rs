//! openraft's state machine: applies in memory, writes behind, publishes.
//!
//! ```text
//! apply ──▶ State in memory ──▶ published to readers (a clone, once per applied batch)
//!              └─ changes, collected ──▶ one engine batch now and then: a pack of changes + `applied`
//! ```
//!
//! The log is the durability, so what is on disk of the state may lie behind by a bounded number of changes and is never
//! synced on its own. On disk the state is the current snapshot and the packs since (`records`), written with the mark
//! `applied` in one batch: last applied, membership, and the number and sum of all packs. At opening every pack is checked
//! against its checksum, all of them against number and sum, and the records that come out against each other
//! ([`State::from_records`]): one that is missing, old or too many is found. Sum and checksum are against accidents, not
//! against somebody who writes to the disk.
//!
//! Before a snapshot becomes current and before a log range is purged, what lies behind is written (and for the purge
//! synced): nothing that is still needed is ever deleted.
//!
//! An installed snapshot becomes current in one batch with `applied`; the packs of the state before it mean nothing from
//! then on, and are deleted some at a time.

mod keeper;
mod records;

use std::sync::Arc;

use hessra_state::State;
use openraft::storage::RaftStateMachine;
use openraft::{
    AsyncRuntime, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, Snapshot,
    StorageError, TokioRuntime,
};
use tokio::sync::watch;

use crate::engine::Engine;
use crate::snapshot::{Shelf, SnapshotImage};
use crate::{Answers, Entry, LogId, SnapshotMeta, StoreError, StoredMembership, Types};

pub(crate) use keeper::Keeper;

/// The state as it is after an applied batch. Readers that want to know what changed compare revisions with
/// [`State::history`].
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The entry up to which it was applied; none before the first.
    pub applied: Option<LogId>,
    /// The last membership among the applied entries.
    pub membership: StoredMembership,
    /// Everything.
    pub state: Arc<State>,
}

/// openraft's state machine.
pub struct StateMachine<E: Engine, R: AsyncRuntime = TokioRuntime> {
    keeper: Arc<Keeper<E>>,
    shelf: Arc<Shelf<E>>,
    runtime: std::marker::PhantomData<fn() -> R>,
}

/// Builds one snapshot of the state as it was when the builder was asked for.
pub struct SnapshotBuilder<E: Engine, R: AsyncRuntime = TokioRuntime> {
    published: Arc<Published>,
    shelf: Arc<Shelf<E>>,
    keeper: Arc<Keeper<E>>,
    runtime: std::marker::PhantomData<fn() -> R>,
}

impl<E: Engine, R: AsyncRuntime> StateMachine<E, R> {
    pub(crate) fn new(keeper: Arc<Keeper<E>>, shelf: Arc<Shelf<E>>) -> Self {
        Self {
            keeper,
            shelf,
            runtime: std::marker::PhantomData,
        }
    }

    /// The state after every applied batch, the newest at once.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.keeper.watch()
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
        self.keeper
            .apply(entries)
            .map_err(|error| error.raft(ErrorSubject::StateMachine, ErrorVerb::Write))
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        SnapshotBuilder {
            published: self.keeper.published(),
            shelf: Arc::clone(&self.shelf),
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
        let installed = self.keeper.install(&self.shelf, meta, &snapshot).await;
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
        let loaded = self
            .shelf
            .load()
            .map_err(|error| error.raft(ErrorSubject::Snapshot(None), ErrorVerb::Read))?;
        Ok(loaded.map(|(stored, image)| Snapshot {
            meta: stored.meta,
            snapshot: Box::new(image),
        }))
    }
}

impl<E: Engine, R: AsyncRuntime> SnapshotBuilder<E, R> {
    async fn build(&self) -> Result<(SnapshotMeta, SnapshotImage), StoreError> {
        let meta = meta_of(&self.published);
        let image = SnapshotImage::build(&meta, &self.published.state).await;
        let stored = self.shelf.put(&meta, &image).await?;
        // openraft must never find a snapshot beyond the applied state: in the order of writing the state comes first.
        self.keeper.write_behind()?;
        self.shelf
            .make_current(stored, crate::Batch::default())
            .await?;
        self.keeper.forget_packs(meta.last_log_id).await?;
        Ok((meta, image))
    }
}

/// Equal states have equal snapshot ids: which node built it does not matter.
fn meta_of(published: &Published) -> SnapshotMeta {
    let snapshot_id = published.applied.map_or_else(
        || "empty".to_owned(),
        |id| format!("{}-{}", id.leader_id.term, id.index),
    );
    SnapshotMeta {
        last_log_id: published.applied,
        last_membership: published.membership.clone(),
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
