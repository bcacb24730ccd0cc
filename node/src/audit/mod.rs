//! Every decision of this node and every change of the cluster, in a chained file, before the answer.
//!
//! ```text
//! HTTPS, gRPC ─ Trail ─▶ record ─┐                        ┌▶ answer
//! replicated log ─ derive ─▶ records ─┴▶ queue ─▶ writer: one fdatasync for all that wait
//! ```
//! | module | its story |
//! |---|---|
//! | [`trail`] | what becomes known of one request on its way |
//! | [`witness`] | the layers around both doors: no answer leaves without its record |
//! | [`derive`](mod@derive) | records of a log entry: the same on every node |
//! | [`follow`] | reads the log behind the state machine, and misses nothing |
//! | [`writer`] | the one thread that writes; the queue before it |
//! | [`folder`] | segments on disk: made, recovered, turned over, deleted |
//! | [`read`] | finds records again: search, tail, export |
//! | `sign` | signs checkpoints with the audit key |
//!
//! What is promised: an answer about a token, and the answer to a change, leaves after its record is durable. When no
//! record can be written, tokens are neither issued nor refused (503: another node answers) and changes are refused
//! before they are proposed. Reading and denying at verifiers go on.

pub mod derive;
pub mod folder;
pub mod follow;
pub mod read;
mod sign;
#[cfg(test)]
mod tests;
pub mod trail;
pub mod witness;
pub mod writer;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hessra_audit::{Actor, Event, Head, Outcome, Record};
use hessra_state::RequestId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::edge::Clock;

pub use folder::FolderError;
pub use sign::ChainSigner;
pub use writer::{CheckpointSigner, Signer, Ticket};

/// Callers of changes under way, by request; more are written without certificate and address.
const EXPECTED_MAX: usize = 8_192;

/// Records a second for which nobody waits: alarms and completions, of which a quiet cluster has none.
const TOLD_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not zero");

/// Where and how much.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Folder of the segments; made when it is not there.
    pub folder: PathBuf,
    /// Whose chain it is.
    pub node: u64,
    /// A segment is turned over at so many bytes.
    pub segment_bytes: u64,
    /// Segments whose last record is older are deleted.
    pub keep_age: Duration,
    /// The oldest segments are deleted while all take more bytes.
    pub keep_bytes: u64,
    /// Nothing is written while less is free on the file system: the replicated log needs the rest.
    pub free_min: u64,
}

/// No record can be written now, and so nothing that needs one is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum AuditError {
    #[error("too many requests wait for their audit record")]
    Full,
    #[error("this node can write no audit record: {0}")]
    Failing(String),
    #[error("the audit record was not written in time")]
    Late,
    #[error("this node is stopping")]
    Stopped,
}

/// The audit of this node. Cheap to clone.
#[derive(Clone)]
pub struct Auditor {
    inner: Arc<Inner>,
}

struct Inner {
    queue: writer::Queue,
    written: watch::Receiver<Written>,
    settings: AuditSettings,
    clock: Clock,
    expected: Mutex<Expected>,
    told: DefaultDirectRateLimiter,
}

/// Who asked for the changes that are under way at this node.
#[derive(Default)]
struct Expected {
    requests: BTreeMap<RequestId, Actor>,
    members: Option<Actor>,
}

/// What is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The last record.
    pub head: Head,
    /// The first log entry whose administrative records are not.
    pub next: u64,
    /// Members as of that entry: id, and whether it votes.
    pub members: BTreeMap<u64, bool>,
    /// Batches that were synced by this process.
    pub syncs: u64,
    /// Why nothing can be written now.
    pub failing: Option<AuditError>,
}

impl Auditor {
    /// Opens the folder, recovers the head of the chain, and starts the thread that writes.
    ///
    /// # Errors
    /// The folder cannot be used, or its newest segment was damaged by something else than a crash.
    pub fn open(settings: AuditSettings, clock: Clock) -> Result<Self, FolderError> {
        let (queue, written) = writer::start(&settings, clock)?;
        let inner = Inner {
            queue,
            written,
            settings,
            clock,
            expected: Mutex::new(Expected::default()),
            told: RateLimiter::direct(Quota::per_second(TOLD_PER_SECOND)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Signs checkpoints from now on. Set once; later calls change nothing.
    pub fn sign_with(&self, signer: Signer) {
        self.inner.queue.sign_with(signer);
    }

    /// A record of now.
    #[must_use]
    pub fn record(&self, event: Event, outcome: Outcome) -> Record {
        Record::new(event, outcome, self.inner.clock.wall().0)
    }

    /// Can a record be written now, as far as is known?
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), AuditError> {
        self.inner.queue.has_room()?;
        self.inner
            .written
            .borrow()
            .failing
            .clone()
            .map_or(Ok(()), Err)
    }

    /// Takes a record; the ticket says when it is durable.
    ///
    /// # Errors
    /// It was not taken.
    pub fn submit(&self, record: Record) -> Result<Ticket, AuditError> {
        self.inner.queue.submit(record)
    }

    /// Returns when the record is durable.
    ///
    /// # Errors
    /// It is not.
    pub async fn write(&self, record: Record) -> Result<(), AuditError> {
        self.submit(record)?.durable().await
    }

    /// A record for which nobody waits: of something that has happened whatever is said of it. Who causes many of them
    /// a second does not fill the disk.
    pub fn tell(&self, record: Record) {
        let event = record.event.clone();
        if self.inner.told.check().is_err() {
            tracing::error!(
                event,
                "audit record left out: too many of its kind a second"
            );
            return;
        }
        if let Err(error) = self.submit(record) {
            tracing::error!(event, %error, "audit record lost");
        }
    }

    /// Returns when the records of all log entries up to `index` are durable.
    ///
    /// # Errors
    /// They are not, at the deadline.
    pub async fn covers(&self, index: u64, deadline: Instant) -> Result<(), AuditError> {
        let mut written = self.inner.written.clone();
        let reached = written.wait_for(|written| written.next > index);
        match timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(AuditError::Stopped),
            Err(_) => {
                let failing = self.inner.written.borrow().failing.clone();
                Err(failing.unwrap_or(AuditError::Late))
            }
        }
    }

    /// Writes what waits and a last checkpoint; nothing is written after it.
    pub async fn close(&self) {
        if let Ok(ticket) = self.inner.queue.close() {
            let _ = ticket.durable().await;
        }
    }

    /// What is durable, as it changes.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<Written> {
        self.inner.written.clone()
    }

    /// Where the segments are.
    #[must_use]
    pub fn reader(&self) -> read::Reader {
        read::Reader::new(self.inner.settings.folder.clone(), self.written())
    }

    /// Until the guard is dropped, records derived from this request say who asked this node.
    pub fn expect(&self, request: RequestId, actor: Actor) -> Expecting {
        let mut expected = self.expected();
        if expected.requests.len() < EXPECTED_MAX {
            expected.requests.insert(request, actor);
        }
        Expecting {
            auditor: self.clone(),
            request: Some(request),
        }
    }

    /// Until the guard is dropped, changes of the members say who asked this node.
    pub fn expect_members(&self, actor: Actor) -> Expecting {
        self.expected().members = Some(actor);
        Expecting {
            auditor: self.clone(),
            request: None,
        }
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.inner
            .expected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Auditor::expect`].
#[must_use]
pub struct Expecting {
    auditor: Auditor,
    request: Option<RequestId>,
}

impl Drop for Expecting {
    fn drop(&mut self) {
        let mut expected = self.auditor.expected();
        match &self.request {
            Some(request) => {
                expected.requests.remove(request);
            }
            None => expected.members = None,
        }
    }
}
