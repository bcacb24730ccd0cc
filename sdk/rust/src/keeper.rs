//! Tasks beside the stream: one writes what is known to disk, one notices that time has passed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use crate::cache::{Snapshot, StateDirectory};
use crate::clock;
use crate::knowledge::Knowledge;

/// Least time between two writes: what is lost in between is fetched again as a few deltas.
const WRITE_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Share of the time that writing may take: a twentieth, however large the view is.
const WRITE_SHARE: u32 = 20;

/// Writes the newest snapshot at a bounded pace, and the last one when the sender is gone.
pub(crate) async fn keep_on_disk(
    directory: Arc<StateDirectory>,
    mut snapshots: watch::Receiver<Option<Snapshot>>,
) {
    let mut next = Instant::now();
    let mut open = snapshots.changed().await.is_ok();
    while open {
        // Newer ones replace those that wait; a sender that goes ends the waiting.
        while let Ok(more) = timeout_at(next, snapshots.changed()).await {
            open = more.is_ok();
            if !open {
                break;
            }
        }
        let newest = snapshots.borrow_and_update().clone();
        let began = Instant::now();
        if let Some(snapshot) = newest {
            write(&directory, snapshot).await;
        }
        next = Instant::now() + WRITE_INTERVAL_MIN.max(began.elapsed() * WRITE_SHARE);
        open = open && snapshots.changed().await.is_ok();
    }
}

async fn write(directory: &Arc<StateDirectory>, snapshot: Snapshot) {
    let revision = snapshot.view.revision;
    let directory = Arc::clone(directory);
    let written = tokio::task::spawn_blocking(move || directory.save(&snapshot)).await;
    match written {
        Ok(Ok(())) => debug!(%revision, "verifier state written"),
        Ok(Err(error)) => {
            warn!(%revision, %error, "verifier state not written: a restart fetches it again")
        }
        Err(error) => {
            warn!(%revision, %error, "verifier state not written: a restart fetches it again")
        }
    }
}

/// Announces that knowledge became stale, which no message does. Ends when it is aborted.
pub(crate) async fn watch_the_time(published: Arc<Knowledge>) {
    let mut status = published.status();
    loop {
        let wait = published.refresh(clock::monotonic());
        status.mark_unchanged();
        match wait {
            // New knowledge moves the end; looking again then is cheaper than being told of each.
            Some(left) => sleep(left).await,
            None => drop(status.changed().await),
        }
    }
}
