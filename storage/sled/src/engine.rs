//! Engine, the seam between the store and a disk: ordered keys in a few spaces, atomic batches, explicit durability.
//!
//! Contract that everything above relies on, and that every engine's tests check:
//! 1. a written batch is visible at once, wholly;
//! 2. after a crash the batches that were written before a [`Engine::sync`] whose `done(Ok)` ran are all there;
//! 3. of the batches after it a *prefix* in the order of writing is there, each wholly or not at all. A single
//!    append-only file such as sled's gives this by nature; an engine that may keep the third of three batches without
//!    the second must not be used here;
//! 4. after the first error every later call fails.

use std::fmt;

use crate::{Space, StoreError};

/// Callback that runs once, when everything written before the call is on disk, or never will be.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send + 'static>;

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Space, key and new value; `None` deletes.
pub type Write = (Space, Vec<u8>, Option<Vec<u8>>);

/// Ordered, transactional storage of bytes. Clones are handles on the same.
pub trait Engine: Clone + Send + Sync + 'static {
    /// Value under a key.
    ///
    /// # Errors
    /// When the engine has failed, now or earlier.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Pairs whose keys are above `after`, or all, in the order of their keys; at most `limit`.
    ///
    /// # Errors
    /// When the engine has failed, now or earlier.
    fn scan(
        &self,
        space: Space,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError>;

    /// Makes a batch visible, atomically. Not yet durable.
    ///
    /// # Errors
    /// When the engine has failed, now or earlier. The batch may then be there or not after a restart.
    fn write(&self, batch: Batch) -> Result<(), StoreError>;

    /// Makes durable what was written before this call, then runs `done`, possibly on another thread. Returns at once.
    fn sync(&self, done: Done);

    /// Number of bytes that all files take.
    ///
    /// # Errors
    /// When they cannot be measured.
    fn size_on_disk(&self) -> Result<u64, StoreError>;

    /// File or directory that a person must look at, for messages.
    fn location(&self) -> String;
}

/// Puts and deletes that happen together or not at all.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Write>,
}

impl Batch {
    /// Sets the value under a key.
    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.changes.push((space, key.into(), Some(value)));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, space: Space, key: impl Into<Vec<u8>>) {
        self.changes.push((space, key.into(), None));
    }

    /// Changes, in the order of writing.
    #[must_use]
    pub fn changes(&self) -> &[Write] {
        &self.changes
    }

    /// Changes, by value.
    #[must_use]
    pub fn into_changes(self) -> Vec<Write> {
        self.changes
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// True when there is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl fmt::Debug for Batch {
    // Values hold sealed keys and names of people: only their place is for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.changes
                    .iter()
                    .map(|(space, key, value)| (space, key, value.is_some())),
            )
            .finish()
    }
}

/// Awaits [`Engine::sync`].
pub(crate) async fn synced<E: Engine>(engine: &E) -> Result<(), StoreError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    engine.sync(Box::new(move |outcome| {
        // The waiting task may have ended; the disk does not care.
        let _ = tell.send(outcome);
    }));
    told.await.unwrap_or_else(|_| {
        Err(StoreError::stopped(
            "the engine was closed before it had synced",
        ))
    })
}
