//! Settled mark: the entry up to which a durable snapshot holds the state, so that no log is needed there.
//!
//! The state machine moves it, and the log, which purges only below it, reads it and waits for it. It lies between the two
//! because the state machine is opened from the log: with it here, the arrow between them points one way.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{LogId, StoreError};

/// Shared mark that only goes forward, until the state machine fails. Clones share it.
#[derive(Clone)]
pub(crate) struct Settled(Arc<watch::Sender<Progress>>);

#[derive(Clone, Debug, Default)]
struct Progress {
    /// Entry up to which a durable snapshot goes.
    snapshot: Option<LogId>,
    /// Failure of the state machine, which can never go on.
    failed: Option<StoreError>,
}

impl Settled {
    /// Mark at the durable snapshot with which the store was opened.
    pub(crate) fn new(snapshot: Option<LogId>) -> Self {
        let progress = Progress {
            snapshot,
            failed: None,
        };
        Self(Arc::new(watch::Sender::new(progress)))
    }

    /// Entry up to which a durable snapshot goes; none before the first.
    pub(crate) fn upto(&self) -> Option<LogId> {
        self.0.borrow().snapshot
    }

    /// Moves the mark: a durable snapshot goes up to `upto`.
    pub(crate) fn settle(&self, upto: Option<LogId>) {
        self.0
            .send_modify(|progress| progress.snapshot = progress.snapshot.max(upto));
    }

    /// Fails the mark: waiters get the error.
    pub(crate) fn fail(&self, error: &StoreError) {
        self.0
            .send_modify(|progress| progress.failed = Some(error.clone()));
    }

    /// Waits until a durable snapshot goes up to `upto`: for one that is being installed.
    ///
    /// # Errors
    /// The failure of the state machine, which can never get there then.
    pub(crate) async fn through(&self, upto: LogId) -> Result<(), StoreError> {
        let reached =
            |progress: &Progress| progress.failed.is_some() || progress.snapshot >= Some(upto);
        let mut progress = self.0.subscribe();
        let progress = progress.wait_for(reached).await;
        let progress = progress.expect("the sender is borrowed here, so it is not dropped");
        progress.failed.clone().map_or(Ok(()), Err)
    }
}
