//! The audit of a node: every decision and every change of the cluster, in a chained file, before the answer.
//!
//! ```text
//! HTTPS, gRPC ─ middleware ─▶ record ─┐                        ┌▶ answer
//! replicated log ─ consensus ─▶ records ─┴▶ queue ─▶ writer: one fdatasync for all that wait
//! ```
//! | module | its story |
//! |---|---|
//! | [`writer`] | the one thread that writes; the queue before it |
//! | [`folder`] | segments on disk: made, recovered, turned over, deleted |
//! | [`read`] | finds records again: search, tail, export |
//! | `sign` | signs checkpoints with the audit key |
//!
//! Records of the replicated log are derived in `hessra-consensus`, which also holds answers to changes back; records of
//! answers at the listeners are made by their middleware. When no record can be written, tokens are neither issued nor refused
//! (503: another node answers) and changes are refused before they are proposed. Reading and denying at verifiers go on.

pub mod folder;
pub mod read;
mod settings;
mod sign;
#[cfg(test)]
mod tests;
pub mod writer;

use std::num::NonZeroU32;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hessra_audit::{Event, Outcome, Record};
use hessra_consensus::audit::{AuditError, AuditLog, NotWritten, Progress, Recovered, Written};
use tokio::sync::watch;

use crate::edge::Clock;
use crate::telemetry::Metrics;

pub use folder::FolderError;
pub use settings::AuditSettings;
pub use sign::ChainSigner;
pub use writer::{HeadSigner, Signer, Ticket};

/// Records a second for which nobody waits: alarms and completions, of which a quiet cluster has none.
const TOLD_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not zero");

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
    told: DefaultDirectRateLimiter,
}

impl Auditor {
    /// Opens the folder, recovers the head of the chain, and starts the thread that writes.
    ///
    /// # Errors
    /// The folder cannot be used, or its newest segment was damaged by something else than a crash.
    pub fn open(
        settings: AuditSettings,
        clock: Clock,
        signer: Signer,
        metrics: Arc<Metrics>,
    ) -> Result<Self, FolderError> {
        let (queue, written) = writer::start(&settings, clock, signer, metrics)?;
        let inner = Inner {
            queue,
            written,
            settings,
            clock,
            told: RateLimiter::direct(Quota::per_second(TOLD_PER_SECOND)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// A record of now.
    #[must_use]
    pub fn record(&self, event: Event, outcome: Outcome) -> Record {
        Record::new(event, outcome, self.inner.clock.wall().0)
    }

    /// Takes a record; the ticket says when it is durable.
    ///
    /// # Errors
    /// The record was not taken.
    pub fn submit(&self, record: Record) -> Result<Ticket, AuditError> {
        self.inner.queue.submit(record)
    }

    /// Returns when the record is durable.
    ///
    /// # Errors
    /// The record is not durable.
    pub async fn write(&self, record: Record) -> Result<(), AuditError> {
        self.submit(record)?.durable().await
    }

    /// Writes what waits and a last checkpoint; nothing is written after it.
    pub async fn close(&self) {
        if let Ok(ticket) = self.inner.queue.close() {
            let _ = ticket.durable().await;
        }
    }

    /// A reader of the segments.
    #[must_use]
    pub fn reader(&self) -> read::Reader {
        read::Reader::new(self.inner.settings.folder.clone(), self.written())
    }
}

impl AuditLog for Auditor {
    fn ready(&self) -> Result<(), AuditError> {
        self.inner.queue.has_room()?;
        let failing = self.inner.written.borrow().failing.clone();
        failing.map_or(Ok(()), Err)
    }

    fn written(&self) -> watch::Receiver<Written> {
        self.inner.written.clone()
    }

    fn recovered(&self) -> &Recovered {
        &self.inner.queue.recovered
    }

    fn append(
        &self,
        records: Vec<Record>,
        progress: Progress,
    ) -> BoxFuture<'static, Result<(), NotWritten>> {
        match self.inner.queue.submit_log(records, progress) {
            Ok(ticket) => ticket.written().boxed(),
            Err(not) => std::future::ready(Err(not)).boxed(),
        }
    }

    fn tell(&self, record: Record) {
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
}
