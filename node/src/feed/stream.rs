//! One subscriber: hello, welcome, then a snapshot or deltas, then live for as long as it lasts.
//!
//! A stream is polled by the transport when the client has room for more, and does nothing in between: a slow client
//! costs no queue. While it waits for something to send it reads acknowledgements. A client that takes nothing for
//! long loses its place in the roster and is told to resume when it comes back.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::feed::Upstream;
use hessra_proto::{Greeting, Said};
use hessra_revocation::follower::Event;
use hessra_revocation::publisher::{Plan, ResetReason};
use hessra_revocation::{Revision, SignedCheckpoint};
use hessra_state::State;
use opentelemetry::KeyValue;
use prost::bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::connection::Connection;
use super::hub::{FeedHub, NotServing, Opening};
use super::line::{Next, Position, delta, encode};

/// Bytes of rules in one snapshot chunk, more only where one bucket alone is larger: large enough that framing does
/// not count, small enough that a slow client holds little.
const CHUNK_BYTES: usize = 128 * 1024;
/// A verifier that is told to resume because of this node's state waits so long, plus its own jitter.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Makes the downstream half of a subscriber's stream.
pub(super) fn follow(
    hub: FeedHub,
    said: Streaming<Upstream>,
    owner: Option<[u8; 32]>,
    slot: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
    let changes = hub.changes();
    let subscriber = Subscriber {
        hub,
        said,
        changes,
        owner,
        slot: Some(slot),
        connection: None,
        phase: Phase::Hello,
    };
    unfold(subscriber, |mut subscriber| async move {
        let step = subscriber.step().await;
        step.map(|item| (item, subscriber))
    })
}

struct Subscriber {
    hub: FeedHub,
    said: Streaming<Upstream>,
    changes: watch::Receiver<u64>,
    owner: Option<[u8; 32]>,
    slot: Option<OwnedSemaphorePermit>,
    connection: Option<Arc<Connection>>,
    phase: Phase,
}

/// What is sent next.
enum Phase {
    Hello,
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

/// What a subscriber is served from before it is live.
struct Served {
    state: Arc<State>,
    checkpoint: SignedCheckpoint,
    position: Position,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            self.hub.roster().disconnect(connection);
            tracing::debug!(
                verifier = connection.verifier().as_str(),
                "a verifier's stream ended"
            );
        }
    }
}

impl Subscriber {
    /// The next message; `None` = the stream is over.
    async fn step(&mut self) -> Option<Result<Bytes, Status>> {
        if let Some(connection) = &self.connection {
            connection.taken();
        }
        let item = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Hello => self.hello().await,
            Phase::Deltas { from, served } => Some(Ok(self.first_delta(from, served))),
            Phase::Snapshot {
                buckets,
                first,
                served,
            } => Some(Ok(self.snapshot(buckets, first, served))),
            Phase::Live(position) => self.live(position).await,
            Phase::Over => None,
        }?;
        if let Some(connection) = &self.connection {
            connection.given(self.hub.clock().monotonic());
        }
        if let Ok(bytes) = &item {
            crate::telemetry::metrics()
                .feed_bytes
                .add(bytes.len() as u64, &[]);
        }
        Some(item)
    }

    async fn hello(&mut self) -> Option<Result<Bytes, Status>> {
        let within = self.hub.settings().hello_within;
        let message = match timeout(within, self.said.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None) | Err(_)) => return None,
            Err(_) => return Some(Err(refuse(Reason::Deadline, "no hello was said in time"))),
        };
        // INVARIANT: read after the hello arrived, so it is not before the instant at which the verifier sent it.
        let tick = self.hub.clock().monotonic();
        let greeting = match Said::try_from(message) {
            Ok(Said::Hello(greeting)) => greeting,
            Ok(Said::Ack(_)) => {
                return Some(Err(refuse(
                    Reason::InvalidArgument,
                    "a stream begins with a hello",
                )));
            }
            Err(error) => return Some(Err(refuse(Reason::InvalidArgument, error.to_string()))),
        };
        Some(self.welcome(&greeting, tick))
    }

    fn welcome(
        &mut self,
        greeting: &Greeting,
        tick: hessra_revocation::Monotonic,
    ) -> Result<Bytes, Status> {
        if self.hub.closing().is_cancelled() {
            return Ok(reset(ResetReason::Shutdown));
        }
        let opening = self.hub.open(&greeting.hello, tick).map_err(not_serving)?;
        let slot = self
            .slot
            .take()
            .ok_or_else(|| refuse(Reason::Internal, "the stream said hello twice"))?;
        let connected =
            self.hub
                .roster()
                .connect(&greeting.verifier_id, &greeting.client, self.owner, slot);
        let connection =
            connected.map_err(|taken| refuse(Reason::NotPermitted, taken.to_string()))?;
        if greeting.is_observer() {
            self.hub.roster().only_looks(&connection);
        }
        self.connection = Some(connection);
        tracing::debug!(
            verifier = greeting.verifier_id.as_str(),
            from = greeting.hello.from.0,
            plan = plan_name(&opening.plan),
            "a verifier connected"
        );
        Ok(self.begin(opening, greeting.hello.from))
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
            Plan::Deltas => Phase::Deltas {
                from: from.next(),
                served,
            },
            Plan::Snapshot => snapshot_of((0..=u8::MAX).collect(), "full", served),
            Plan::Buckets(buckets) => snapshot_of(buckets, "buckets", served),
        };
        welcome
    }

    fn refuse(&mut self, reason: ResetReason, from: Revision) -> Bytes {
        if reason == ResetReason::Fork
            && let Some(connection) = &self.connection
        {
            crate::telemetry::metrics().feed_fork_alarms.add(1, &[]);
            tracing::error!(
                verifier = connection.verifier().as_str(),
                "a verifier holds another history at a revision of this node: one of the two is wrong"
            );
            let verifier = format!("verifier {}", connection.verifier().as_str());
            self.hub.alarm(verifier, from);
        }
        reset(reason)
    }

    /// What the verifier missed, in one delta; nothing when it is up to date.
    fn first_delta(&mut self, from: Revision, served: Served) -> Bytes {
        let Served {
            state,
            checkpoint,
            position,
        } = served;
        let to = state.view().revision;
        self.phase = Phase::Live(position);
        if from > to {
            // An up-to-date verifier learns at once that it is.
            return encode(Event::Heartbeat(checkpoint));
        }
        match delta(&state, from, checkpoint) {
            Some(frame) => frame.bytes,
            None => {
                self.phase = Phase::Over;
                reset(ResetReason::Slow)
            }
        }
    }

    fn snapshot(
        &mut self,
        mut buckets: std::vec::IntoIter<u8>,
        first: bool,
        served: Served,
    ) -> Bytes {
        let view = served.state.view();
        let (mut numbers, mut rules) = (Vec::new(), Vec::new());
        while rules.len() < CHUNK_BYTES {
            let Some(number) = buckets.next() else { break };
            numbers.push(number);
            rules.extend(view.set.bucket(number));
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
            return encode(end);
        }
        let keys = if first { view.keys_bytes() } else { Vec::new() };
        self.phase = Phase::Snapshot {
            buckets,
            first: false,
            served,
        };
        encode(Event::SnapshotChunk {
            buckets: numbers,
            rules,
            keys,
        })
    }

    async fn live(&mut self, mut position: Position) -> Option<Result<Bytes, Status>> {
        let connection = Arc::clone(self.connection.as_ref()?);
        loop {
            if connection.evicted().is_cancelled() {
                return Some(evicted(&connection));
            }
            if self.hub.closing().is_cancelled() {
                return Some(Ok(reset(ResetReason::Shutdown)));
            }
            // Marked before looking: a change after the look is seen by the wait.
            self.changes.mark_unchanged();
            match self.hub.next(&mut position) {
                Next::Send(bytes) => {
                    self.phase = Phase::Live(position);
                    return Some(Ok(bytes));
                }
                Next::Reset(reason) => return Some(Ok(reset(reason))),
                Next::Wait => {}
            }
            tokio::select! {
                _ = self.changes.changed() => {}
                () = pin!(connection.evicted().cancelled()) => {}
                () = pin!(self.hub.closing().cancelled()) => {}
                message = self.said.message() => self.acknowledged(&connection, message.ok()??)?,
            }
        }
    }

    /// `None` = the verifier does not speak the protocol: the stream is over.
    fn acknowledged(&self, connection: &Connection, message: Upstream) -> Option<()> {
        match Said::try_from(message) {
            Ok(Said::Ack(ack)) => {
                let published = self.hub.published(ack.revision);
                let known = self.hub.roster().differs(connection);
                let same = self.hub.roster().acknowledge(connection, &ack, published);
                if !same && !known {
                    let verifier = format!("verifier {}", connection.verifier().as_str());
                    self.hub.alarm(verifier, ack.revision);
                }
                Some(())
            }
            Ok(Said::Hello(_)) => None,
            Err(error) => {
                tracing::debug!(verifier = connection.verifier().as_str(), %error, "a verifier said nonsense");
                None
            }
        }
    }
}

/// Two verifiers with one id would evict each other for ever: the error says so to a person.
fn evicted(connection: &Connection) -> Result<Bytes, Status> {
    if connection.is_replaced() {
        let message = format!(
            "verifier id `{}` opened another stream, which replaced this one",
            connection.verifier()
        );
        return Err(Failure::new(Reason::Conflict, message)
            .hint("Give every verifier an id of its own.")
            .into());
    }
    Ok(reset(ResetReason::Slow))
}

fn snapshot_of(buckets: Vec<u8>, mode: &'static str, served: Served) -> Phase {
    crate::telemetry::metrics()
        .feed_snapshots
        .add(1, &[KeyValue::new("mode", mode)]);
    Phase::Snapshot {
        buckets: buckets.into_iter(),
        first: true,
        served,
    }
}

fn plan_name(plan: &Plan) -> &'static str {
    match plan {
        Plan::Deltas => "deltas",
        Plan::Snapshot => "snapshot",
        Plan::Buckets(_) => "buckets",
        Plan::Refuse(_) => "refuse",
    }
}

/// Tells the verifier to come again, here or elsewhere.
pub(super) fn reset(reason: ResetReason) -> Bytes {
    let label = match reason {
        ResetReason::Slow => "slow",
        ResetReason::Shutdown => "shutdown",
        ResetReason::Ahead => "ahead",
        ResetReason::Fork => "fork",
        ResetReason::Restored => "restored",
        ResetReason::Overloaded => "overloaded",
    };
    crate::telemetry::metrics()
        .feed_resets
        .add(1, &[KeyValue::new("reason", label)]);
    encode(Event::Reset {
        reason,
        retry_after: RETRY_AFTER,
    })
}

fn not_serving(error: NotServing) -> Status {
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
        .into()
}

fn refuse(reason: Reason, message: impl Into<String>) -> Status {
    Failure::new(reason, message).into()
}
