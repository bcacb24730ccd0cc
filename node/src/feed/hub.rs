//! Drives the line of frames: from the applied state, from confirmations of the quorum, and for subscribers.
//!
//! A frame is made when the state changed, a heartbeat when the quorum was confirmed. A node that cannot confirm makes
//! none, and so its verifiers grow stale however long their streams stay open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hessra_audit::Outcome;
use hessra_proto::v1::NodeStatus;
use hessra_proto::v1::feed::{CheckpointResponse, FeedKey};
use hessra_revocation::follower::{Event, Mode, Welcome};
use hessra_revocation::publisher::{FEED_KEYS_MAX, Hello, Plan, plan};
use hessra_revocation::{Hash, Monotonic, Revision, SignedCheckpoint};
use hessra_state::State;
use opentelemetry::KeyValue;
use prost::bytes::Bytes;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::line::{Line, Next, Position, encode, on_the_wire};
use super::{FeedSettings, Roster};
use crate::authority::{Authority, Began};
use crate::edge::Clock;

/// Between a heartbeat and one that was asked for: a storm of verifiers that connect costs twenty confirmations a
/// second, not one each.
const BEAT_SPACING: Duration = Duration::from_millis(50);

/// Signs the bytes of checkpoints with the cluster's active feed key.
pub trait CheckpointSigner: Send + Sync + 'static {
    /// Key id and Ed25519 signature, for somebody who believes the keys that are `known`: by the active key where it is
    /// one of them, else by an older one that is, where there is one.
    ///
    /// # Errors
    /// A sentence: no feed key is active, or it cannot be unsealed.
    fn sign(&self, bytes: &[u8], known: &dyn Fn(u32) -> bool) -> Result<(u32, [u8; 64]), String>;
}

impl CheckpointSigner for crate::signer::ActiveSigner {
    fn sign(&self, bytes: &[u8], known: &dyn Fn(u32) -> bool) -> Result<(u32, [u8; 64]), String> {
        self.sign_for(bytes, known)
            .map_err(|error| error.to_string())
    }
}

/// Why nothing can be served yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum NotServing {
    #[error("the cluster is not initialized yet")]
    NotInitialized,
    #[error("this node cannot sign checkpoints: {0}")]
    CannotSign(String),
}

/// The feed of this node. Cheap to clone.
#[derive(Clone)]
pub struct FeedHub {
    inner: Arc<Inner>,
}

struct Inner {
    authority: Authority,
    settings: FeedSettings,
    clock: Clock,
    roster: Roster,
    slots: Arc<Semaphore>,
    line: Mutex<Line>,
    /// Counts changes of the line; subscribers wait for the next.
    changed: watch::Sender<u64>,
    /// Somebody has just begun to follow and knows nothing fresh yet.
    beat_wanted: Notify,
    closing: CancellationToken,
    /// Members whose state differs from this node's at an equal revision, and where it did.
    differing: Mutex<BTreeMap<u64, Revision>>,
}

/// What a subscriber is answered to its hello.
pub(super) struct Opening {
    pub(super) welcome: Bytes,
    pub(super) plan: Plan,
    pub(super) state: Arc<State>,
    pub(super) checkpoint: SignedCheckpoint,
    pub(super) position: Position,
}

impl FeedHub {
    /// Starts publishing; ends with `stop`.
    #[must_use]
    pub fn start(
        authority: Authority,
        signer: Arc<dyn CheckpointSigner>,
        settings: FeedSettings,
        stop: &CancellationToken,
    ) -> Self {
        let clock = authority.clock();
        let roster = Roster::new(clock, &settings);
        let node = authority.raft().identity().id;
        let line = Line::new(node, settings.clone(), signer);
        let inner = Inner {
            slots: Arc::new(Semaphore::new(settings.subscribers_max)),
            authority,
            settings,
            clock,
            roster,
            line: Mutex::new(line),
            changed: watch::Sender::new(0),
            beat_wanted: Notify::new(),
            closing: CancellationToken::new(),
            differing: Mutex::default(),
        };
        let hub = Self {
            inner: Arc::new(inner),
        };
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(hub.clone().publish_changes()),
        );
        tokio::spawn(stop.clone().run_until_cancelled_owned(hub.clone().beat()));
        hub
    }

    /// Who holds what.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.inner.roster
    }

    /// Promises and limits in use.
    #[must_use]
    pub fn settings(&self) -> &FeedSettings {
        &self.inner.settings
    }

    /// Tells all subscribers to resume elsewhere and takes no new ones.
    pub fn shutdown(&self) {
        self.inner.closing.cancel();
    }

    pub(super) fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }

    pub(super) fn slots(&self) -> &Arc<Semaphore> {
        &self.inner.slots
    }

    pub(super) fn clock(&self) -> Clock {
        self.inner.clock
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// The newest checkpoint of this node, and the keys it may be signed with.
    ///
    /// # Errors
    /// See [`NotServing`].
    pub fn checkpoint(&self) -> Result<CheckpointResponse, NotServing> {
        let mut line = self.line();
        self.advance(&mut line)?;
        let state = line.state()?;
        let (checkpoint, _) = line.signed(&state)?;
        let feed_keys = newest_feed_keys(&state)
            .into_iter()
            .map(|(id, key)| FeedKey {
                id,
                public_key: key.to_vec(),
            })
            .collect();
        Ok(CheckpointResponse {
            checkpoint: Some(checkpoint.into()),
            feed_keys,
        })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.inner
            .line
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes every change of the state: the first at once, those that follow within `coalesce` together. While nobody
    /// follows, the heartbeat is often enough: roots and signatures are for those who read them.
    async fn publish_changes(self) {
        let mut published = self.inner.authority.raft().watch();
        loop {
            let earliest_next = Instant::now() + self.inner.settings.coalesce;
            // Who begins to follow is counted before it is served, and served what is applied then.
            if self.inner.changed.receiver_count() > 0 {
                self.publish(None);
            }
            if published.changed().await.is_err() {
                return;
            }
            sleep_until(earliest_next).await;
            published.mark_unchanged();
        }
    }

    /// Confirms the quorum once per interval, and soon after somebody has begun to follow: who has just connected is
    /// fresh after one confirmation, not after one interval. Lets verifiers know. Without a quorum: nothing.
    async fn beat(self) {
        let every = self.inner.settings.heartbeat;
        let mut ticks = interval(every);
        // After a stop of the process there is nothing to catch up: one heartbeat says all.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let earliest_extra = Instant::now() + BEAT_SPACING;
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.inner.beat_wanted.notified() => sleep_until(earliest_extra).await,
            }
            let outcome = match self.inner.authority.linearize(Instant::now() + every).await {
                Ok(confirmation) => {
                    self.publish(Some(confirmation.began));
                    "sent"
                }
                Err(error) => {
                    tracing::debug!(%error, "gave no heartbeat");
                    "unconfirmed"
                }
            };
            crate::telemetry::metrics()
                .feed_heartbeats
                .add(1, &[KeyValue::new("outcome", outcome)]);
            self.inner.roster.sweep();
            self.compare_replicas();
        }
    }

    /// Equal revisions must have equal roots, also on two nodes.
    fn compare_replicas(&self) {
        let heard = self.inner.authority.neighbours().last_heard();
        let statuses = heard.values().map(|neighbour| &neighbour.status);
        let differing = differing(statuses, |revision| self.published(revision));
        let mut known = self
            .inner
            .differing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (id, revision) in differing.iter().filter(|(id, _)| !known.contains_key(*id)) {
            crate::telemetry::metrics().replica_alarms.add(1, &[]);
            self.alarm(format!("node {id}"), *revision);
            tracing::error!(
                peer = id,
                revision = revision.0,
                "another node holds another state at the same revision: one of the two is damaged. Compare them with a \
                 third by `hessra status`, remove the one that differs and add it anew with an empty directory"
            );
        }
        *known = differing;
    }

    /// Puts it in the audit that somebody holds another history.
    pub(super) fn alarm(&self, whom: String, revision: Revision) {
        let Some(auditor) = self.inner.authority.auditor() else {
            return;
        };
        let mut record = auditor.record(hessra_audit::Event::FeedForkAlarm, Outcome::Failure);
        record.actor.auth = "node".to_owned();
        record.action = "compare".to_owned();
        record.target.r#type = "replica".to_owned();
        record.target.id = whom;
        record.revision = revision.0;
        record.message =
            "it holds another history at the same revision: one of the two is wrong".to_owned();
        auditor.tell(record);
    }

    /// Brings the line up to the applied state, and adds a heartbeat when the quorum was just confirmed.
    ///
    /// INVARIANT: the confirmation is older than the state that is read here, because the caller has waited until
    /// this node had applied the confirmed index.
    fn publish(&self, confirmed: Option<Began>) {
        let mut line = self.line();
        let advanced = self.advance(&mut line);
        // Only after the line has come up to the state: an older one is not confirmed.
        let outcome = advanced.and_then(|()| confirmed.map_or(Ok(()), |began| line.beat(began)));
        drop(line);
        match outcome {
            Ok(()) => self.inner.changed.send_modify(|count| *count += 1),
            // There is nothing yet that anybody could follow.
            Err(NotServing::NotInitialized) => {}
            Err(error) => tracing::warn!(%error, "published nothing"),
        }
    }

    fn advance(&self, line: &mut Line) -> Result<(), NotServing> {
        let state = self.inner.authority.state();
        if !state.is_initialized() {
            return Err(NotServing::NotInitialized);
        }
        let followed = self.inner.changed.receiver_count() > 0;
        line.advance(&state, self.inner.clock.monotonic(), followed)
    }

    /// Answers a hello that was read at `tick`.
    pub(super) fn open(&self, hello: &Hello, tick: Monotonic) -> Result<Opening, NotServing> {
        let mut line = self.line();
        self.advance(&mut line)?;
        let state = line.state()?;
        let checkpoint = line.signed_for(&state, &|id| hello.believes(id))?;
        let position = line.position();
        drop(line);
        self.inner.beat_wanted.notify_one();
        // Without the lock: it hashes some hundred entries, and thousands may connect at once.
        let plan = plan(state.view(), state.history(), hello);
        let welcome = encode(Event::Welcome(self.welcome(&state, &plan, tick)));
        Ok(Opening {
            welcome,
            plan,
            state,
            checkpoint,
            position,
        })
    }

    fn welcome(&self, state: &State, plan: &Plan, tick: Monotonic) -> Welcome {
        let view = state.view();
        let mode = match plan {
            Plan::Deltas => Mode::Deltas,
            Plan::Buckets(_) => Mode::Buckets,
            Plan::Snapshot | Plan::Refuse(_) => Mode::Snapshot,
        };
        Welcome {
            feed_id: view.feed_id,
            salt: *view.set.salt(),
            epoch: view.epoch,
            head: view.revision,
            floor: state.history().floor(),
            mode,
            tick_ms: on_the_wire(tick),
            node: self.inner.authority.raft().identity().id,
            feed_keys: newest_feed_keys(state),
        }
    }

    /// The next bytes for a live subscriber.
    pub(super) fn next(&self, position: &mut Position) -> Next {
        self.line().next(position)
    }

    /// This node's root at an acknowledged revision, and since when it is published. `None` = cannot be told.
    pub(super) fn published(&self, revision: Revision) -> Option<(Hash, Monotonic)> {
        self.line().published(revision)
    }

    /// Newest published revision.
    #[must_use]
    pub fn head(&self) -> Revision {
        self.line().head()
    }

    /// How long verifiers may rely on a checkpoint.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        self.inner.settings.fresh_for
    }
}

/// The feed keys that anybody still signs with are the newest: one that signs, one that will, and some that did.
fn newest_feed_keys(state: &State) -> BTreeMap<u32, [u8; 32]> {
    let keys = state.view().feed_keys();
    let old = keys.len().saturating_sub(FEED_KEYS_MAX);
    keys.into_iter().skip(old).collect()
}

/// Which nodes hold another state than this one at a revision that this one has published.
fn differing<'a>(
    statuses: impl Iterator<Item = &'a NodeStatus>,
    published: impl Fn(Revision) -> Option<(Hash, Monotonic)>,
) -> BTreeMap<u64, Revision> {
    let differs = |status: &&NodeStatus| {
        let own = published(Revision(status.revision));
        own.is_some_and(|(root, _)| status.state_root != root)
    };
    let place = |status: &NodeStatus| (status.id, Revision(status.revision));
    statuses.filter(differs).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_with_another_root_at_an_equal_revision_is_named_and_one_that_is_behind_is_not() {
        let node = |id, revision, root: u8| NodeStatus {
            id,
            revision,
            state_root: vec![root; 32],
            ..NodeStatus::default()
        };
        let statuses = [node(2, 7, 1), node(3, 7, 9), node(4, 6, 9)];
        let published = |revision| (revision == Revision(7)).then_some(([1; 32], Monotonic(0)));
        let named = differing(statuses.iter(), published);
        assert_eq!(named, BTreeMap::from([(3, Revision(7))]));
    }
}
