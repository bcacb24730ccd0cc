//! The verifiers that follow: which one holds what, connected here or known from other members.
//!
//! A verifier of the policy is enrolled when it connects, and stays so for a while after it is gone: an operator who waits
//! for a revocation to be applied must hear of the one that did not. It leaves the list when it has been failing closed
//! for long enough (`forget_after`). Guests are served and never counted: what they acknowledge is not even looked at.
//!
//! One entry is one process. A verifier says which process it is, so one that moves is not taken for two; of one that
//! does not say it, every stream counts as a process. Two processes with one id hide each other nowhere: the newer
//! stream ends the older one, whose process is remembered for as long as it may permit.
//!
//! An acknowledgement counts for a revision that this node has published, with this node's own root of it. A root that
//! differs is an alarm: one of the two has lost or invented a revocation. A revision that was never published is a lie.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hessra_policy::PolicyView;
use hessra_proto::v1::VerifierStatus;
use hessra_proto::v1::verifier_status::Refused;
use hessra_proto::{Acknowledgement, Greeting, VerifierId};
use hessra_revocation::publisher::ResetReason;
use hessra_revocation::{Monotonic, Revision, UnixMillis, UnixSeconds};
use tokio::sync::watch;

use super::FeedSettings;
use super::claim::{Claim, Standing, standing};
use super::connection::{Connection, Eviction};
use super::frames::Published;
use super::seats::Seat;
use super::unread::Unread;
use crate::measurement::Measurement;
use crate::plant::{Plant, is_planted};
use crate::world::World;

mod enrolled;
mod outlook;

pub use outlook::{Progress, Wanted};

/// Verifiers remembered per node, connected or gone: ten times what one node is built to serve.
const REMEMBERED_MAX: usize = 100_000;
/// Processes of one id that are remembered apart, beside the one that is connected. Of more the two that are gone for
/// longest count as one, with what is worse of each.
const PROCESSES_MAX: usize = 16;
/// Time between two alarms about one verifier: a stream that is opened again and again says nothing new.
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// The verifiers of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Subscribers<W> {
    world: W,
    settings: FeedSettings,
    table: Arc<Mutex<Table>>,
    changed: Arc<watch::Sender<u64>>,
    connections: Arc<AtomicU64>,
}

#[derive(Default)]
struct Table {
    /// Processes of verifiers of the policy, connected or gone.
    enrolled: BTreeMap<(VerifierId, Process), Entry>,
    /// Streams of guests, by number.
    guests: BTreeMap<u64, Arc<Connection>>,
}

impl Table {
    fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        let enrolled = self.enrolled.values();
        enrolled
            .filter_map(|entry| entry.connection.as_ref())
            .chain(self.guests.values())
    }
}

/// Process of a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Process {
    /// It says which one it is.
    Said([u8; 16]),
    /// It does not: every stream is taken for one.
    Stream(u64),
}

impl Process {
    fn of(connection: &Connection) -> Self {
        let said = connection.greeting().process();
        said.map_or(Self::Stream(connection.number()), Self::Said)
    }
}

fn key_of(connection: &Connection) -> (VerifierId, Process) {
    (connection.verifier().clone(), Process::of(connection))
}

/// All processes of one id.
fn of_id(id: &VerifierId) -> RangeInclusive<(VerifierId, Process)> {
    let first = (id.clone(), Process::Said([0; 16]));
    first..=(id.clone(), Process::Stream(u64::MAX))
}

struct Entry {
    connection: Option<Arc<Connection>>,
    /// Instant before which everything was confirmed that it may know, but for what its present stream was given.
    knows_until: Monotonic,
    /// Refusal of its last hello.
    refused: Refused,
    /// Identity that it proved, to which the policy ties its id.
    identity: String,
    client: String,
    applied: Revision,
    /// Last acknowledgement, or else when it connected.
    heard: Monotonic,
    /// Connected or gone since.
    since: UnixMillis,
    since_tick: Monotonic,
    delay: Option<Duration>,
    root_differs: bool,
    /// Last alarm about it.
    alarmed: Option<Monotonic>,
}

/// Outcome of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// Nothing is wrong with it, whether it counts or not.
    Fine,
    /// Another root than this node's. `alarm`: nobody was told lately.
    Differs {
        /// True when an alarm is due.
        alarm: bool,
    },
    /// It is about a revision that this node never published: the verifier lies, or is not one.
    NeverPublished,
}

impl<W: World> Subscribers<W> {
    pub(super) fn new(world: W, settings: &FeedSettings) -> Self {
        Self {
            world,
            settings: settings.clone(),
            table: Arc::default(),
            changed: Arc::default(),
            connections: Arc::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts changes: connections, acknowledgements.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Streams connected here, guests among them.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.table().connections().count()
    }

    /// Guests connected here: they are served and never counted.
    #[must_use]
    pub fn guests(&self) -> usize {
        self.table().guests.len()
    }

    /// Begins a stream. An older stream of the same verifier ends.
    pub(super) fn connect(
        &self,
        greeting: Greeting,
        (claim, standing): (Arc<dyn Claim>, Standing),
        seat: Seat,
    ) -> Arc<Connection> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(number, greeting, (claim, standing), seat));
        let mut table = self.table();
        let older = match standing {
            Standing::Guest => table.guests.insert(number, Arc::clone(&connection)),
            Standing::Enrolled => self.enrol(&mut table, &connection),
        };
        drop(table);
        if let Some(older) = older {
            older.evict(Eviction::Replaced);
        }
        self.note_change();
        connection
    }

    fn enrol(&self, table: &mut Table, connection: &Arc<Connection>) -> Option<Arc<Connection>> {
        let identity = connection.claim().identity().unwrap_or_default();
        let tick = self.world.monotonic();
        let wall = self.world.wall();
        let id = connection.verifier();
        let (mut older, mut alarmed) = (None, None);
        for (_, entry) in table.enrolled.range_mut(of_id(id)) {
            if let Some(stream) = entry.connection.take() {
                entry.end(&stream, (tick, wall));
                older = Some(stream);
            }
            // Under another owner of the id, what the last one held says nothing.
            if entry.identity == identity {
                alarmed = alarmed.max(entry.alarmed);
            }
        }
        let key = key_of(connection);
        let known = table.enrolled.remove(&key);
        let known = known.filter(|known| known.identity == identity);
        let entry = Entry {
            connection: Some(Arc::clone(connection)),
            identity: identity.to_owned(),
            client: connection.client().to_owned(),
            applied: known.as_ref().map_or(Revision(0), |known| known.applied),
            heard: tick,
            // What a process that is known here was given elsewhere is known elsewhere; a new one may come with anything.
            knows_until: known.as_ref().map_or(tick, |known| known.knows_until),
            refused: Refused::No,
            since: wall,
            since_tick: tick,
            delay: None,
            root_differs: false,
            alarmed,
        };
        table.enrolled.insert(key, entry);
        join_oldest(&mut table.enrolled, id);
        older
    }

    /// The hello of a stream was refused. What it knows it has from elsewhere, and it may permit on the strength of it.
    pub(super) fn refuse(&self, connection: &Connection, reason: ResetReason) {
        self.hear(connection, |entry, _| {
            entry.refused = match reason {
                ResetReason::Ahead => Refused::Ahead,
                ResetReason::Fork => Refused::Fork,
                _ => Refused::No,
            }
        });
        self.note_change();
    }

    /// The stream has ended.
    pub(super) fn disconnect(&self, connection: &Connection) {
        connection.evict(Eviction::Slow);
        connection.taken();
        let mut table = self.table();
        table.guests.remove(&connection.number());
        let entry = table.enrolled.get_mut(&key_of(connection));
        if let Some(entry) = entry {
            // A newer stream of the same verifier may have taken its place.
            if is_of(entry, connection) {
                entry.connection = None;
                entry.end(connection, (self.world.monotonic(), self.world.wall()));
            }
            // Also what it was given after it was replaced.
            entry.know(connection);
        }
        drop(table);
        self.note_change();
    }

    /// Takes note of an acknowledgement. `published`: what this node says of its revision.
    pub(super) fn acknowledge(
        &self,
        connection: &Connection,
        ack: &Acknowledgement,
        published: Published,
    ) -> Acknowledged {
        let (root, when) = match published {
            Published::Never if is_planted(Plant::UnpublishedCounted) => {
                (ack.state_root, self.world.monotonic())
            }
            Published::Never => return Acknowledged::NeverPublished,
            _ if !connection.is_enrolled() => return Acknowledged::Fine,
            Published::Forgotten => {
                // It proves that the verifier is there, and not what it holds.
                self.hear(connection, |entry, now| entry.heard = now);
                return Acknowledged::Fine;
            }
            Published::Root(root, when) => (root, when),
        };
        let outcome = self.hear(connection, |entry, now| {
            entry.take(ack, root == ack.state_root, (when, now))
        });
        let Some((delay, outcome)) = outcome else {
            return Acknowledged::Fine;
        };
        if let Some(delay) = delay {
            self.world.measure(Measurement::PropagationTook(delay));
        }
        self.note_change();
        outcome
    }

    /// True when an alarm about this verifier is due: it is one of the policy's, and nobody was told lately.
    pub(super) fn alarm_is_due(&self, connection: &Connection) -> bool {
        self.hear(connection, Entry::alarm_is_due).unwrap_or(false)
    }

    /// Changes the entry of a stream, as of now; `None` = it is not this stream's any more.
    fn hear<T>(
        &self,
        connection: &Connection,
        change: impl FnOnce(&mut Entry, Monotonic) -> T,
    ) -> Option<T> {
        let now = self.world.monotonic();
        let mut table = self.table();
        let entry = table.enrolled.get_mut(&key_of(connection));
        let entry = entry.filter(|entry| is_of(entry, connection))?;
        Some(change(entry, now))
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Asks of every stream whether its caller may still have it, and ends those that may not. `all`: something changed
    /// since; otherwise only what has an end can be over.
    pub(super) fn ask_again(&self, policy: &PolicyView, now: UnixSeconds, all: bool) {
        let connections: Vec<Arc<Connection>> = self.table().connections().cloned().collect();
        let is_over = |connection: &&Arc<Connection>| {
            let ends_at = connection.claim().ends_at();
            all || ends_at.is_some_and(|end| end <= now)
        };
        for connection in connections.iter().filter(is_over) {
            let asked = standing(
                connection.claim(),
                connection.greeting(),
                policy,
                self.settings.admits,
            );
            match asked {
                Ok(standing) if standing == connection.standing() => {}
                Ok(_) => connection.evict(Eviction::OtherStanding),
                Err(failure) => connection.evict(Eviction::Silenced(failure)),
            }
        }
    }

    /// Forgets verifiers that are gone for long or not the policy's any more, evicts those that take nothing, and counts.
    /// Called with every heartbeat.
    pub(super) fn sweep(&self, policy: &PolicyView, unread: &Unread) {
        let now = self.world.monotonic();
        let mut table = self.table();
        for connection in table.connections() {
            if connection.blocked_for(now) > self.settings.slow_after {
                connection.evict(Eviction::Slow);
            }
        }
        self.forget(&mut table.enrolled, policy, now);
        drop_oldest_gone(&mut table.enrolled);
        let connected = table.connections().count();
        let stale = table
            .enrolled
            .values()
            .filter(|entry| now.since(entry.heard) > self.settings.fresh_for)
            .count();
        let guests = table.guests.len();
        drop(table);
        self.world.measure(Measurement::Subscribers(connected));
        self.world.measure(Measurement::Guests(guests));
        self.world.measure(Measurement::UnreadBytes(unread.held()));
        self.world.measure(Measurement::StaleSubscribers(stale));
    }

    /// Forgets who is gone and cannot permit any more: after a while, or at once where the policy does not name it any
    /// more or another process has its id.
    fn forget(
        &self,
        enrolled: &mut BTreeMap<(VerifierId, Process), Entry>,
        policy: &PolicyView,
        now: Monotonic,
    ) {
        let here: BTreeSet<VerifierId> = enrolled
            .iter()
            .filter(|(_, entry)| entry.connection.is_some())
            .map(|((id, _), _)| id.clone())
            .collect();
        let settings = &self.settings;
        enrolled.retain(|(id, _), entry| {
            let may_permit = now.since(entry.knows_until(now)) <= settings.permits_for();
            let is_listed = || {
                now.since(entry.since_tick) <= settings.forget_after
                    && !here.contains(id)
                    && policy.is_verifier(&entry.identity, id.as_str())
            };
            entry.connection.is_some() || may_permit || is_listed()
        });
    }

    /// The verifiers of this node alone, one entry for each process.
    #[must_use]
    pub fn local(&self, node: u64) -> Vec<VerifierStatus> {
        let now = self.world.monotonic();
        let table = self.table();
        table
            .enrolled
            .iter()
            .map(|(key, entry)| self.status(key, entry, node, now))
            .collect()
    }

    fn status(
        &self,
        (id, process): &(VerifierId, Process),
        entry: &Entry,
        node: u64,
        now: Monotonic,
    ) -> VerifierStatus {
        let age = now.since(entry.heard);
        let known_for = now.since(entry.knows_until(now));
        let process = match process {
            Process::Said(process) => process.to_vec(),
            Process::Stream(_) => Vec::new(),
        };
        VerifierStatus {
            id: id.as_str().to_owned(),
            node,
            connected: entry.connection.is_some(),
            applied: entry.applied.0,
            age_ms: millis(age),
            since_ms: entry.since.0,
            fails_closed_in_ms: millis(self.settings.fresh_for.saturating_sub(age)),
            client: entry.client.clone(),
            identity: entry.identity.clone(),
            root_differs: entry.root_differs,
            delay_ms: entry
                .delay
                .map_or(0.0, |delay| delay.as_secs_f64() * 1_000.0),
            may_permit_for_ms: signed_millis(self.settings.permits_for())
                - signed_millis(known_for),
            refused: entry.refused.into(),
            process,
            ..VerifierStatus::default()
        }
    }
}

impl Entry {
    /// Its stream has ended at this instant.
    fn end(&mut self, stream: &Connection, (tick, wall): (Monotonic, UnixMillis)) {
        self.know(stream);
        (self.since_tick, self.since) = (tick, wall);
    }

    /// It may know everything that this stream of it was given.
    fn know(&mut self, stream: &Connection) {
        let given = stream.newest_confirmation().unwrap_or_default();
        self.knows_until = self.knows_until.max(given);
    }

    /// Instant before which everything was confirmed that it may know without what this node has applied by now. A stream that
    /// lags may still be given anything that was confirmed before now; what is confirmed later comes after it.
    fn knows_until(&self, now: Monotonic) -> Monotonic {
        match &self.connection {
            Some(_) if self.refused == Refused::No => now,
            _ => self.knows_until,
        }
    }

    /// Takes an acknowledgement of a revision that was published at `when`, and tells how long it took.
    fn take(
        &mut self,
        ack: &Acknowledgement,
        is_same: bool,
        (when, now): (Monotonic, Monotonic),
    ) -> (Option<Duration>, Acknowledged) {
        // What was published before the verifier came was not on its way to it.
        let was_on_its_way = when >= self.since_tick && ack.revision > self.applied;
        let delay = was_on_its_way.then(|| now.since(when));
        self.delay = delay.or(self.delay);
        (self.applied, self.heard, self.root_differs) = (ack.revision, now, !is_same);
        if is_planted(Plant::AcknowledgedTooMuch) {
            self.applied = Revision(ack.revision.0 + 1);
        }
        match is_same {
            true => (delay, Acknowledged::Fine),
            false => (
                delay,
                Acknowledged::Differs {
                    alarm: self.alarm_is_due(now),
                },
            ),
        }
    }

    fn alarm_is_due(&mut self, now: Monotonic) -> bool {
        let is_due = self
            .alarmed
            .is_none_or(|last| now.since(last) >= ALARM_EVERY);
        if is_due {
            self.alarmed = Some(now);
        }
        is_due
    }
}

fn is_of(entry: &Entry, connection: &Connection) -> bool {
    entry
        .connection
        .as_ref()
        .is_some_and(|current| current.number() == connection.number())
}

/// Drops the verifiers that are gone for longest, beyond what is remembered.
fn drop_oldest_gone(entries: &mut BTreeMap<(VerifierId, Process), Entry>) {
    while entries.len() > REMEMBERED_MAX {
        let gone = entries
            .iter()
            .filter(|(_, entry)| entry.connection.is_none());
        let Some(oldest) = gone
            .min_by_key(|(_, entry)| entry.since_tick)
            .map(|(key, _)| key.clone())
        else {
            return;
        };
        entries.remove(&oldest);
    }
}

/// Makes one of the two processes of an id that are gone for longest, where there are too many.
fn join_oldest(entries: &mut BTreeMap<(VerifierId, Process), Entry>, id: &VerifierId) {
    let mut gone: Vec<(Monotonic, Process)> = entries
        .range(of_id(id))
        .filter(|(_, entry)| entry.connection.is_none())
        .map(|((_, process), entry)| (entry.since_tick, *process))
        .collect();
    if gone.len() <= PROCESSES_MAX {
        return;
    }
    gone.sort_unstable();
    let Some(oldest) = entries.remove(&(id.clone(), gone[0].1)) else {
        return;
    };
    if let Some(next) = entries.get_mut(&(id.clone(), gone[1].1)) {
        next.applied = next.applied.min(oldest.applied);
        next.knows_until = next.knows_until.max(oldest.knows_until);
        next.root_differs |= oldest.root_differs;
        if oldest.refused != Refused::No {
            next.refused = oldest.refused;
        }
    }
}

fn signed_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
