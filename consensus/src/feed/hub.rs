//! Drives the frame log: from the applied state, from confirmations of the quorum, and for subscribers.
//!
//! A frame is made when the state changed, a heartbeat when the quorum was confirmed. A node that cannot confirm makes
//! none, and so its verifiers grow stale however long their streams stay open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hessra_policy::PolicyView;
use hessra_proto::Greeting;
use hessra_proto::status::Failure;
use hessra_proto::v1::NodeStatus;
use hessra_proto::v1::feed::{CheckpointResponse, FeedKey};
use hessra_revocation::follower::{Event, Mode, SignedWelcome, Welcome};
use hessra_revocation::publisher::{FEED_KEYS_MAX, Hello, Plan, plan};
use hessra_revocation::{Hash, Monotonic, Revision, SignedCheckpoint};
use hessra_state::State;
use prost::bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::claim::{Claim, Standing, admitted, standing};
use super::frames::{FrameLog, Next, Position, Published, TracedFrame, encode, on_the_wire};
use super::seats::{Seat, Seats};
use super::unread::Unread;
use super::{CheckpointSigner, FeedSettings, NotServing, Subscribers};
use crate::confirmer::{Began, Confirmation};
use crate::consensus::Consensus;
use crate::error::ReadError;
use crate::measurement::{HeartbeatOutcome, Measurement};
use crate::neighbours::Neighbour;
use crate::plant::{Plant, is_planted};
use crate::policies::Policies;
use crate::trace::{Stage, Step, TracedChange};
use crate::world::{World, spawn_until};

/// Pause between a heartbeat and one that was asked for: a storm of verifiers that connect costs twenty confirmations a
/// second, not one each.
const BEAT_SPACING: Duration = Duration::from_millis(50);

/// Shortest time that a timer measures.
const TIMER: Duration = Duration::from_millis(1);

/// Time between two looks at whether the callers of all streams may still have them. Origin: half of the second within
/// which a right that ends stops what it carries.
const ASK_AGAIN_EVERY: Duration = Duration::from_millis(500);

/// The feed of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct FeedHub<W: World> {
    inner: Arc<Inner<W>>,
}

struct Inner<W: World> {
    consensus: Consensus<W>,
    settings: FeedSettings,
    subscribers: Subscribers<W>,
    policies: Policies,
    seats: Seats,
    unread: Unread,
    signer: Arc<dyn CheckpointSigner>,
    frames: Mutex<FrameLog>,
    /// Counts changes of the frames; subscribers wait for the next.
    changed: watch::Sender<u64>,
    /// Signal that a verifier has just begun to follow and knows nothing fresh yet.
    beat_wanted: Notify,
    closing: CancellationToken,
    /// Members whose state differs from this node's at an equal revision, and where it did.
    differing: Mutex<BTreeMap<u64, Revision>>,
    /// Holder of a revision that the cluster has lost, and that revision.
    loss: Mutex<Option<(String, Revision)>>,
    reached: Mutex<Reached>,
}

/// Instants at which this node had applied revisions, as far back as it matters.
struct Reached {
    /// Looks at the state, ascending: the first one old enough for no verifier to permit without it.
    looks: VecDeque<(Revision, Monotonic)>,
    matters_for: Duration,
}

impl Reached {
    fn new(matters_for: Duration) -> Self {
        Self {
            looks: VecDeque::new(),
            matters_for,
        }
    }

    fn note(&mut self, revision: Revision, now: Monotonic) {
        if self.looks.back().is_none_or(|(last, _)| *last < revision) {
            self.looks.push_back((revision, now));
        }
        let is_old = |(_, at): &(Revision, Monotonic)| now.since(*at) > self.matters_for;
        while self.looks.get(1).is_some_and(is_old) {
            self.looks.pop_front();
        }
    }

    fn when(&self, revision: Revision) -> Option<Monotonic> {
        let mut looks = self.looks.iter();
        looks
            .find(|(reached, _)| *reached >= revision)
            .map(|(_, at)| *at)
    }
}

/// The answer to a subscriber's hello.
pub(super) struct Opening {
    pub(super) welcome: Bytes,
    pub(super) plan: Plan,
    pub(super) state: Arc<State>,
    pub(super) checkpoint: SignedCheckpoint,
    pub(super) position: Position,
}

impl<W: World> FeedHub<W> {
    /// Starts publishing; ends with `stop`.
    #[must_use]
    pub fn start(
        consensus: Consensus<W>,
        signer: Arc<dyn CheckpointSigner>,
        settings: FeedSettings,
        policies: Policies,
        stop: &CancellationToken,
    ) -> Self {
        let subscribers = Subscribers::new(consensus.world().clone(), &settings);
        let node = consensus.raft().identity().id;
        let frames = FrameLog::new(node, settings.clone(), Arc::clone(&signer));
        let reached = Mutex::new(Reached::new(settings.permits_for()));
        let inner = Inner {
            signer,
            policies,
            seats: Seats::new(&settings),
            unread: Unread::new(&settings),
            consensus,
            settings,
            subscribers,
            frames: Mutex::new(frames),
            changed: watch::Sender::new(0),
            beat_wanted: Notify::new(),
            closing: CancellationToken::new(),
            differing: Mutex::default(),
            loss: Mutex::default(),
            reached,
        };
        let hub = Self {
            inner: Arc::new(inner),
        };
        spawn_until::<W>(stop, hub.clone().publish_changes());
        spawn_until::<W>(stop, hub.clone().beat());
        spawn_until::<W>(stop, hub.clone().ask_again());
        hub
    }

    /// The verifiers of this node, and what each holds.
    #[must_use]
    pub fn subscribers(&self) -> &Subscribers<W> {
        &self.inner.subscribers
    }

    /// Guests of the cluster: those of this node, and those that the other members last reported. They are not counted.
    #[must_use]
    pub fn guests(&self, neighbours: &BTreeMap<u64, Neighbour>) -> u32 {
        let theirs = neighbours.values().map(|neighbour| neighbour.guests);
        let here = u32::try_from(self.inner.subscribers.guests()).unwrap_or(u32::MAX);
        theirs.fold(here, u32::saturating_add)
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

    /// Checks that a caller may follow at all.
    ///
    /// # Errors
    /// It may not; the failure is for the caller.
    pub fn admits(&self, claim: &Arc<dyn Claim>) -> Result<(), Failure> {
        admitted(claim, &self.policy(), self.inner.settings.admits)
    }

    /// Seat of a stream that has not said anything yet.
    ///
    /// # Errors
    /// Its caller may not follow at all. `None` = it may, and there is no seat.
    pub(super) fn seat(&self, claim: &Arc<dyn Claim>) -> Result<Option<Seat>, Failure> {
        let policy = self.policy();
        admitted(claim, &policy, self.inner.settings.admits)?;
        let is_guest = claim
            .identity()
            .is_none_or(|identity| !policy.owns_verifiers(identity));
        Ok(self.inner.seats.take(claim.as_ref(), is_guest))
    }

    /// Standing of a caller under the id that it names.
    pub(super) fn standing(
        &self,
        claim: &Arc<dyn Claim>,
        greeting: &Greeting,
    ) -> Result<Standing, Failure> {
        standing(claim, greeting, &self.policy(), self.inner.settings.admits)
    }

    pub(super) fn unread(&self) -> &Unread {
        &self.inner.unread
    }

    /// Policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<PolicyView> {
        self.inner.policies.of(&self.inner.consensus.state())
    }

    pub(super) fn world(&self) -> &W {
        self.inner.consensus.world()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// The newest checkpoint of this node, and the keys it may be signed with.
    ///
    /// # Errors
    /// See [`NotServing`].
    pub fn checkpoint(&self) -> Result<CheckpointResponse, NotServing> {
        let mut frames = self.frames();
        self.advance(&mut frames)?;
        let state = frames.state()?;
        let (checkpoint, _) = frames.signed(&state)?;
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

    fn frames(&self) -> MutexGuard<'_, FrameLog> {
        self.inner
            .frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes every change of the state: the first at once, and together those that follow while the frame before costs this
    /// node its time. While nobody follows, the heartbeat is often enough: roots and signatures are for those who read them.
    async fn publish_changes(self) {
        let mut published = self.inner.consensus.raft().watch();
        loop {
            let streams = self.inner.changed.receiver_count();
            let earliest_next = Instant::now() + self.inner.settings.spacing(streams);
            // A new follower is counted before it is served, and is served what is applied then.
            if streams > 0 {
                self.publish(None);
            }
            drop(self.look_at_state());
            if published.changed().await.is_err() {
                return;
            }
            // The timer is no finer than that, and would make a lone change wait for longer.
            if earliest_next.saturating_duration_since(Instant::now()) >= TIMER {
                sleep_until(earliest_next).await;
                published.mark_unchanged();
            }
        }
    }

    /// Confirms the quorum once per interval, and soon after a verifier has begun to follow: it is fresh after one
    /// confirmation, not after one interval. Without a quorum no heartbeat is given.
    async fn beat(self) {
        let every = self.inner.settings.heartbeat;
        let mut ticks = interval(every);
        // After a stop of the process there is nothing to catch up: one heartbeat says all.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let earliest_extra = Instant::now() + BEAT_SPACING;
            tokio::select! {
                biased;
                _ = ticks.tick() => {}
                () = self.inner.beat_wanted.notified() => sleep_until(earliest_extra).await,
            }
            let outcome = match self.confirmed(Instant::now() + every).await {
                Ok(confirmation) => {
                    self.publish(Some(confirmation.began));
                    HeartbeatOutcome::Sent
                }
                Err(error) => {
                    tracing::debug!(%error, "gave no heartbeat");
                    HeartbeatOutcome::Unconfirmed
                }
            };
            self.world().measure(Measurement::Heartbeat(outcome));
            self.inner
                .subscribers
                .sweep(&self.policy(), &self.inner.unread);
            self.compare_replicas();
            drop(self.look_at_state());
            let neighbours = self.inner.consensus.neighbours();
            neighbours.forget_departed(self.inner.settings.forget_after);
        }
    }

    /// Asks of every stream whether its caller may still have it: soon after each change of the state, and as time passes.
    async fn ask_again(self) {
        let mut applied = self.inner.consensus.raft().watch();
        let mut ticks = interval(ASK_AGAIN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Ok(has_changed) = applied.has_changed() else {
                return;
            };
            applied.mark_unchanged();
            let now = self.world().wall().seconds();
            let subscribers = &self.inner.subscribers;
            subscribers.ask_again(&self.policy(), now, has_changed);
        }
    }

    async fn confirmed(&self, deadline: Instant) -> Result<Confirmation, ReadError> {
        if is_planted(Plant::HeartbeatWithoutQuorum) {
            return Ok(Confirmation::now(self.world()));
        }
        self.inner.consensus.linearize(deadline).await
    }

    /// Equal revisions must have equal roots, also on two nodes.
    fn compare_replicas(&self) {
        let heard = self.inner.consensus.neighbours().last_heard();
        let statuses = heard.values().map(|neighbour| &neighbour.status);
        let differing = differing(statuses, |revision| match self.published(revision) {
            Published::Root(root, _) => Some(root),
            Published::Forgotten | Published::Never => None,
        });
        let mut known = self
            .inner
            .differing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (id, revision) in differing.iter().filter(|(id, _)| !known.contains_key(*id)) {
            self.world().measure(Measurement::ReplicaAlarm);
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

    /// Records in the audit that a verifier or a member holds another history.
    pub(super) fn alarm(&self, whom: String, revision: Revision) {
        let consensus = &self.inner.consensus;
        let at = consensus.world().wall();
        consensus.audit().alarm_fork(whom, revision.0, at.0);
    }

    pub(super) fn alarm_loss(&self, whom: String, revision: Revision) {
        *self.loss_seen() = Some((whom.clone(), revision));
        let consensus = &self.inner.consensus;
        let at = consensus.world().wall();
        consensus.audit().alarm_loss(whom, revision.0, at.0);
    }

    /// Whoever holds a revision that the cluster has lost, and that revision: the newest that was seen since this process was
    /// started.
    #[must_use]
    pub fn loss(&self) -> Option<(String, Revision)> {
        self.loss_seen().clone()
    }

    fn loss_seen(&self) -> MutexGuard<'_, Option<(String, Revision)>> {
        self.inner
            .loss
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// True when a quorum confirms that no revision as new as this one was acknowledged.
    pub(super) async fn is_ahead_of_quorum(&self, revision: Revision) -> bool {
        let consensus = &self.inner.consensus;
        let confirmed = consensus.linearize(consensus.deadline()).await;
        confirmed.is_ok() && consensus.state().view().revision < revision
    }

    /// Brings the frames up to the applied state, and adds a heartbeat when the quorum was just confirmed.
    ///
    /// INVARIANT: the confirmation is older than the state that is read here, because the caller has waited until
    /// this node had applied the confirmed index.
    fn publish(&self, confirmed: Option<Began>) {
        let mut frames = self.frames();
        let advanced = self.advance(&mut frames);
        // Only after the frames have come up to the state: an older one is not confirmed.
        let outcome = advanced.and_then(|()| confirmed.map_or(Ok(()), |began| frames.beat(began)));
        drop(frames);
        match outcome {
            Ok(()) => self.inner.changed.send_modify(|count| *count += 1),
            // There is nothing yet that anybody could follow.
            Err(NotServing::NotInitialized) => {}
            Err(error) => tracing::warn!(%error, "published nothing"),
        }
    }

    fn advance(&self, frames: &mut FrameLog) -> Result<(), NotServing> {
        let state = self.inner.consensus.state();
        if !state.is_initialized() {
            return Err(NotServing::NotInitialized);
        }
        let followed = self.inner.changed.receiver_count() > 0;
        let before = frames.head();
        let changes = self.changes_between(before, state.view().revision);
        frames.advance(&state, self.world().monotonic(), followed, &changes)?;
        if frames.head() != before {
            self.trace_published(frames.traced(frames.head()).as_deref());
            self.world()
                .measure(Measurement::Published(frames.head().0));
        }
        Ok(())
    }

    /// Changes that are traced, after one revision up to another.
    fn changes_between(&self, after: Revision, upto: Revision) -> Vec<TracedChange> {
        if after >= upto || !self.world().is_tracing() {
            return Vec::new();
        }
        let recent = self.inner.consensus.raft().remembered().recent(0);
        let changes = recent.iter().flat_map(|entry| entry.changes.iter());
        let within = changes.filter(|(_, revision)| *revision > after && *revision <= upto);
        let changes = within.map(|(change, _)| *change);
        changes
            .filter(|change| self.world().is_traced(change))
            .collect()
    }

    fn trace_published(&self, frame: Option<&TracedFrame>) {
        if let Some(frame) = frame {
            self.world().trace(Step {
                stage: Stage::Published {
                    revision: frame.to.0,
                },
                changes: &frame.changes,
                took: frame.made,
            });
        }
    }

    /// Takes note that a verifier has acknowledged a frame, for the traces of its changes.
    pub(super) fn trace_delivered(&self, revision: Revision, verifier: &str) {
        if !self.world().is_tracing() {
            return;
        }
        let Some(frame) = self.frames().traced(revision) else {
            return;
        };
        self.world().trace(Step {
            stage: Stage::Delivered {
                revision: revision.0,
                verifier,
            },
            changes: &frame.changes,
            took: (frame.made.1, Instant::now()),
        });
    }

    /// Answers a hello that was read at `tick`.
    pub(super) fn open(
        &self,
        hello: &Hello,
        standing: Standing,
        tick: Monotonic,
    ) -> Result<Opening, NotServing> {
        let mut frames = self.frames();
        self.advance(&mut frames)?;
        let state = frames.state()?;
        let checkpoint = frames.signed_for(&state, &|id| hello.believes(id))?;
        let position = frames.position();
        drop(frames);
        self.inner.beat_wanted.notify_one();
        // Without the lock: it hashes some hundred entries, and thousands may connect at once.
        let plan = plan(state.view(), state.history(), hello);
        let welcome = self.welcome(&state, &plan, (standing, tick));
        let signed = self.sign_welcome(welcome, hello)?;
        let welcome = encode(Event::Welcome(signed));
        Ok(Opening {
            welcome,
            plan,
            state,
            checkpoint,
            position,
        })
    }

    /// Signs a welcome for the stream of this hello alone.
    fn sign_welcome(&self, welcome: Welcome, hello: &Hello) -> Result<SignedWelcome, NotServing> {
        let signer = &self.inner.signer;
        let bytes = welcome.to_bytes(&hello.nonce);
        let (key_id, signature) = signer.sign(&bytes, &|id| hello.believes(id))?;
        Ok(SignedWelcome {
            welcome,
            key_id,
            signature,
        })
    }

    fn welcome(
        &self,
        state: &State,
        plan: &Plan,
        (standing, tick): (Standing, Monotonic),
    ) -> Welcome {
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
            node: self.inner.consensus.raft().identity().id,
            feed_keys: newest_feed_keys(state),
            counted: standing == Standing::Enrolled,
        }
    }

    /// The next bytes for a live subscriber.
    pub(super) fn next(&self, position: &mut Position) -> Next {
        self.frames().next(position)
    }

    /// Beginning of the newest confirmation that anything rests on which this node has given.
    pub(super) fn newest_confirmation(&self) -> Option<Monotonic> {
        self.frames().confirmed()
    }

    /// Instant at which this node had applied a revision, or a later one. `None` = it has not.
    pub(crate) fn reached(&self, revision: Revision) -> Option<Monotonic> {
        self.look_at_state().when(revision)
    }

    fn look_at_state(&self) -> MutexGuard<'_, Reached> {
        let reached = self.inner.reached.lock();
        let mut reached = reached.unwrap_or_else(PoisonError::into_inner);
        let revision = self.inner.consensus.state().view().revision;
        reached.note(revision, self.world().monotonic());
        reached
    }

    /// Publication of a revision by this node.
    pub(super) fn published(&self, revision: Revision) -> Published {
        self.frames().published(revision)
    }

    /// Newest published revision.
    #[must_use]
    pub fn head(&self) -> Revision {
        self.frames().head()
    }

    /// Time for which verifiers may rely on a checkpoint.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        self.inner.settings.fresh_for
    }
}

/// Newest feed keys, which are those that any node still signs with: one that signs, one that will, and some that did.
fn newest_feed_keys(state: &State) -> BTreeMap<u32, [u8; 32]> {
    let keys = state.view().feed_keys();
    let old = keys.len().saturating_sub(FEED_KEYS_MAX);
    keys.into_iter().skip(old).collect()
}

/// Nodes that hold another state than this one at a revision that this one has published.
fn differing<'a>(
    statuses: impl Iterator<Item = &'a NodeStatus>,
    published: impl Fn(Revision) -> Option<Hash>,
) -> BTreeMap<u64, Revision> {
    let differs = |status: &&NodeStatus| {
        let own = published(Revision(status.revision));
        own.is_some_and(|root| status.state_root != root)
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
        let published = |revision| (revision == Revision(7)).then_some([1; 32]);
        let named = differing(statuses.iter(), published);
        assert_eq!(named, BTreeMap::from([(3, Revision(7))]));
    }
}
