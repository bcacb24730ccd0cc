//! The audit gate: no change without its record.
//!
//! ```text
//! propose ─ ready? ─▶ committed ─▶ answer
//!                         │
//! replicated log ─ derive ─▶ records ──▶ AuditLog: a chain on a disk that somebody else writes
//!       ▲                                   │
//!       └── purged up to what is durable ◀──┘
//! ```
//! A change is durable when its entry is on a quorum, and so is its record: the record is derived from the entry, and no
//! member purges an entry before its record is on the disk. A start derives what is missing. So no answer waits for the second
//! write; only the caller's address, which stands in no log, is lost with a crash between the two. What cannot be
//! recorded for long is refused before it is proposed.
//! | module | its story |
//! |---|---|
//! | [`derive`](mod@derive) | records of a log entry: the same on every node |
//! | [`follower`] | reads the log behind the state machine, and misses nothing |
//! | [`recovered`] | how far the log is in a chain, read from its records |
//!
//! The node chains and keeps the records. Records of decisions that stand in no log (tokens issued or refused) do not
//! come here.

pub mod derive;
pub(crate) mod follower;
pub mod recovered;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use hessra_audit::{Actor, Event, Head, Outcome, Record};
use hessra_state::RequestId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub use crate::error::AuditError;
pub use recovered::{Progress, Recovered, resumes_at};

/// Applied entries that wait for their records; with more nothing is proposed here. Half of what a member keeps below a snapshot.
const UNRECORDED_MAX: u64 = 5_000;
/// Callers of changes under way and not recorded yet, by request; more are written without certificate and address.
const EXPECTED_MAX: usize = 32_768;

/// Records that are not in the chain, for a second try.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct NotWritten {
    pub error: AuditError,
    pub records: Vec<Record>,
}

/// Durable part of the chain of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The last record.
    pub head: Head,
    /// First log entry whose administrative records are not durable.
    pub next: u64,
    /// First log entry that a process which finds this chain would read again: not above `next`.
    pub resumes: u64,
    /// Members as of `next`: id, and whether it votes.
    pub members: BTreeMap<u64, bool>,
    /// Batches that were synced by this process.
    pub syncs: u64,
    /// Error for which nothing can be written now.
    pub failing: Option<AuditError>,
}

/// The chain of audit records of one node, on a disk.
pub trait AuditLog: Send + Sync + 'static {
    /// Checks that a record can be written now, as far as is known.
    ///
    /// # Errors
    /// [`AuditError`] when none can be.
    fn ready(&self) -> Result<(), AuditError>;

    /// Durable part of the chain, as it changes.
    fn written(&self) -> watch::Receiver<Written>;

    /// Progress of the log in the chain when this process began.
    fn recovered(&self) -> &Recovered;

    /// Adds the records of log entries and the progress that they mean, all or none. Resolves when they are durable.
    fn append(
        &self,
        records: Vec<Record>,
        progress: Progress,
    ) -> BoxFuture<'static, Result<(), NotWritten>>;

    /// Adds a record that nobody waits for: of something that has happened in any case. Rate-limited, so that a flood
    /// cannot fill the disk.
    fn tell(&self, record: Record);
}

/// Keeps answers back until their records are durable, and knows who asked for what. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct AuditGate {
    inner: Arc<Inner>,
}

struct Inner {
    log: Arc<dyn AuditLog>,
    /// Id of the node that the chain belongs to.
    node: u64,
    expected: Mutex<Expected>,
}

/// Callers whose answers have left and whose records are not derived yet: in a moment, or late, when the outcome was unknown.
const ANSWERED_MAX: usize = 16_384;

/// Callers of the changes that are under way at this node, or were until lately.
#[derive(Default)]
struct Expected {
    requests: BTreeMap<RequestId, Actor>,
    /// Requests whose guards were dropped, oldest first.
    answered: VecDeque<RequestId>,
    members: Option<Actor>,
}

impl Expected {
    /// Takes the caller of a request for its records.
    fn take(&mut self, request: &RequestId) -> Option<Actor> {
        let actor = self.requests.remove(request);
        self.forget_recorded();
        actor
    }

    /// Forgets answers whose records are derived, up to the oldest that waits for its own.
    fn forget_recorded(&mut self) {
        let is_recorded = |oldest: &RequestId| !self.requests.contains_key(oldest);
        while self.answered.front().is_some_and(is_recorded) {
            self.answered.pop_front();
        }
    }

    /// Keeps the caller of an answered request until its records are derived, or for a while: its change may never be committed.
    fn answered(&mut self, request: RequestId) {
        if !self.requests.contains_key(&request) {
            return;
        }
        self.answered.push_back(request);
        if self.answered.len() > ANSWERED_MAX
            && let Some(oldest) = self.answered.pop_front()
            && !self.answered.contains(&oldest)
        {
            self.requests.remove(&oldest);
            self.forget_recorded();
        }
    }
}

impl AuditGate {
    pub(crate) fn new(log: Arc<dyn AuditLog>, node: u64) -> Self {
        let inner = Inner {
            log,
            node,
            expected: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Checks that a record can be written now, as far as is known, and that not too many entries wait for theirs. `applied`: log
    /// index of the newest entry that is applied here.
    ///
    /// # Errors
    /// [`AuditError`] when none can be.
    pub fn ready(&self, applied: u64) -> Result<(), AuditError> {
        self.inner.log.ready()?;
        match applied.saturating_sub(self.recorded()) {
            0..=UNRECORDED_MAX => Ok(()),
            _ => Err(AuditError::Full),
        }
    }

    /// First log entry whose records are not durable.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.inner.log.written().borrow().next
    }

    /// First log entry that the next process may have to read: those before it are in the chain, and it says so.
    pub(crate) fn resumes(&self) -> u64 {
        self.inner.log.written().borrow().resumes
    }

    /// Durable part of the chain, as it changes.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<Written> {
        self.inner.log.written()
    }

    /// Returns when the records of all log entries up to `index` are durable.
    ///
    /// # Errors
    /// [`AuditError`] when they are not durable at the deadline.
    pub async fn covers(&self, index: u64, deadline: Instant) -> Result<(), AuditError> {
        let mut written = self.written();
        let reached = written.wait_for(|written| written.next > index);
        match timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(AuditError::Stopped),
            Err(_) => {
                let failing = self.written().borrow().failing.clone();
                Err(failing.unwrap_or(AuditError::Late))
            }
        }
    }

    /// Adds the caller of this node to the records derived from this request, also when the guard is dropped before they are.
    pub fn expect(&self, request: RequestId, actor: Actor) -> Expecting {
        let mut expected = self.expected();
        if expected.requests.len() < EXPECTED_MAX {
            expected.requests.insert(request, actor);
        }
        Expecting {
            gate: self.clone(),
            request: Some(request),
        }
    }

    /// Adds the caller of this node to records of changes of the members, until the guard is dropped.
    pub fn expect_members(&self, actor: Actor) -> Expecting {
        self.expected().members = Some(actor);
        Expecting {
            gate: self.clone(),
            request: None,
        }
    }

    /// Adds a record that nobody waits for. `at`: Unix milliseconds.
    pub fn tell(&self, record: Record) {
        self.inner.log.tell(record);
    }

    /// Records that a verifier or a member holds another history than this node at the same revision.
    pub(crate) fn alarm_fork(&self, whom: String, revision: u64, at: u64) {
        let message = "it holds another history at the same revision: one of the two is wrong";
        self.alarm(Event::FeedForkAlarm, whom, revision, at, message);
    }

    /// Records that a verifier holds a revision that the cluster does not have.
    pub(crate) fn alarm_loss(&self, whom: String, revision: u64, at: u64) {
        let message = "it holds a revision that a quorum of the members does not have: acknowledged changes are lost";
        self.alarm(Event::FeedLossAlarm, whom, revision, at, message);
    }

    fn alarm(&self, event: Event, whom: String, revision: u64, at: u64, message: &str) {
        let mut record = Record::new(event, Outcome::Failure, at);
        record.actor.auth = "node".to_owned();
        record.action = "compare".to_owned();
        record.target.r#type = "replica".to_owned();
        record.target.id = whom;
        record.revision = revision;
        record.message = message.to_owned();
        self.tell(record);
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.inner
            .expected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of [`AuditGate::expect`].
#[must_use]
pub struct Expecting {
    gate: AuditGate,
    request: Option<RequestId>,
}

impl Drop for Expecting {
    fn drop(&mut self) {
        let mut expected = self.gate.expected();
        match &self.request {
            Some(request) => expected.answered(*request),
            None => expected.members = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> RequestId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&(number as u64).to_be_bytes());
        RequestId(id)
    }

    fn asked(expected: &mut Expected, number: usize) {
        expected.requests.insert(id(number), Actor::default());
    }

    #[test]
    fn the_caller_of_an_answered_change_is_kept_until_its_record_is_derived() {
        let mut expected = Expected::default();
        for number in 0..3 {
            asked(&mut expected, number);
            expected.answered(id(number));
        }
        assert!(expected.take(&id(1)).is_some());
        assert!(expected.take(&id(0)).is_some());
        assert_eq!(expected.answered, [id(2)], "what is recorded costs nothing");
        assert!(expected.take(&id(0)).is_none(), "a retry has no record");
        asked(&mut expected, 4);
        assert!(expected.take(&id(4)).is_some());
        expected.answered(id(4));
        assert_eq!(
            expected.answered,
            [id(2)],
            "recorded before it was answered"
        );
    }

    #[test]
    fn changes_that_are_never_committed_cost_no_more_than_the_limit() {
        let mut expected = Expected::default();
        asked(&mut expected, 0);
        expected.answered(id(0));
        for number in 1..=ANSWERED_MAX {
            asked(&mut expected, number);
            expected.answered(id(number));
            assert!(expected.take(&id(number)).is_some());
        }
        assert!(expected.answered.is_empty() && expected.requests.is_empty());
    }
}
