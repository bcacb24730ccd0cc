//! Reads the replicated log behind the state machine into the chain, and misses nothing.
//!
//! The chain itself says how far the log is in it. So after a crash the reading goes on at the entry that was not wholly
//! recorded, whatever the state machine had written; and an entry is recorded once. When entries are gone, because a
//! snapshot took their place or because the disk was full for long, a record says which: other nodes have them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use hessra_audit::checkpoint::field;
use hessra_audit::{Actor, Event, Outcome, Position, Record};
use hessra_sled::{Engine, Entry, LogReader, Proposal, Published, Remembered, StoreError};
use hessra_state::{RequestId, State};
use openraft::EntryPayload;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, warn};

use super::recovered::Progress;
use super::{AuditError, AuditGate, derive};
use crate::world::World;

/// Entries read at a time, at most; reading ends earlier at 1 MiB.
const ENTRIES_MAX: u64 = 1_024;
/// Requests whose repetition is recognized.
const SEEN_MAX: usize = 100_000;
/// Time for which records of the log are gathered before they are written: under one client an `fdatasync` of each member in
/// ten instead of one for each write. Readers of the audit wait for it.
const GATHERED_FOR: Duration = Duration::from_millis(20);
/// Pause between two tries when nothing can be written.
const PAUSE: Duration = Duration::from_millis(500);

/// Reads the log into the chain of this node.
pub(crate) struct LogFollower<W> {
    gate: AuditGate,
    world: W,
    remembered: Arc<dyn Remembered>,
    progress: Progress,
    /// Records that the chain has of the entry `progress.next`.
    partial: BTreeSet<String>,
    seen: BTreeSet<RequestId>,
    order: VecDeque<RequestId>,
}

impl<W: World> LogFollower<W> {
    /// Goes on where the chain ends.
    pub(crate) fn new(gate: AuditGate, world: W, remembered: Arc<dyn Remembered>) -> Self {
        let recovered = gate.inner.log.recovered();
        let progress = recovered.progress.clone();
        let mut by_index: Vec<(u64, RequestId)> = recovered
            .requests
            .iter()
            .filter(|(_, index)| **index < progress.next)
            .filter_map(|(request, index)| Some((*index, request_id(request)?)))
            .collect();
        by_index.sort();
        let order: VecDeque<RequestId> = by_index.into_iter().map(|(_, id)| id).collect();
        Self {
            progress,
            partial: recovered.partial.clone(),
            seen: order.iter().copied().collect(),
            order,
            gate,
            world,
            remembered,
        }
    }

    /// Follows what is applied, for as long as there is a state machine.
    pub(crate) async fn run<E: Engine>(
        mut self,
        log: LogReader<E, W::Runtime>,
        mut published: watch::Receiver<Arc<Published>>,
    ) {
        loop {
            let now = Arc::clone(&published.borrow_and_update());
            if let Err(reason) = self.catch_up(&log, &now).await {
                error!(%reason, "audit: the log was not read");
            }
            if published.changed().await.is_err() {
                return;
            }
            // No answer waits for these records: what is applied meanwhile shares one write with them.
            sleep(GATHERED_FOR).await;
        }
    }

    /// Records everything up to what is applied.
    async fn catch_up<E: Engine>(
        &mut self,
        log: &LogReader<E, W::Runtime>,
        published: &Published,
    ) -> Result<(), StoreError> {
        let Some(applied) = published.applied.map(|id| id.index) else {
            return Ok(());
        };
        while self.progress.next <= applied {
            let from = self.progress.next;
            let end = (applied + 1).min(from + ENTRIES_MAX);
            let entries = log.kept(from, end)?;
            match entries.first().map(|entry| entry.log_id.index) {
                Some(first) if first == from => self.take(entries, &published.state).await,
                Some(first) => self.skip(first, published).await,
                None => self.skip(end, published).await,
            }
        }
        Ok(())
    }

    async fn take(&mut self, entries: Vec<Entry<W::Runtime>>, state: &State) {
        let mut records = Vec::new();
        let mut progress = self.progress.clone();
        for entry in entries {
            records.extend(self.derived(&entry, state, &mut progress));
            progress.next = entry.log_id.index + 1;
        }
        self.write(records, progress).await;
    }

    /// Records of one entry that the chain does not have.
    fn derived(
        &mut self,
        entry: &Entry<W::Runtime>,
        state: &State,
        progress: &mut Progress,
    ) -> Vec<Record> {
        let position = Position {
            term: entry.log_id.leader_id.term,
            index: entry.log_id.index,
        };
        let mut records = match &entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Normal(Proposal(commands)) => {
                let mut records = Vec::with_capacity(commands.len());
                let mut requests = commands.iter().map(|stamped| stamped.request);
                let answers = self.remembered.answers(&mut requests);
                for (place, (stamped, answer)) in commands.iter().zip(&answers).enumerate() {
                    if self.is_repeated(&stamped.request) {
                        continue;
                    }
                    let answer = answer.as_ref();
                    let mut derived = derive::command(stamped, answer, state, position, place);
                    self.name(&stamped.request, &mut derived);
                    records.extend(derived);
                }
                records
            }
            EntryPayload::Membership(membership) => {
                let after = derive::membership(membership);
                let by = self.who_changes_members();
                let at = self.world.wall().0;
                let before = std::mem::replace(&mut progress.members, after);
                derive::members(&before, &progress.members, position, at, &by)
            }
        };
        if !self.partial.is_empty() {
            let partial = std::mem::take(&mut self.partial);
            records.retain(|record| !partial.contains(&record.id));
        }
        records
    }

    fn is_repeated(&mut self, request: &RequestId) -> bool {
        if !self.seen.insert(*request) {
            return true;
        }
        self.order.push_back(*request);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        false
    }

    /// Adds what only the node knows that was asked.
    fn name(&self, request: &RequestId, records: &mut [Record]) {
        let Some(actor) = self.gate.expected().take(request) else {
            return;
        };
        for record in records {
            record.actor.auth.clone_from(&actor.auth);
            record.actor.cert_fp.clone_from(&actor.cert_fp);
            record.actor.ip.clone_from(&actor.ip);
        }
    }

    fn who_changes_members(&self) -> Actor {
        let expected = self.gate.expected().members.clone();
        expected.unwrap_or_else(|| Actor {
            auth: "log".to_owned(),
            ..Actor::default()
        })
    }

    /// The entries before `next` are gone.
    async fn skip(&mut self, next: u64, published: &Published) {
        let from = self.progress.next;
        warn!(
            from,
            next, "audit: entries of the log are not here any more"
        );
        let at = self.world.wall().0;
        let mut record = Record::new(Event::SnapshotRestored, Outcome::Success, at)
            .with("from", from)
            .with(field::NEXT_INDEX, next);
        // Of its own, so that it is the same when writing it is tried again.
        record.id = format!("n{}-from-{from}", self.gate.inner.node);
        record.actor.auth = "node".to_owned();
        record.action = "restore".to_owned();
        record.target.r#type = "state".to_owned();
        record.revision = published.state.view().revision.0;
        record.message = "a snapshot took the place of these log entries: records of changes among them are in the \
                          audit of other nodes"
            .to_owned();
        let members = published.membership.membership();
        let progress = Progress {
            next,
            members: derive::membership(members),
        };
        self.partial.clear();
        self.write(vec![record], progress).await;
    }

    /// Writes them, again and again until they are durable. Gives up when the node stops.
    async fn write(&mut self, mut records: Vec<Record>, progress: Progress) {
        loop {
            match self.gate.inner.log.append(records, progress.clone()).await {
                Ok(()) => {
                    self.progress = progress;
                    return;
                }
                Err(not) if not.error == AuditError::Stopped => {
                    // Nothing is ever written again: what is left is read anew by the next process.
                    return std::future::pending().await;
                }
                Err(not) => records = not.records,
            }
            sleep(PAUSE).await;
        }
    }
}

/// A request id as records write it.
fn request_id(text: &str) -> Option<RequestId> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok().map(RequestId)
}
