//! One subscriber: hello, welcome, then a snapshot or deltas, then live for as long as it lasts.
//!
//! A stream is polled by the transport when the client has room for more, and does nothing in between: a slow client
//! costs no queue. While it waits for something to send it reads acknowledgements. A client that takes nothing for
//! long loses its seat and is told to resume when it comes back; what it leaves unread counts against a budget of the
//! whole node, see `unread`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::unfold;
use futures::{Stream, StreamExt as _};
use hessra_proto::status::{Failure, Reason};
use hessra_proto::{ConvertError, Greeting, VerifierMessage};
use hessra_revocation::follower::Event;
use hessra_revocation::publisher::{DELTA_ENTRIES_MAX, Plan, ResetReason};
use hessra_revocation::{Monotonic, Revision, SignedCheckpoint};
use hessra_state::State;
use openraft::AsyncRuntime as _;
use prost::bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::NotServing;
use super::claim::{Claim, Standing};
use super::connection::{Connection, Eviction};
use super::frames::{Next, Position, delta, encode};
use super::hub::{FeedHub, Opening};
use super::seats::Seat;
use super::subscribers::Acknowledged;
use crate::measurement::{Measurement, SnapshotMode};
use crate::plant::{Plant, is_planted};
use crate::world::World;

/// Bytes of rules in one snapshot chunk, more only where one bucket alone is larger: large enough that framing does
/// not count, small enough that a slow client holds little.
const CHUNK_BYTES: usize = 128 * 1024;
/// Most bytes of one entry with its framing, see [`DELTA_ENTRIES_MAX`].
const ENTRY_BYTES: usize = 57;
/// Bytes of a message beside its rules or entries: checkpoint, keys, frontier.
const SMALL_BYTES: usize = 4 * 1024;
/// A verifier that is told to resume because of this node's state waits so long, plus its own jitter.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The verifier's half of a stream: its messages, as far as they can be read. The end of it is the end of the stream.
pub trait Upstream:
    Stream<Item = Result<VerifierMessage, ConvertError>> + Send + Unpin + 'static
{
}

impl<S: Stream<Item = Result<VerifierMessage, ConvertError>> + Send + Unpin + 'static> Upstream
    for S
{
}

/// Serves one verifier: the node's half of its stream, encoded messages.
///
/// `claim`: what its caller proved. A full node answers with a reset.
///
/// # Errors
/// The caller may not follow at all; nothing of what it says was read.
pub fn follow<W: World>(
    hub: FeedHub<W>,
    upstream: impl Upstream,
    claim: Arc<dyn Claim>,
) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + 'static, Failure> {
    let phase = hub.seat(&claim)?.map_or(Phase::Full, Phase::Hello);
    let subscription = Subscription {
        changes: hub.changes(),
        hub,
        upstream,
        claim,
        connection: None,
        room: None,
        phase,
    };
    Ok(unfold(subscription, |mut subscription| async move {
        let step = subscription.step().await;
        step.map(|item| (item, subscription))
    }))
}

struct Subscription<W: World, S> {
    hub: FeedHub<W>,
    upstream: S,
    changes: watch::Receiver<u64>,
    claim: Arc<dyn Claim>,
    connection: Option<Arc<Connection>>,
    /// Room of the message that is being made.
    room: Option<OwnedSemaphorePermit>,
    phase: Phase,
}

/// The next thing to send.
enum Phase {
    Full,
    Hello(Seat),
    Deltas {
        from: Revision,
        served: Served,
    },
    Snapshot {
        buckets: std::vec::IntoIter<u8>,
        first: bool,
        served: Served,
    },
    Live(Position),
    Over,
}

/// The state that a subscriber is served from before it is live.
struct Served {
    state: Arc<State>,
    checkpoint: SignedCheckpoint,
    position: Position,
}

impl<W: World, S> Drop for Subscription<W, S> {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            self.hub.subscribers().disconnect(connection);
            tracing::debug!(
                verifier = connection.verifier().as_str(),
                "a verifier's stream ended"
            );
        }
    }
}

type Item = Result<Bytes, Failure>;

impl<W: World, S: Upstream> Subscription<W, S> {
    /// The next message; `None` = the stream is over.
    async fn step(&mut self) -> Option<Item> {
        if let Some(connection) = &self.connection {
            connection.taken();
        }
        let item = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Full => Some(Ok(self.full())),
            Phase::Hello(seat) => self.hello(seat).await,
            Phase::Deltas { from, served } => self.first_delta(from, served).await,
            Phase::Snapshot {
                buckets,
                first,
                served,
            } => self.snapshot(buckets, first, served).await,
            Phase::Live(position) => self.live(position).await,
            Phase::Over => None,
        }?;
        if let Some(connection) = &self.connection {
            connection.given(self.hub.world().monotonic(), self.room.take());
            // The last message of a stream says that it ends, and confirms nothing.
            if !matches!(self.phase, Phase::Over) {
                connection.confirmed(self.hub.newest_confirmation());
            }
        }
        if let Ok(bytes) = &item {
            let bytes = bytes.len();
            self.hub.world().measure(Measurement::FeedBytes(bytes));
        }
        Some(item)
    }

    fn full(&self) -> Bytes {
        self.hub.world().measure(Measurement::FeedTurnedAway);
        self.reset(ResetReason::Overloaded)
    }

    async fn hello(&mut self, seat: Seat) -> Option<Item> {
        let within = self.hub.settings().hello_within;
        let message = match timeout(within, self.upstream.next()).await {
            Ok(message) => message?,
            Err(_) => return Some(Err(refuse(Reason::Deadline, "no hello was said in time"))),
        };
        // INVARIANT: read after the hello arrived, so it is not before the instant at which the verifier sent it.
        let tick = self.hub.world().monotonic();
        Some(match message {
            Ok(VerifierMessage::Hello(greeting)) => self.welcome(greeting, tick, seat),
            Ok(VerifierMessage::Ack(_)) => Err(refuse(
                Reason::InvalidArgument,
                "a stream begins with a hello",
            )),
            Err(error) => Err(refuse(Reason::InvalidArgument, error.to_string())),
        })
    }

    fn welcome(&mut self, greeting: Greeting, tick: Monotonic, mut seat: Seat) -> Item {
        if self.hub.closing().is_cancelled() {
            return Ok(self.reset(ResetReason::Shutdown));
        }
        let standing = self.hub.standing(&self.claim, &greeting)?;
        if standing == Standing::Guest && !seat.among_guests() {
            return Ok(self.full());
        }
        let from = greeting.hello.from;
        let claim = Arc::clone(&self.claim);
        let subscribers = self.hub.subscribers();
        // INVARIANT: it is among the subscribers before it is given anything. A list of them that was made after this
        // node had applied a revision leaves nobody out who may have been given less.
        let connection = subscribers.connect(greeting, (claim, standing), seat);
        self.connection = Some(Arc::clone(&connection));
        let hello = &connection.greeting().hello;
        let opening = self.hub.open(hello, standing, tick).map_err(not_serving)?;
        tracing::debug!(
            verifier = connection.verifier().as_str(),
            from = from.0,
            ?standing,
            plan = plan_name(&opening.plan),
            "a verifier connected"
        );
        Ok(self.begin(opening, from))
    }

    /// Waits for room for a message of so many bytes, as long as the stream may run.
    async fn make_room(&mut self, bytes: usize) -> Result<(), Option<Item>> {
        let connection = Arc::clone(self.connection.as_ref().ok_or(None)?);
        let standing = connection.standing();
        let room = tokio::select! {
            biased;
            room = self.hub.unread().room(standing, bytes) => room,
            () = connection.evicted().cancelled() => {
                return Err(Some(self.evicted(&connection)));
            }
            () = self.hub.closing().cancelled() => {
                return Err(Some(Ok(self.reset(ResetReason::Shutdown))));
            }
        };
        self.room = Some(room);
        Ok(())
    }

    fn begin(&mut self, opening: Opening, from: Revision) -> Bytes {
        let Opening {
            welcome,
            plan,
            state,
            checkpoint,
            position,
        } = opening;
        let served = Served {
            state,
            checkpoint,
            position,
        };
        self.phase = match plan {
            Plan::Refuse(reason) => return self.refuse(reason, from),
            Plan::Deltas if is_planted(Plant::ResumeOffByOne) && from.0 > 0 => Phase::Deltas {
                from: from.next().next(),
                served,
            },
            Plan::Deltas => Phase::Deltas {
                from: from.next(),
                served,
            },
            Plan::Snapshot => self.snapshot_of((0..=u8::MAX).collect(), SnapshotMode::Full, served),
            Plan::Buckets(buckets) => self.snapshot_of(buckets, SnapshotMode::Buckets, served),
        };
        welcome
    }

    fn refuse(&mut self, reason: ResetReason, from: Revision) -> Bytes {
        if reason == ResetReason::Fork
            && let Some(connection) = &self.connection
            && self.hub.subscribers().alarm_is_due(connection)
        {
            self.alarm(connection, from);
        }
        if let Some(connection) = &self.connection {
            self.hub.subscribers().refuse(connection, reason);
        }
        if reason == ResetReason::Ahead
            && let Some(connection) = &self.connection
        {
            self.suspect_loss(Arc::clone(connection), from);
        }
        self.reset(reason)
    }

    /// A verifier that is ahead of this node may have followed a faster one; that it is ahead of a quorum proves a loss.
    fn suspect_loss(&self, connection: Arc<Connection>, from: Revision) {
        let hub = self.hub.clone();
        drop(W::Runtime::spawn(async move {
            if hub.is_ahead_of_quorum(from).await && hub.subscribers().alarm_is_due(&connection) {
                let verifier = connection.verifier().as_str();
                hub.world().measure(Measurement::FeedLossAlarm);
                tracing::error!(
                    verifier,
                    revision = from.0,
                    "a verifier holds a revision that a quorum does not have: acknowledged changes are lost"
                );
                hub.alarm_loss(format!("verifier {verifier}"), from);
            }
        }));
    }

    /// Delta of everything that the verifier missed; a heartbeat when it is up to date.
    async fn first_delta(&mut self, from: Revision, served: Served) -> Option<Item> {
        let Served {
            state,
            checkpoint,
            position,
        } = served;
        let to = state.view().revision;
        let entries = usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(usize::MAX);
        let bytes = entries.min(DELTA_ENTRIES_MAX) * ENTRY_BYTES + SMALL_BYTES;
        if let Err(over) = self.make_room(bytes).await {
            return over;
        }
        self.phase = Phase::Live(position);
        if from > to {
            // An up-to-date verifier learns at once that it is.
            return Some(Ok(encode(Event::Heartbeat(checkpoint))));
        }
        Some(Ok(match delta(&state, from, checkpoint, &[]) {
            Some(frame) => frame.bytes,
            None => {
                self.phase = Phase::Over;
                self.reset(ResetReason::Slow)
            }
        }))
    }

    async fn snapshot(
        &mut self,
        mut buckets: std::vec::IntoIter<u8>,
        first: bool,
        served: Served,
    ) -> Option<Item> {
        let view = served.state.view();
        let (numbers, bytes) = next_chunk(&mut buckets, |number| view.set.bucket_bytes(number));
        if let Err(over) = self.make_room(bytes + SMALL_BYTES).await {
            return over;
        }
        if numbers.is_empty() && !first {
            let checkpoint = served.checkpoint.clone();
            let frontier = view.log.peaks().to_vec();
            let end = Event::SnapshotEnd {
                checkpoint,
                frontier,
                policy_digest: view.policy_digest,
            };
            self.phase = Phase::Live(served.position);
            return Some(Ok(encode(end)));
        }
        let keys = if first { view.keys_bytes() } else { Vec::new() };
        let of_bucket = |number: &u8| view.set.bucket(*number);
        let rules = numbers.iter().flat_map(of_bucket).collect();
        self.phase = Phase::Snapshot {
            buckets,
            first: false,
            served,
        };
        Some(Ok(encode(Event::SnapshotChunk {
            buckets: numbers,
            rules,
            keys,
        })))
    }

    async fn live(&mut self, mut position: Position) -> Option<Item> {
        let connection = Arc::clone(self.connection.as_ref()?);
        loop {
            if connection.evicted().is_cancelled() {
                return Some(self.evicted(&connection));
            }
            if self.hub.closing().is_cancelled() {
                return Some(Ok(self.reset(ResetReason::Shutdown)));
            }
            // Marked before looking: a change after the look is seen by the wait.
            self.changes.mark_unchanged();
            match self.hub.next(&mut position) {
                Next::Send(bytes) => {
                    if let Err(over) = self.make_room(bytes.len()).await {
                        return over;
                    }
                    self.phase = Phase::Live(position);
                    return Some(Ok(bytes));
                }
                Next::Reset(reason) => return Some(Ok(self.reset(reason))),
                Next::Wait => {}
            }
            tokio::select! {
                biased;
                () = pin!(connection.evicted().cancelled()) => {}
                () = pin!(self.hub.closing().cancelled()) => {}
                // Before the changes, which are looked for above after every message.
                message = self.upstream.next() => self.acknowledged(&connection, message?)?,
                _ = self.changes.changed() => {}
            }
        }
    }

    /// `None` = the verifier does not speak the protocol: the stream is over.
    fn acknowledged(
        &self,
        connection: &Connection,
        message: Result<VerifierMessage, ConvertError>,
    ) -> Option<()> {
        match message {
            Ok(VerifierMessage::Ack(ack)) => {
                let published = self.hub.published(ack.revision);
                let subscribers = self.hub.subscribers();
                if connection.is_news(ack.revision) {
                    self.hub
                        .trace_delivered(ack.revision, connection.verifier().as_str());
                }
                match subscribers.acknowledge(connection, &ack, published) {
                    Acknowledged::Fine | Acknowledged::Differs { alarm: false } => Some(()),
                    Acknowledged::Differs { alarm: true } => {
                        self.alarm(connection, ack.revision);
                        Some(())
                    }
                    Acknowledged::NeverPublished => {
                        let (verifier, revision) = (connection.verifier().as_str(), ack.revision.0);
                        tracing::warn!(
                            verifier,
                            revision,
                            "an acknowledgement of what was never published"
                        );
                        None
                    }
                }
            }
            Ok(VerifierMessage::Hello(_)) => None,
            Err(error) => {
                tracing::debug!(verifier = connection.verifier().as_str(), %error, "a verifier sent a malformed message");
                None
            }
        }
    }

    fn alarm(&self, connection: &Connection, revision: Revision) {
        let verifier = connection.verifier().as_str();
        self.hub.world().measure(Measurement::FeedForkAlarm);
        tracing::error!(
            verifier,
            revision = revision.0,
            "a verifier holds another history at a revision of this node: one of the two is wrong"
        );
        self.hub.alarm(format!("verifier {verifier}"), revision);
    }

    fn evicted(&self, connection: &Connection) -> Item {
        match connection.eviction() {
            Some(Eviction::Replaced) => Err(replaced(connection)),
            Some(Eviction::Silenced(failure)) => Err(failure),
            Some(Eviction::Slow | Eviction::OtherStanding) | None => {
                Ok(self.reset(ResetReason::Slow))
            }
        }
    }

    fn snapshot_of(&self, buckets: Vec<u8>, mode: SnapshotMode, served: Served) -> Phase {
        self.hub.world().measure(Measurement::FeedSnapshot(mode));
        Phase::Snapshot {
            buckets: buckets.into_iter(),
            first: true,
            served,
        }
    }

    /// Tells the verifier to come again, here or elsewhere.
    fn reset(&self, reason: ResetReason) -> Bytes {
        self.hub.world().measure(Measurement::FeedReset(reason));
        encode(Event::Reset {
            reason,
            retry_after: RETRY_AFTER,
        })
    }
}

/// Buckets of the next chunk, and the bytes of their rules: more than [`CHUNK_BYTES`] only where one bucket alone is
/// larger.
fn next_chunk(
    buckets: &mut std::vec::IntoIter<u8>,
    bytes_of: impl Fn(u8) -> usize,
) -> (Vec<u8>, usize) {
    let (mut numbers, mut bytes) = (Vec::new(), 0);
    while let Some(number) = buckets.as_slice().first().copied() {
        let more = bytes_of(number);
        if !numbers.is_empty() && bytes + more > CHUNK_BYTES {
            break;
        }
        bytes += more;
        numbers.extend(buckets.next());
    }
    (numbers, bytes)
}

/// Two verifiers with one id would evict each other for ever: the error says so to a person.
fn replaced(connection: &Connection) -> Failure {
    let message = format!(
        "verifier id `{}` opened another stream, which replaced this one",
        connection.verifier()
    );
    Failure::new(Reason::Conflict, message).hint("Give every verifier an id of its own.")
}

fn plan_name(plan: &Plan) -> &'static str {
    match plan {
        Plan::Deltas => "deltas",
        Plan::Snapshot => "snapshot",
        Plan::Buckets(_) => "buckets",
        Plan::Refuse(_) => "refuse",
    }
}

fn not_serving(error: NotServing) -> Failure {
    tracing::debug!(%error, "a verifier was sent away");
    let failure = match error {
        NotServing::NotInitialized => {
            Failure::new(Reason::Unavailable, "the cluster is not initialized yet")
        }
        NotServing::CannotSign(_) => {
            Failure::new(Reason::Unavailable, "this node cannot sign checkpoints")
        }
    };
    failure
        .hint("Ask another node, or try again in a second.")
        .retry_after(RETRY_AFTER)
}

fn refuse(reason: Reason, message: impl Into<String>) -> Failure {
    Failure::new(reason, message)
}
