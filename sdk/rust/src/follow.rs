//! Keeps one verifier's knowledge current: drives [`Follower`] over a gRPC stream, and goes elsewhere when it breaks.
//!
//! ```text
//! stream ──event──▶ Follower ──actions──▶ publish, then ack; write to disk; reconnect; alarm
//! ```
//!
//! All decisions about what to believe are the follower's. Decided here is only where to connect, how long to wait, and
//! that nothing older than the high-water mark is ever taken for fresh.

use std::sync::Arc;
use std::time::Duration;

use hessra_proto::v1::feed;
use hessra_proto::v1::feed::feed_client::FeedClient;
use hessra_proto::{Acknowledgement, Greeting, Said, VerifierId};
use hessra_revocation::publisher::Hello;
use hessra_revocation::{Action, Alarm, Event, FeedEntry, Follower, Freshness, Revision, View};
use hessra_sdk_core::Keyring;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, error, info, warn};

use crate::cache::{self, Mark, Snapshot};
use crate::failover::jitter;
use crate::knowledge::{Held, Known, News, Published, never};
use crate::{ClientError, Connection, Ed25519, Endpoint, Reason, channel, clock};

/// A message larger than this is refused: a node's chunks have 256 KiB.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Acknowledgements waiting to be sent. Each replaces the one before, so a full queue loses nothing.
const ACKS_MAX: usize = 16;
/// Before the first checkpoint a node may be collecting a snapshot: 10 s.
const SILENCE_FIRST: Duration = Duration::from_secs(10);
/// Shortest and longest silence that is endured, whatever the node says about freshness.
const SILENCE_MIN: Duration = Duration::from_millis(750);
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Two monotonic clocks drift apart by parts per million: once a day a stream is anchored anew.
const STREAM_LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// When the follower names no delay.
const PAUSE_DEFAULT: Duration = Duration::from_millis(250);
/// After an alarm of our own: trying again soon changes nothing before a person has looked.
const PAUSE_ALARM: Duration = Duration::from_secs(1);
/// A node may ask to stay away, but not for ever.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a driver is made from.
pub(crate) struct Plan {
    pub connection: Connection,
    pub verifier_id: VerifierId,
    pub capabilities: Vec<String>,
    pub follower: Follower<Ed25519>,
    pub mark: Option<Mark>,
    pub published: Arc<Published>,
    /// Where to leave what is to be written.
    pub snapshots: watch::Sender<Option<Snapshot>>,
}

/// One verifier's side of the feed.
pub(crate) struct Driver {
    plan: Plan,
    /// Index of the server to connect to next.
    next: usize,
    /// What checks see, shared by all states that differ only in age.
    held: Option<Arc<Held>>,
}

/// Why a stream ended, and what to do next.
struct Ended {
    why: String,
    pause: Duration,
    elsewhere: bool,
}

impl Driver {
    /// Verifiers spread over the servers by the hash of their name, so that all of them do not sit on the first.
    pub fn new(plan: Plan) -> Self {
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

    /// Follows until told to stop, or until nobody is left who could tell.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
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

    /// Not connected: the follower counts it, for its delays.
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

    /// One stream from its hello to its end.
    async fn stream(&mut self, server: &Endpoint) -> Result<Ended, ClientError> {
        let channel = channel::connect(&self.plan.connection, server).await?;
        let mut client = FeedClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (acks, outgoing) = mpsc::channel(ACKS_MAX);
        // The hello is taken, and its instant with it, before anything is sent: freshness is anchored there.
        if let Some(ended) = self.step(Event::Connected, &acks) {
            return Ok(ended);
        }
        let answer = timeout(SILENCE_FIRST, client.follow(ReceiverStream::new(outgoing))).await;
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
            if let Some(ended) = self.step(understood(message), &acks) {
                return Ok(ended);
            }
        }
    }

    /// Three heartbeats: a node sends five in the time that its statements are fresh for.
    fn silence_max(&self) -> Duration {
        match self.plan.follower.freshness() {
            Freshness {
                as_of: Some(_),
                fresh_for,
            } => (fresh_for * 3 / 5).clamp(SILENCE_MIN, SILENCE_MAX),
            Freshness { as_of: None, .. } => SILENCE_FIRST,
        }
    }

    /// Hands one event to the follower and does what it says. `Some` when the stream must end.
    fn step(&mut self, event: Event, acks: &mpsc::Sender<feed::Upstream>) -> Option<Ended> {
        let heard = self
            .plan
            .published
            .has_listeners()
            .then(|| entries(&event))
            .flatten();
        let before = self.plan.follower.freshness();
        let actions = self.plan.follower.handle(event, clock::monotonic());
        let changed = actions
            .iter()
            .any(|action| matches!(action, Action::Publish));
        // INVARIANT: published before acknowledged. An ack proves that checks already see the revision.
        if changed || self.plan.follower.freshness() != before {
            if let Some(ended) = self.publish(changed) {
                return Some(ended);
            }
            self.tell(heard, changed);
        }
        actions
            .into_iter()
            .fold(None, |ended, action| self.act(action, acks).or(ended))
    }

    fn act(&mut self, action: Action, acks: &mpsc::Sender<feed::Upstream>) -> Option<Ended> {
        match action {
            Action::Publish => {}
            Action::SendHello(hello) => say(acks, Said::Hello(self.greeting(hello))),
            Action::SendAck {
                revision,
                state_root,
            } => {
                say(
                    acks,
                    Said::Ack(Acknowledgement {
                        revision,
                        state_root,
                    }),
                );
            }
            Action::Persist => self.persist(),
            Action::Alarm(alarm) => self.alarm(&alarm),
            Action::Reconnect { after, elsewhere } => {
                return Some(Ended {
                    why: "the protocol asks for another stream".into(),
                    pause: after,
                    elsewhere,
                });
            }
        }
        None
    }

    /// Shows checks what the follower holds. `changed`: more than its age.
    fn publish(&mut self, changed: bool) -> Option<Ended> {
        let view = self.plan.follower.view()?;
        let freshness = match self.standing(view) {
            cache::Standing::Reached => self.plan.follower.freshness(),
            // Its denials are true; that nothing newer exists is not.
            cache::Standing::Below if changed || !self.is_confirmed() => never(),
            cache::Standing::Below => return Some(self.rolled_back()),
            cache::Standing::Foreign => return Some(self.foreign(view.revision)),
        };
        if changed || self.held.is_none() {
            let held = Held {
                view: view.clone(),
                keyring: Keyring::from_view(view),
            };
            self.held = Some(Arc::new(held));
        }
        self.plan.published.publish(
            Known {
                held: self.held.clone(),
                freshness,
            },
            clock::monotonic(),
        );
        None
    }

    fn standing(&self, view: &View) -> cache::Standing {
        self.plan
            .mark
            .as_ref()
            .map_or(cache::Standing::Reached, |mark| mark.stands(view))
    }

    /// Does the follower hold what a quorum confirmed a moment ago?
    fn is_confirmed(&self) -> bool {
        let freshness = self.plan.follower.freshness();
        freshness
            .age(clock::monotonic())
            .is_some_and(|age| age <= freshness.fresh_for)
    }

    /// A heartbeat says that nothing is newer than what we once were beyond: the cluster was set back.
    fn rolled_back(&self) -> Ended {
        if let Some(view) = self.plan.follower.view() {
            self.alarm(&Alarm::Rollback {
                epoch: view.epoch,
                revision: view.revision,
            });
        }
        let why = "the node confirms a revision below the high-water mark";
        Ended {
            why: why.into(),
            pause: PAUSE_ALARM,
            elsewhere: true,
        }
    }

    /// Another feed than that of the state directory, or another history of it.
    fn foreign(&self, revision: Revision) -> Ended {
        self.alarm(&Alarm::Fork { revision });
        let why = "the node's history is not the one that the high-water mark is of";
        Ended {
            why: why.into(),
            pause: PAUSE_ALARM,
            elsewhere: true,
        }
    }

    /// Leaves the newest state to whoever writes it; nothing waits for the disk.
    fn persist(&self) {
        let follower = &self.plan.follower;
        let (Some(view), Some((checkpoint, signed))) = (follower.view(), follower.checkpoint())
        else {
            return;
        };
        if checkpoint.revision == view.revision && self.standing(view) == cache::Standing::Reached {
            let snapshot = Snapshot {
                view: view.clone(),
                checkpoint: signed.clone(),
            };
            self.plan.snapshots.send_replace(Some(snapshot));
        }
    }

    fn alarm(&self, alarm: &Alarm) {
        error!(%alarm, verifier = %self.plan.verifier_id, "feed alarm");
        self.plan.published.alarm(alarm);
    }

    fn tell(&self, heard: Option<Vec<FeedEntry>>, changed: bool) {
        let published = &self.plan.published;
        match (heard, self.plan.follower.view()) {
            (Some(entries), _) => published.tell(News::Entries(entries)),
            (None, Some(view)) if changed => published.tell(News::Snapshot(view.revision)),
            _ => {}
        }
        if let Some((checkpoint, _)) = self.plan.follower.checkpoint() {
            published.tell(News::Checkpoint(checkpoint.clone()));
        }
    }

    fn greeting(&self, hello: Hello) -> Greeting {
        Greeting {
            hello,
            verifier_id: self.plan.verifier_id.clone(),
            capabilities: self.plan.capabilities.clone(),
            client: concat!("hessra-sdk-rust ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// What cannot be read is the follower's business too: it decides where to go.
fn understood(message: feed::Downstream) -> Event {
    Event::try_from(message).unwrap_or_else(|error| {
        warn!(%error, "feed message refused");
        Event::Malformed
    })
}

/// Entries of a delta, for listeners.
fn entries(event: &Event) -> Option<Vec<FeedEntry>> {
    let Event::Delta { entries, .. } = event else {
        return None;
    };
    entries
        .iter()
        .map(|bytes| FeedEntry::from_bytes(bytes).ok())
        .collect()
}

/// A full queue means that the node is not reading; the next ack says everything that this one would have.
fn say(acks: &mpsc::Sender<feed::Upstream>, said: Said) {
    if acks.try_send(said.into()).is_err() {
        debug!("an acknowledgement was left out: the node is not reading");
    }
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
