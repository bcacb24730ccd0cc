//! Flusher: the one thread that flushes, once for all waiters.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::database::Database;
use super::directory::Directory;
use super::first_error::FirstError;
use super::high_water::HighWater;
use super::waiting::{Next, Waiting};
use crate::StoreError;
use crate::engine::Done;

/// Handle on the thread; dropping it ends the thread after a last flush of what waits.
pub(super) struct Flusher {
    waiting: Waiting,
    failure: FirstError,
    thread: Option<JoinHandle<()>>,
}

struct Worker {
    waiting: Waiting,
    database: Database,
    failure: FirstError,
    high_water: HighWater,
    file: File,
    blobs: PathBuf,
    /// Taken for as long as this thread may write, also when it was given up.
    _directory: Arc<Directory>,
}

impl Flusher {
    pub(super) fn start(
        directory: Arc<Directory>,
        database: Database,
        failure: FirstError,
        high_water: HighWater,
        flush_max: Duration,
    ) -> Result<Self, StoreError> {
        let path = directory.data_path();
        // fdatasync is about the file, not about the handle that wrote to it.
        let file = File::open(&path)
            .map_err(|error| StoreError::io("open", path.display().to_string(), error))?;
        let waiting = Waiting::default();
        let worker = Worker {
            waiting: waiting.clone(),
            database,
            failure: failure.clone(),
            high_water,
            file,
            blobs: directory.sled_path().join("blobs"),
            _directory: directory,
        };
        let thread = waiting.watch(failure.clone(), flush_max).and_then(|()| {
            let thread = thread::Builder::new().name("hessra-flush".to_owned());
            thread.spawn(move || worker.run())
        });
        let thread = thread.map_err(|error| {
            StoreError::io(
                "start the flushing threads for",
                path.display().to_string(),
                error,
            )
        })?;
        Ok(Self {
            waiting,
            failure,
            thread: Some(thread),
        })
    }

    /// Lets `done` run after the next flush.
    pub(super) fn queue(&self, done: Done) {
        self.waiting.queue(done, &self.failure);
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.waiting.close();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The last handle on the engine may be dropped by a `done`, on that very thread.
        let is_this = thread.thread().id() == thread::current().id();
        // A thread that was given up ends with the process.
        if !is_this && self.waiting.ended() && thread.join().is_err() {
            tracing::error!("the flushing thread panicked");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.waiting.end();
    }
}

impl Worker {
    fn run(mut self) {
        loop {
            // Any failure is met again, and told, by the next flush.
            let _ = self.waiting.watched(|| self.high_water.sync_if_due());
            let due = self.high_water.due_in();
            match self
                .waiting
                .next(due.map(|due| due.max(Duration::from_millis(1))))
            {
                Next::Flush => {
                    let outcome = self.flush();
                    let served = self.waiting.served();
                    served.into_iter().for_each(|done| done(outcome.clone()));
                }
                Next::Nothing => {}
                Next::End => break,
            }
        }
        if let Err(error) = self.waiting.watched(|| self.high_water.sync()) {
            tracing::warn!(%error, "high-water mark could not be synced at the end");
        }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let seal = self.high_water.next();
        self.failure.guard(|| self.database.flush(seal))?;
        let synced = self.file.sync_data().and_then(|()| self.sync_blobs());
        synced.map_err(|error| {
            self.failure
                .remember(StoreError::io("sync", &*self.failure.file, error))
        })?;
        self.high_water
            .write(seal.sequence)
            .map_err(|error| self.failure.remember(error))
    }

    /// Fsyncs blobs. There are none, see [`super::pieces`]. Should there be some, they are part of what is
    /// acknowledged.
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
