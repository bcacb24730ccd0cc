//! The audit of a node: every decision and every change of the cluster, in a chained file, before the answer.
//!
//! ```text
//! HTTPS, gRPC ─ middleware ─▶ issued ──┐                                          ┌▶ answer
//! replicated log ─ consensus ─▶ records ─┴▶ queue ─▶ changes: one fdatasync for all that wait
//!                 middleware ─▶ refused ─ rate ─▶ queue ─▶ refusals: the other chain, with its own thread and quota
//!                                           └ beyond it ─▶ sums ─┘
//! ```
//! Strangers decide how many refusals there are. So these have a chain, a queue and a quota of their own, and beyond a
//! rate they are counted: they can neither displace nor delay the record of a change.
//!
//! | module | its story |
//! |---|---|
//! | `queue` | takes records, and says when they are durable |
//! | `writer` | the one thread of a chain that writes |
//! | [`folder`] | segments on disk: made, recovered, turned over |
//! | `retention` | which segments are deleted |
//! | `sums` | refusals beyond a rate, counted |
//! | [`key`] | the audit key of this node |
//! | [`sign`] | the cluster around a chain: its audit key, the heads that it has witnessed |
//! | [`read`] | finds records again: search, tail, export |
//!
//! Records of the replicated log are derived in `hessra-consensus`, which also holds answers to changes back; records of
//! answers at the listeners are made by their middleware. When no record can be written, tokens are neither issued nor refused
//! (503: another node answers) and changes are refused before they are proposed. Reading and denying at verifiers go on.

pub mod folder;
pub mod key;
mod queue;
pub mod read;
mod retention;
mod settings;
pub mod sign;
mod sums;
#[cfg(test)]
mod tests;
mod writer;

use std::num::NonZeroU32;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hessra_audit::{Chain, ChainId, Event, Outcome, Record};
use hessra_consensus::audit::{AuditError, AuditLog, NotWritten, Progress, Recovered, Written};
use hessra_state::Witness;
use tokio::sync::watch;

use crate::edge::{Clock, random_16};
use crate::telemetry::Metrics;

pub use folder::FolderError;
pub use key::{NodeKey, NodeKeyError};
pub use queue::Ticket;
pub use settings::AuditSettings;
pub use sign::{ClusterSide, StateSide};

use queue::{Around, Queue};
use sums::{Admitted, Sums};

/// Records a second of changes for which nobody waits: completions, which take an operator who waits.
const TOLD_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not zero");
/// Exports of this node that are recorded a second, and at once. More are refused: each has a record among the changes.
const EXPORTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1).expect("not zero");
const EXPORTS_BURST: NonZeroU32 = NonZeroU32::new(32).expect("not zero");

/// The audit of this node. Cheap to clone.
#[derive(Clone)]
pub struct Auditor {
    inner: Arc<Inner>,
}

struct Inner {
    changes: Queue,
    refusals: Queue,
    sums: Arc<Sums>,
    settings: AuditSettings,
    clock: Clock,
    told: DefaultDirectRateLimiter,
    exports: DefaultDirectRateLimiter,
}

/// An export that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Exported {
    pub chain: Chain,
    /// First record.
    pub from: u64,
    /// Last record.
    pub through: u64,
}

impl Auditor {
    /// Opens the folders, recovers the heads of the chains, and starts the threads that write.
    ///
    /// # Errors
    /// A folder cannot be used, or its newest segment was damaged by something else than a crash, or one is missing.
    pub fn open(
        settings: AuditSettings,
        clock: Clock,
        cluster: Arc<dyn ClusterSide>,
        key: NodeKey,
        metrics: Arc<Metrics>,
    ) -> Result<Self, FolderError> {
        let around = Around {
            clock,
            cluster,
            key,
            metrics,
        };
        let sums = Arc::new(Sums::default());
        let start = |chain, sums| {
            let fresh = ChainId(random_16());
            writer::start(settings.of(chain), around.clone(), fresh, sums)
        };
        let burst = Quota::per_second(EXPORTS_PER_SECOND).allow_burst(EXPORTS_BURST);
        let inner = Inner {
            changes: start(Chain::Changes, None)?,
            refusals: start(Chain::Refusals, Some(Arc::clone(&sums)))?,
            sums,
            settings,
            clock,
            told: RateLimiter::direct(Quota::per_second(TOLD_PER_SECOND)),
            exports: RateLimiter::direct(burst),
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

    /// Takes a record; the ticket says when it is durable. A refusal beyond the rate is counted instead.
    ///
    /// # Errors
    /// The record was not taken.
    pub fn submit(&self, record: Record) -> Result<Ticket, AuditError> {
        match record.chain {
            Chain::Changes => self.inner.changes.submit(record),
            Chain::Refusals => self.submit_refusal(record),
        }
    }

    fn submit_refusal(&self, record: Record) -> Result<Ticket, AuditError> {
        let Inner { refusals, sums, .. } = &*self.inner;
        if let Some(error) = refusals.written().borrow().failing.clone() {
            return Err(error);
        }
        if sums.admit(&record, self.inner.clock.monotonic()) == Admitted::Counted {
            return Ok(Ticket::done());
        }
        if refusals.has_room().is_err() {
            sums.count(&record);
            return Ok(Ticket::done());
        }
        refusals.submit(record)
    }

    /// Returns when the record is durable.
    ///
    /// # Errors
    /// The record is not durable.
    pub async fn write(&self, record: Record) -> Result<(), AuditError> {
        self.submit(record)?.durable().await
    }

    /// True when one more export may be begun now.
    #[must_use]
    pub fn may_export(&self) -> bool {
        self.inner.exports.check().is_ok()
    }

    /// Records that somebody holds an export. Returns when the record is durable: the last record up to which the chain is
    /// exported without a gap.
    ///
    /// # Errors
    /// The record is not durable.
    pub async fn exported(&self, record: Record, exported: Exported) -> Result<u64, AuditError> {
        let Exported {
            chain,
            from,
            through,
        } = exported;
        let queue = self.queue(chain);
        queue
            .submit_export(record, from, through)?
            .durable()
            .await?;
        Ok(queue.exported())
    }

    /// The head of a chain, signed for the cluster; `None` when there is none, or nothing can be written.
    #[must_use]
    pub fn statement(&self, chain: Chain) -> Option<Witness> {
        self.queue(chain).statement()
    }

    /// Durable part of a chain, as it changes.
    #[must_use]
    pub fn written_of(&self, chain: Chain) -> watch::Receiver<Written> {
        self.queue(chain).written().clone()
    }

    /// True when records were written and no file of the chain is there.
    #[must_use]
    pub fn is_gone(&self, chain: Chain) -> bool {
        let has_records = self.written_of(chain).borrow().head.seq > 0;
        let found = folder::segments(&self.inner.settings.of(chain).folder);
        has_records && found.map_or(true, |found| found.is_empty())
    }

    /// Writes what waits and last checkpoints; nothing is written after it.
    pub async fn close(&self) {
        for chain in Chain::ALL {
            if let Ok(ticket) = self.queue(chain).close() {
                let _ = ticket.durable().await;
            }
        }
    }

    /// A reader of the segments of a chain.
    #[must_use]
    pub fn reader(&self, chain: Chain) -> read::Reader {
        let folder = self.inner.settings.of(chain).folder;
        read::Reader::new(folder, self.written_of(chain))
    }

    fn queue(&self, chain: Chain) -> &Queue {
        match chain {
            Chain::Changes => &self.inner.changes,
            Chain::Refusals => &self.inner.refusals,
        }
    }
}

impl AuditLog for Auditor {
    fn ready(&self) -> Result<(), AuditError> {
        let changes = &self.inner.changes;
        changes.has_room()?;
        let failing = changes.written().borrow().failing.clone();
        failing.map_or(Ok(()), Err)
    }

    fn written(&self) -> watch::Receiver<Written> {
        self.written_of(Chain::Changes)
    }

    fn recovered(&self) -> &Recovered {
        &self.inner.changes.recovered
    }

    fn append(
        &self,
        records: Vec<Record>,
        progress: Progress,
    ) -> BoxFuture<'static, Result<(), NotWritten>> {
        match self.inner.changes.submit_log(records, progress) {
            Ok(ticket) => ticket.written().boxed(),
            Err(not) => std::future::ready(Err(not)).boxed(),
        }
    }

    fn tell(&self, record: Record) {
        let event = record.event.clone();
        if record.chain == Chain::Changes && self.inner.told.check().is_err() {
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
