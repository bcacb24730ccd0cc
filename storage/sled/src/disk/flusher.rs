//! The one thread that flushes: one flush for all that wait.

use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::directory::Directory;
use super::high_water::HighWater;
use super::{DATA_FILE, Database, Failure};
use crate::StoreError;
use crate::engine::Done;

/// Who may wait at once. openraft waits for one append and one vote at a time, snapshots and purges for one each: a full
/// queue means that somebody no longer waits for what he asks for.
const WAITING_MAX: usize = 1024;

/// Handle on the thread; dropping it ends the thread after a last flush of what waits.
pub(super) struct Flusher {
    queue: Option<SyncSender<Done>>,
    thread: Option<JoinHandle<()>>,
}

struct Worker {
    waiting: Receiver<Done>,
    database: Database,
    failure: Failure,
    high_water: HighWater,
    file: File,
    blobs: PathBuf,
}

impl Flusher {
    pub(super) fn start(
        directory: &Directory,
        database: Database,
        failure: Failure,
        high_water: HighWater,
    ) -> Result<Self, StoreError> {
        let path = directory.sled_path().join(DATA_FILE);
        // fdatasync is about the file, not about the handle that wrote to it.
        let file = File::open(&path)
            .map_err(|error| StoreError::io("open", path.display().to_string(), error))?;
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let blobs = directory.sled_path().join("blobs");
        let worker = Worker {
            waiting,
            database,
            failure,
            high_water,
            file,
            blobs,
        };
        let thread = thread::Builder::new()
            .name("hessra-flush".to_owned())
            .spawn(move || worker.run());
        let thread = thread.map_err(|error| {
            StoreError::io(
                "start the flushing thread for",
                path.display().to_string(),
                error,
            )
        })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Lets `done` run after the next flush.
    pub(super) fn queue(&self, done: Done) {
        let outcome = match &self.queue {
            Some(queue) => queue.try_send(done),
            None => Err(TrySendError::Disconnected(done)),
        };
        match outcome {
            Ok(()) => {}
            Err(TrySendError::Full(done)) => {
                done(Err(StoreError::stopped("too many flushes are waited for")))
            }
            Err(TrySendError::Disconnected(done)) => {
                done(Err(StoreError::stopped("the store is closed")))
            }
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue.take();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The last handle on the engine may be dropped by a `done`, on that very thread.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the flushing thread panicked");
        }
    }
}

impl Worker {
    fn run(mut self) {
        while let Some(waiting) = self.wait() {
            if waiting.is_empty() {
                continue;
            }
            let outcome = self.flush();
            waiting.into_iter().for_each(|done| done(outcome.clone()));
        }
        if let Err(error) = self.high_water.sync() {
            tracing::warn!(%error, "high-water mark could not be synced at the end");
        }
    }

    /// Everybody who waits now; empty when it is time for other things; `None` when nobody will come any more.
    fn wait(&mut self) -> Option<Vec<Done>> {
        // Any failure is met again, and told, by the next flush.
        let _ = self.high_water.sync_if_due();
        let first = match self.high_water.due_in() {
            Some(due) => match self.waiting.recv_timeout(due.max(Duration::from_millis(1))) {
                Ok(done) => done,
                Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return None,
            },
            None => self.waiting.recv().ok()?,
        };
        let mut all = vec![first];
        all.extend(self.waiting.try_iter().take(WAITING_MAX));
        Some(all)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let sequence = self.high_water.next();
        self.failure.guard(|| self.database.flush(sequence))?;
        let synced = self.file.sync_data().and_then(|()| self.sync_blobs());
        synced.map_err(|error| {
            self.failure
                .remember(StoreError::io("sync", &*self.failure.file, error))
        })?;
        self.high_water
            .write(sequence)
            .map_err(|error| self.failure.remember(error))
    }

    /// There are none, see [`super::pieces`]. Should there be some, they are part of what is acknowledged.
    fn sync_blobs(&self) -> std::io::Result<()> {
        let mut found = false;
        for blob in std::fs::read_dir(&self.blobs)? {
            File::open(blob?.path())?.sync_all()?;
            found = true;
        }
        if found {
            File::open(&self.blobs)?.sync_all()
        } else {
            Ok(())
        }
    }
}
