//! Keeps one verifier's knowledge current: drives [`Follower`] over a gRPC stream, and goes elsewhere when it breaks.
//!
//! ```text
//! stream ──event──▶ Follower ──actions──▶ publish, then ack; write to disk; reconnect; alarm
//! ```
//!
//! All decisions about what to believe are the follower's. Decided here is only where to connect, how long to wait, and
//! that nothing older than the high-water mark is ever taken for fresh.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hessra_proto::VerifierId;
use hessra_proto::convert::OBSERVER;
use hessra_proto::v1::feed;
use hessra_proto::v1::feed::feed_client::FeedClient;
use hessra_revocation::publisher::Nonce;
use hessra_revocation::{Action, Event, Follower, Freshness};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tracing::{info, warn};

use crate::cache::{Mark, Snapshot};
use crate::failover::jitter;
use crate::knowledge::{Held, Knowledge, News};
use crate::{ClientError, Connection, Ed25519, Endpoint, Reason, channel, clock};

mod steps;

/// Largest message that is accepted: a node's chunks have 256 KiB.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Acknowledgements waiting to be sent. Each replaces the one before, so a full queue loses nothing.
const ACKS_MAX: usize = 16;
/// Longest silence before the first checkpoint, when a node may be collecting a snapshot: 10 s.
const SILENCE_FIRST: Duration = Duration::from_secs(10);
/// Shortest and longest silence that is endured, also when the node's freshness says less or more.
const SILENCE_MIN: Duration = Duration::from_millis(750);
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest life of a stream. Two monotonic clocks drift apart by parts per million: once a day a stream is anchored
/// anew.
const STREAM_LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause when the follower names no delay.
const PAUSE_DEFAULT: Duration = Duration::from_millis(250);
/// Pause after an alarm of our own: trying again soon changes nothing before a person has looked.
const PAUSE_ALARM: Duration = Duration::from_secs(1);
/// Longest pause: a node may ask to stay away, but not for ever.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Plan of a driver: everything that it is made from.
pub(crate) struct Plan {
    pub connection: Connection,
    /// Identity token to show, where the connection has no certificate.
    pub identity_token: Option<TokenSource>,
    pub verifier_id: VerifierId,
    pub capabilities: Vec<String>,
    pub follower: Follower<Ed25519>,
    pub mark: Option<Mark>,
    pub published: Arc<Knowledge>,
    /// Channel for snapshots that are to be written.
    pub snapshots: watch::Sender<Option<Snapshot>>,
}

impl Plan {
    fn is_observer(&self) -> bool {
        self.capabilities.iter().any(|word| word == OBSERVER)
    }
}

/// Source of the identity token that a verifier shows: asked whenever a stream is opened.
#[derive(Clone)]
pub(crate) struct TokenSource(pub Arc<dyn Fn() -> Result<String, ClientError> + Send + Sync>);

impl TokenSource {
    fn current(&self) -> Result<String, ClientError> {
        (self.0)()
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource(..)")
    }
}

/// Driver of one verifier's side of the feed.
pub(crate) struct Driver {
    plan: Plan,
    /// Index of the server to connect to next.
    next: usize,
    /// Rules and keys that checks see, shared by all states that differ only in age.
    held: Option<Arc<Held>>,
}

/// End of a stream: its reason, and what to do next.
struct Ended {
    why: String,
    pause: Duration,
    elsewhere: bool,
}

impl Driver {
    /// Driver that starts at a server chosen by the hash of its verifier's name, so that not all sit on the first.
    pub(crate) fn new(plan: Plan) -> Self {
        let hash = Sha256::digest(plan.verifier_id.as_str());
        let hash = u64::from_be_bytes(hash[..8].try_into().expect("a digest has 32 bytes"));
        let servers = plan.connection.servers.as_slice().len() as u64;
        let next = usize::try_from(hash % servers).expect("less than the number of servers");
        Self {
            plan,
            next,
            held: None,
        }
    }

    /// Follows until told to stop, or until the sender of `stop` is gone.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.publish(true);
        let stopped = async move {
            stop.wait_for(|stop| *stop)
                .await
                .map(|_| ())
                .unwrap_or_default()
        };
        tokio::select! {
            () = stopped => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            let server = self.plan.connection.servers.as_slice()[self.next].clone();
            let ended = self
                .stream(&server)
                .await
                .unwrap_or_else(|error| self.failed(&error));
            self.plan.published.connected(None);
            info!(%server, why = ended.why, elsewhere = ended.elsewhere, "feed stream ended");
            self.plan.published.tell(News::Disconnected {
                server,
                why: ended.why,
            });
            if ended.elsewhere {
                self.next = (self.next + 1) % self.plan.connection.servers.as_slice().len();
            }
            tokio::time::sleep(jitter(ended.pause.min(PAUSE_MAX))).await;
        }
    }

    /// End of a stream that failed: the follower counts it, for its delays.
    fn failed(&mut self, error: &ClientError) -> Ended {
        let actions = self
            .plan
            .follower
            .handle(Event::Disconnected, clock::monotonic());
        let pause = actions.iter().find_map(|action| match action {
            Action::Reconnect { after, .. } => Some(*after),
            _ => None,
        });
        Ended {
            why: error.to_string(),
            pause: pause.unwrap_or(PAUSE_DEFAULT),
            elsewhere: true,
        }
    }

    /// Follows one stream from its hello to its end.
    async fn stream(&mut self, server: &Endpoint) -> Result<Ended, ClientError> {
        let channel = channel::connect(&self.plan.connection, server).await?;
        let mut client = FeedClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (acks, outgoing) = mpsc::channel(ACKS_MAX);
        // The hello is taken, and its instant with it, before anything is sent: freshness is anchored there.
        let nonce = Nonce(rand::random());
        if let Some(ended) = self.step(Event::Connected { nonce }, &acks) {
            return Ok(ended);
        }
        let request = self.identified(Request::new(ReceiverStream::new(outgoing)))?;
        let answer = timeout(SILENCE_FIRST, client.follow(request)).await;
        let mut incoming = answer.map_err(|_| silent(SILENCE_FIRST))??.into_inner();
        info!(%server, "feed stream opened");
        self.plan.published.connected(Some(server.clone()));
        self.plan.published.tell(News::Connected(server.clone()));
        let end = Instant::now() + jitter(STREAM_LIFE_MAX);
        loop {
            let limit = self.silence_max();
            let message =
                match timeout_at(end.min(Instant::now() + limit), incoming.message()).await {
                    Err(_) if Instant::now() >= end => return Ok(anchored_anew()),
                    Err(_) => return Err(silent(limit)),
                    Ok(message) => message?.ok_or_else(closed)?,
                };
            let traced = Traced::of(&message);
            let event = understood(message);
            self.look_at(&event);
            if let Some(ended) = self.step(event, &acks) {
                return Ok(ended);
            }
            traced.applied(&self.plan.verifier_id);
        }
    }

    /// Request with the identity token, when the verifier is known by one.
    fn identified<T>(&self, mut request: Request<T>) -> Result<Request<T>, ClientError> {
        let Some(token) = self.plan.identity_token.as_ref() else {
            return Ok(request);
        };
        let mut header =
            MetadataValue::try_from(format!("Bearer {}", token.current()?)).map_err(|_| {
                ClientError::invalid("the identity token has characters that no token has")
            })?;
        header.set_sensitive(true);
        request.metadata_mut().insert("authorization", header);
        Ok(request)
    }

    /// Says when the cluster serves this verifier without counting it: then no revocation waits for it.
    fn look_at(&self, event: &Event) {
        if let Event::Welcome(signed) = event
            && !signed.welcome.counted
            && !self.plan.is_observer()
        {
            warn!(
                verifier = %self.plan.verifier_id,
                "this verifier is served and not counted: `hessra revoke --wait` does not wait for it. Name its identity and \
                 this id under `[[verifiers]]` in the policy"
            );
        }
    }

    /// Longest silence: three heartbeats, of which a node sends five in the time that its statements are fresh for.
    fn silence_max(&self) -> Duration {
        match self.plan.follower.freshness() {
            Freshness {
                as_of: Some(_),
                fresh_for,
            } => (fresh_for * 3 / 5).clamp(SILENCE_MIN, SILENCE_MAX),
            Freshness { as_of: None, .. } => SILENCE_FIRST,
        }
    }
}

/// Traces of the changes in a message.
#[cfg(feature = "otel")]
struct Traced(Option<(Vec<Vec<u8>>, u64, std::time::SystemTime)>);

#[cfg(feature = "otel")]
impl Traced {
    fn of(message: &feed::Downstream) -> Self {
        let Some(feed::downstream::Message::Delta(delta)) = &message.message else {
            return Self(None);
        };
        let traced = (!delta.traces.is_empty()).then(|| delta.traces.clone());
        Self(traced.map(|traces| (traces, delta.to, std::time::SystemTime::now())))
    }

    fn applied(self, verifier: &VerifierId) {
        if let Some((traces, revision, received)) = self.0 {
            crate::otel::applied(&traces, verifier.as_str(), revision, received);
        }
    }
}

/// Traces of the changes in a message, which nobody asked for in this build.
#[cfg(not(feature = "otel"))]
struct Traced;

#[cfg(not(feature = "otel"))]
impl Traced {
    fn of(_: &feed::Downstream) -> Self {
        Self
    }

    fn applied(self, _: &VerifierId) {}
}

/// Event of a message. One that cannot be read goes to the follower too: it decides where to go.
fn understood(message: feed::Downstream) -> Event {
    Event::try_from(message).unwrap_or_else(|error| {
        warn!(%error, "feed message refused");
        Event::Malformed
    })
}

fn silent(limit: Duration) -> ClientError {
    ClientError::new(
        Reason::Unavailable,
        format!("nothing was heard for {} ms", limit.as_millis()),
    )
}

fn closed() -> ClientError {
    ClientError::new(Reason::Unavailable, "the node closed the stream")
}

fn anchored_anew() -> Ended {
    Ended {
        why: "a day has passed: the stream is anchored anew".into(),
        pause: Duration::ZERO,
        elsewhere: false,
    }
}
