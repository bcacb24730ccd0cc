//! The verifiers that follow: which one holds what, connected here or known from other members.
//!
//! A verifier is enrolled when it connects, and stays so for a while after it is gone: an operator who waits for a
//! revocation to be applied must hear of the one that did not. It leaves the count when it has been failing closed for
//! long enough (`forget_after`).
//!
//! An acknowledgement carries the root of what the verifier holds. A root that differs from this node's own at the
//! same revision is an alarm: one of the two has lost or invented a revocation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hessra_proto::v1::VerifierStatus;
use hessra_proto::{Acknowledgement, VerifierId};
use hessra_revocation::{Hash, Monotonic, Revision, UnixMillis};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::FeedSettings;
use super::connection::Connection;
use crate::measurement::Measurement;
use crate::plant::{Plant, is_planted};
use crate::world::World;

mod enrolled;

pub use enrolled::Progress;

/// Verifiers remembered per node, connected or gone: ten times what one node is built to serve.
const REMEMBERED_MAX: usize = 100_000;

/// The verifiers of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Subscribers<W> {
    world: W,
    fresh_for: Duration,
    slow_after: Duration,
    forget_after: Duration,
    entries: Arc<Mutex<BTreeMap<VerifierId, Entry>>>,
    changed: Arc<watch::Sender<u64>>,
    connections: Arc<AtomicU64>,
}

struct Entry {
    connection: Option<Arc<Connection>>,
    /// Certificate it came with.
    owner: Option<[u8; 32]>,
    client: String,
    applied: Revision,
    /// Last acknowledgement, or else when it connected.
    heard: Monotonic,
    /// Connected or gone since.
    since: UnixMillis,
    since_tick: Monotonic,
    delay: Option<Duration>,
    root_differs: bool,
    /// A tool that only looks: not waited for, and forgotten when it goes.
    observer: bool,
}

/// Error of a verifier id that is in use with another certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the verifier id is in use with another certificate. Give this verifier an id of its own")]
pub struct Taken;

impl<W: World> Subscribers<W> {
    pub(super) fn new(world: W, settings: &FeedSettings) -> Self {
        Self {
            world,
            fresh_for: settings.fresh_for,
            slow_after: settings.slow_after,
            forget_after: settings.forget_after,
            entries: Arc::default(),
            changed: Arc::default(),
            connections: Arc::default(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<VerifierId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts changes: connections, acknowledgements.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Verifiers connected here.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.entries()
            .values()
            .filter(|entry| entry.connection.is_some())
            .count()
    }

    /// Enrols a stream. An older stream of the same verifier ends.
    pub(super) fn connect(
        &self,
        verifier: &VerifierId,
        client: &str,
        owner: Option<[u8; 32]>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Arc<Connection>, Taken> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(number, verifier.clone(), permit));
        let (tick, wall) = (self.world.monotonic(), self.world.wall());
        let mut entries = self.entries();
        let known = entries.get(verifier);
        if known.is_some_and(|known| {
            known.connection.is_some() && known.owner.is_some() && known.owner != owner
        }) {
            return Err(Taken);
        }
        if let Some(older) = known.and_then(|known| known.connection.as_ref()) {
            older.replace();
        }
        let entry = Entry {
            connection: Some(Arc::clone(&connection)),
            owner,
            client: client.to_owned(),
            applied: known.map_or(Revision(0), |known| known.applied),
            heard: tick,
            since: wall,
            since_tick: tick,
            delay: None,
            root_differs: false,
            observer: false,
        };
        entries.insert(verifier.clone(), entry);
        drop(entries);
        self.note_change();
        Ok(connection)
    }

    /// The stream only looks: it does not count as enrolled.
    pub(super) fn only_looks(&self, connection: &Connection) {
        let mut entries = self.entries();
        if let Some(entry) = entries
            .get_mut(connection.verifier())
            .filter(|entry| is_of(entry, connection))
        {
            entry.observer = true;
        }
        drop(entries);
        self.note_change();
    }

    /// The stream has ended.
    pub(super) fn disconnect(&self, connection: &Connection) {
        connection.evict();
        let mut entries = self.entries();
        let entry = entries.get_mut(connection.verifier());
        // A newer stream of the same verifier may have taken its place.
        if let Some(entry) = entry.filter(|entry| is_of(entry, connection)) {
            entry.connection = None;
            entry.since = self.world.wall();
            entry.since_tick = self.world.monotonic();
        }
        if entries
            .get(connection.verifier())
            .is_some_and(|entry| entry.observer && entry.connection.is_none())
        {
            entries.remove(connection.verifier());
        }
        drop(entries);
        self.note_change();
    }

    /// Takes note of an acknowledgement. `published`: this node's root at that revision, and since when it is known.
    /// False = the roots differ.
    pub(super) fn acknowledge(
        &self,
        connection: &Connection,
        ack: &Acknowledgement,
        published: Option<(Hash, Monotonic)>,
    ) -> bool {
        let now = self.world.monotonic();
        let mut entries = self.entries();
        let entry = entries
            .get_mut(connection.verifier())
            .filter(|entry| is_of(entry, connection));
        let Some(entry) = entry else { return true };
        let same = published.is_none_or(|(root, _)| root == ack.state_root);
        let first_alarm = !same && !entry.root_differs;
        // What was published before the verifier came was not on its way to it.
        let published_to_it =
            published.filter(|(_, when)| *when >= entry.since_tick && ack.revision > entry.applied);
        entry.delay = published_to_it
            .map(|(_, when)| now.since(when))
            .or(entry.delay);
        let delay = published_to_it.and(entry.delay);
        (entry.applied, entry.heard, entry.root_differs) = (ack.revision, now, !same);
        if is_planted(Plant::AcknowledgedTooMuch) {
            entry.applied = Revision(ack.revision.0 + 1);
        }
        drop(entries);
        if let Some(delay) = delay {
            self.world.measure(Measurement::PropagationTook(delay));
        }
        if first_alarm {
            self.world.measure(Measurement::FeedForkAlarm);
            tracing::error!(
                verifier = connection.verifier().as_str(),
                revision = ack.revision.0,
                "a verifier acknowledged another state root than this node's: one of the two is wrong"
            );
        }
        self.note_change();
        same
    }

    /// The verifier of this connection was found to hold another state, and has not held ours since.
    pub(super) fn differs(&self, connection: &Connection) -> bool {
        let entries = self.entries();
        entries
            .get(connection.verifier())
            .is_some_and(|entry| is_of(entry, connection) && entry.root_differs)
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Forgets verifiers that are gone for long, evicts those that take nothing, and counts. Called with every heartbeat.
    pub(super) fn sweep(&self) {
        let now = self.world.monotonic();
        let mut entries = self.entries();
        for connection in entries
            .values()
            .filter_map(|entry| entry.connection.as_ref())
        {
            if connection.blocked_for(now) > self.slow_after {
                connection.evict();
            }
        }
        let gone_for_long = |entry: &Entry| {
            entry.connection.is_none() && now.since(entry.since_tick) > self.forget_after
        };
        entries.retain(|_, entry| !gone_for_long(entry));
        drop_oldest_gone(&mut entries);
        let connected = entries
            .values()
            .filter(|entry| entry.connection.is_some())
            .count();
        let stale = entries
            .values()
            .filter(|entry| now.since(entry.heard) > self.fresh_for)
            .count();
        drop(entries);
        self.world.measure(Measurement::Subscribers(connected));
        self.world.measure(Measurement::StaleSubscribers(stale));
    }

    /// The verifiers of this node alone.
    #[must_use]
    pub fn local(&self, node: u64) -> Vec<VerifierStatus> {
        let now = self.world.monotonic();
        let entries = self.entries();
        let enrolled = entries.iter().filter(|(_, entry)| !entry.observer);
        enrolled
            .map(|(id, entry)| self.status(id, entry, node, now))
            .collect()
    }

    fn status(&self, id: &VerifierId, entry: &Entry, node: u64, now: Monotonic) -> VerifierStatus {
        let age = now.since(entry.heard);
        VerifierStatus {
            id: id.as_str().to_owned(),
            node,
            connected: entry.connection.is_some(),
            applied: entry.applied.0,
            age_ms: millis(age),
            since_ms: entry.since.0,
            fails_closed_in_ms: millis(self.fresh_for.saturating_sub(age)),
            client: entry.client.clone(),
            root_differs: entry.root_differs,
            delay_ms: entry
                .delay
                .map_or(0.0, |delay| delay.as_secs_f64() * 1_000.0),
        }
    }
}

fn is_of(entry: &Entry, connection: &Connection) -> bool {
    entry
        .connection
        .as_ref()
        .is_some_and(|current| current.number() == connection.number())
}

fn drop_oldest_gone(entries: &mut BTreeMap<VerifierId, Entry>) {
    while entries.len() > REMEMBERED_MAX {
        let gone = entries
            .iter()
            .filter(|(_, entry)| entry.connection.is_none());
        let Some(oldest) = gone
            .min_by_key(|(_, entry)| entry.since_tick)
            .map(|(id, _)| id.clone())
        else {
            return;
        };
        entries.remove(&oldest);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
