//! Follower, the verifier's half of the protocol: applies every revision in order or knows that it has not, never goes
//! backwards, and knows the age of its knowledge.
//!
//! ```text
//! Connected ─ hello ─► Welcome ─► [SnapshotChunk… SnapshotEnd] ─► Delta, Heartbeat, Delta, …
//! ```
//! A message that does not fit (a hole, a root that differs, a false signature, a message out of turn) changes nothing:
//! the follower reports it and asks for another stream. Its knowledge stays, and ages.
//!
//! Freshness needs no shared clock. The hello was sent at `h` on our monotonic clock; the welcome names the node's
//! tick `t0` when it read the hello, which is not before `h`. A checkpoint of tick `t` therefore states knowledge as
//! of `h + (t - t0)` or later, on our clock. A delayed message cannot look fresher than it is. The welcome is signed
//! for the nonce of this stream's hello, so a carrier cannot bring an older tick either.
//!
//! It does not connect, wait, verify signatures or write files: the driver does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::publisher::{Hello, Nonce};
use crate::{Checkpoint, Epoch, Hash, Monotonic, Revision, RevocationSet, SignedCheckpoint, View};

mod believing;
mod delta;
mod loading;
mod messages;
mod trouble;

pub use believing::VerifySignature;
use believing::{Trust, check_roots};
use delta::Entries;
use loading::Loading;
pub use loading::SNAPSHOT_BYTES_MAX;
pub use messages::{Action, Alarm, Event, Freshness, Mode, SignedWelcome, Welcome};
pub use trouble::RETRY_AFTER_MAX;
use trouble::{Trouble, fork_at};

/// Delay after the first failure; doubled by each further one. Origin: two hundred milliseconds of jitter spread the
/// verifiers of a node that died over the others, and are nothing beside a freshness of 5 s.
pub const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(200);
/// Longest delay between attempts. Origin: below the five seconds within which the verifiers of a healed cluster are to
/// be fresh again.
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(4);

/// Verifier's half of the protocol. Drive it with events; do the actions that it returns.
///
/// After each event ask [`Self::freshness`] again: a heartbeat moves it without changing the view.
#[derive(Debug)]
pub struct Follower<V> {
    verify: V,
    pinned: BTreeMap<u32, [u8; 32]>,
    view: Option<View>,
    checkpoint: Option<(Checkpoint, SignedCheckpoint)>,
    freshness: Freshness,
    stage: Stage,
    /// Number of streams since the last fresh checkpoint that ended in trouble.
    failures: u32,
    /// Revision through which the feed has a part that is not understood here: below it nothing is fresh.
    needs_upgrade: Option<(Epoch, Revision)>,
    /// The last snapshot on top of our buckets came out wrong: take a whole one.
    whole_snapshot: bool,
}

/// Progress of the current stream.
#[derive(Debug)]
enum Stage {
    /// No stream, or one that we asked to close: messages that still arrive are left over.
    Closed,
    Greeting {
        hello_sent: Monotonic,
        nonce: Nonce,
    },
    Loading(Stream, Box<Loading>),
    Following(Stream),
}

/// Part of the greeting that is needed later.
#[derive(Clone, Debug)]
struct Stream {
    /// `None` = a stored feed: no age comes of it.
    hello_sent: Option<Monotonic>,
    welcome: Welcome,
}

impl<V: VerifySignature> Follower<V> {
    /// Follower without knowledge. `pinned`: feed keys to trust; empty = those of the welcome that brings the first
    /// snapshot (over authenticated TLS only).
    pub fn new(verify: V, pinned: BTreeMap<u32, [u8; 32]>) -> Self {
        Self {
            verify,
            pinned,
            view: None,
            checkpoint: None,
            freshness: Freshness::default(),
            stage: Stage::Closed,
            failures: 0,
            needs_upgrade: None,
            whole_snapshot: false,
        }
    }

    /// Continues from a stored view; its position is the high-water mark below which it never goes.
    ///
    /// Its age is unknown until the first fresh checkpoint, whatever its file says: this process has no clock that
    /// was running when the view was made.
    pub fn resume(verify: V, pinned: BTreeMap<u32, [u8; 32]>, view: View) -> Self {
        Self {
            view: Some(view),
            ..Self::new(verify, pinned)
        }
    }

    /// Handles one event. Any event is allowed at any time: one that does not fit ends the stream, never the process.
    pub fn handle(&mut self, event: Event, now: Monotonic) -> Vec<Action> {
        match self.step(event, now) {
            Ok(actions) => actions,
            Err(trouble) => self.give_up(trouble),
        }
    }

    /// Current knowledge; `None` before the first snapshot.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Age of the knowledge.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Last verified checkpoint that was about our own view.
    pub fn checkpoint(&self) -> Option<&(Checkpoint, SignedCheckpoint)> {
        self.checkpoint.as_ref()
    }

    fn trust(&self) -> Trust<'_, V> {
        Trust {
            verify: &self.verify,
            pinned: &self.pinned,
            view: self.view.as_ref(),
        }
    }

    fn step(&mut self, event: Event, now: Monotonic) -> Result<Vec<Action>, Trouble> {
        match (std::mem::replace(&mut self.stage, Stage::Closed), event) {
            (_, Event::Connected { nonce }) => Ok(self.greet(nonce, now)),
            (_, Event::Stored(welcome)) => self.begin(Stream {
                hello_sent: None,
                welcome,
            }),
            (_, Event::Disconnected) => Err(Trouble::ELSEWHERE),
            (Stage::Closed, _) => Ok(Vec::new()),
            (
                _,
                Event::Reset {
                    reason,
                    retry_after,
                },
            ) => Err(Trouble::of_reset(reason, retry_after, self.view.as_ref())),
            (Stage::Greeting { hello_sent, nonce }, Event::Welcome(signed)) => {
                self.is_of_our_feed(&signed.welcome)?;
                let welcome = self.trust().believe_welcome(&nonce, signed)?;
                self.begin(Stream {
                    hello_sent: Some(hello_sent),
                    welcome,
                })
            }
            (
                Stage::Loading(stream, mut loading),
                Event::SnapshotChunk {
                    buckets,
                    rules,
                    keys,
                },
            ) => {
                loading.add(&buckets, &rules, &keys)?;
                self.stage = Stage::Loading(stream, loading);
                Ok(Vec::new())
            }
            (
                Stage::Loading(stream, loading),
                Event::SnapshotEnd {
                    checkpoint,
                    frontier,
                    policy_digest,
                },
            ) => {
                let parts = SnapshotParts {
                    loading: *loading,
                    frontier,
                    policy_digest,
                };
                self.snapshot(stream, parts, checkpoint, now)
            }
            (
                Stage::Following(stream),
                Event::Delta {
                    from,
                    to,
                    entries,
                    checkpoint,
                },
            ) => self.delta(
                stream,
                &Entries {
                    from,
                    to,
                    bytes: &entries,
                },
                checkpoint,
                now,
            ),
            (Stage::Following(stream), Event::Heartbeat(checkpoint)) => {
                self.heartbeat(stream, checkpoint, now)
            }
            _ => Err(Trouble::ELSEWHERE),
        }
    }

    fn greet(&mut self, nonce: Nonce, now: Monotonic) -> Vec<Action> {
        self.stage = Stage::Greeting {
            hello_sent: now,
            nonce,
        };
        let view = self.view.as_ref();
        let bucket_roots = view
            .filter(|_| !self.whole_snapshot)
            .map(|view| view.set.bucket_roots());
        vec![Action::SendHello(Hello {
            nonce,
            feed_id: view.map(|view| view.feed_id),
            epoch: view.map_or(Epoch(0), |view| view.epoch),
            from: view.map_or(Revision(0), |view| view.revision),
            log_root: view.map_or([0; 32], View::log_root),
            bucket_roots: bucket_roots.unwrap_or_default(),
            feed_keys: self.trust().believed_keys(),
        })]
    }

    fn is_of_our_feed(&self, welcome: &Welcome) -> Result<(), Trouble> {
        match &self.view {
            Some(view) if view.feed_id != welcome.feed_id => {
                Err(Trouble::Alarm(Alarm::OtherFeed {
                    expected: view.feed_id,
                    got: welcome.feed_id,
                }))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, stream: Stream) -> Result<Vec<Action>, Trouble> {
        let welcome = &stream.welcome;
        self.is_of_our_feed(welcome)?;
        if let Some(view) = &self.view
            && (*view.set.salt() != welcome.salt || welcome.epoch < view.epoch)
        {
            return Err(Trouble::ELSEWHERE);
        }
        let same_epoch = self
            .view
            .as_ref()
            .filter(|view| view.epoch == welcome.epoch);
        self.stage = match (welcome.mode, same_epoch) {
            (Mode::Deltas, Some(_)) => Stage::Following(stream),
            (Mode::Buckets, Some(view)) => {
                Stage::Loading(stream, Box::new(Loading::on_top_of(view.set.clone())))
            }
            (Mode::Snapshot, _) => {
                let set = RevocationSet::new(welcome.salt);
                Stage::Loading(stream, Box::new(Loading::on_top_of(set)))
            }
            (Mode::Deltas | Mode::Buckets, None) => return Err(Trouble::ELSEWHERE),
        };
        Ok(Vec::new())
    }

    fn snapshot(
        &mut self,
        stream: Stream,
        parts: SnapshotParts,
        signed: SignedCheckpoint,
        now: Monotonic,
    ) -> Result<Vec<Action>, Trouble> {
        let checkpoint = self.trust().believe(&stream.welcome, &signed)?;
        self.trust().refuse_the_past(&checkpoint)?;
        // If anything goes wrong from here on, the next attempt must not build upon our own buckets again.
        self.whole_snapshot = true;
        let SnapshotParts {
            loading,
            frontier,
            policy_digest,
        } = parts;
        let (set, keys) = loading.finish();
        let view = View::from_snapshot(&checkpoint, set, keys, policy_digest, frontier)
            .map_err(|_| fork_at(checkpoint.revision))?;
        self.whole_snapshot = false;
        if self
            .view
            .as_ref()
            .is_some_and(|before| before.epoch != view.epoch)
        {
            // A confirmation of another history says nothing about this one.
            self.freshness.as_of = None;
        }
        Ok(self.accept(stream, view, checkpoint, signed, now))
    }

    fn delta(
        &mut self,
        stream: Stream,
        entries: &Entries<'_>,
        signed: SignedCheckpoint,
        now: Monotonic,
    ) -> Result<Vec<Action>, Trouble> {
        let view = self.view.as_ref().ok_or(Trouble::ELSEWHERE)?;
        entries.check_range(view)?;
        let checkpoint = self.trust().believe(&stream.welcome, &signed)?;
        if checkpoint.epoch != view.epoch {
            return Err(Trouble::RESUME);
        }
        let view = match entries.apply_to(view, &checkpoint) {
            Err(trouble @ Trouble::Alarm(Alarm::Upgrade { .. } | Alarm::Unreadable { .. })) => {
                self.needs_upgrade = Some((checkpoint.epoch, checkpoint.revision));
                return Err(trouble);
            }
            applied => applied?,
        };
        Ok(self.accept(stream, view, checkpoint, signed, now))
    }

    fn heartbeat(
        &mut self,
        stream: Stream,
        signed: SignedCheckpoint,
        now: Monotonic,
    ) -> Result<Vec<Action>, Trouble> {
        let view = self.view.as_ref().ok_or(Trouble::ELSEWHERE)?;
        let checkpoint = self.trust().believe(&stream.welcome, &signed)?;
        if (checkpoint.epoch, checkpoint.revision) != (view.epoch, view.revision) {
            return Err(Trouble::RESUME);
        }
        let ack = check_roots(view, &checkpoint)?;
        let age = stream.age(&checkpoint, now);
        let fresh_for = Duration::from_millis(checkpoint.fresh_for_ms.into());
        self.confirm(&stream, checkpoint, signed, now);
        if age.is_none_or(|age| age > fresh_for) {
            // The node has not heard from its quorum for too long, or the path to it delays: another may do better.
            return Err(Trouble::ELSEWHERE);
        }
        self.stage = Stage::Following(stream);
        Ok(vec![ack])
    }

    /// Changes the view; nothing else does. Publishing comes before the ack, which says that checks see it.
    fn accept(
        &mut self,
        stream: Stream,
        view: View,
        checkpoint: Checkpoint,
        signed: SignedCheckpoint,
        now: Monotonic,
    ) -> Vec<Action> {
        let ack = Action::SendAck {
            revision: view.revision,
            state_root: checkpoint.state_root,
        };
        let mut actions = vec![Action::Publish, ack, Action::Persist];
        actions.extend(self.newly_unknown(&view));
        self.view = Some(view);
        self.confirm(&stream, checkpoint, signed, now);
        self.stage = Stage::Following(stream);
        actions
    }

    /// Reports a rule of a newer cluster, which denies everything from now on, so that the operator knows why.
    fn newly_unknown(&self, view: &View) -> Option<Action> {
        let before = self.view.as_ref().and_then(|view| view.set.unknown_rule());
        let unknown = view.set.unknown_rule().filter(|_| before.is_none())?;
        Some(Action::Alarm(Alarm::Upgrade {
            variant: unknown.kind.number(),
        }))
    }

    /// Takes the freshness of a verified checkpoint about our own view.
    fn confirm(
        &mut self,
        stream: &Stream,
        checkpoint: Checkpoint,
        signed: SignedCheckpoint,
        now: Monotonic,
    ) {
        let position = (checkpoint.epoch, checkpoint.revision);
        self.needs_upgrade = self.needs_upgrade.filter(|until| position < *until);
        self.freshness.fresh_for = Duration::from_millis(checkpoint.fresh_for_ms.into());
        if self.needs_upgrade.is_none() {
            // `None` sorts first, so a checkpoint that says nothing about age takes nothing away.
            self.freshness.as_of = self.freshness.as_of.max(stream.as_of(&checkpoint, now));
        }
        if self
            .freshness
            .age(now)
            .is_some_and(|age| age <= self.freshness.fresh_for)
        {
            self.failures = 0;
        }
        self.checkpoint = Some((checkpoint, signed));
    }

    fn give_up(&mut self, trouble: Trouble) -> Vec<Action> {
        self.stage = Stage::Closed;
        let doubled = RECONNECT_DELAY_MIN.saturating_mul(2u32.saturating_pow(self.failures));
        let backoff = doubled.min(RECONNECT_DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        match trouble {
            Trouble::Again { elsewhere, after } => vec![Action::Reconnect {
                after: after.max(backoff),
                elsewhere,
            }],
            Trouble::Alarm(alarm) => {
                if matches!(alarm, Alarm::Upgrade { .. } | Alarm::Unreadable { .. }) {
                    // A change that is not understood may be a denial of anything: nothing more is permitted.
                    self.freshness.as_of = None;
                }
                vec![
                    Action::Alarm(alarm),
                    Action::Reconnect {
                        after: backoff,
                        elsewhere: true,
                    },
                ]
            }
        }
    }
}

impl Stream {
    /// Instant on our clock as of which a checkpoint speaks; never in the future. `None` when [`Self::age`] is, and when
    /// our clock was not running then.
    fn as_of(&self, checkpoint: &Checkpoint, now: Monotonic) -> Option<Monotonic> {
        let age = self.age(checkpoint, now)?.as_millis();
        let instant = u128::from(now.0).checked_sub(age)?;
        u64::try_from(instant).ok().map(Monotonic)
    }

    /// Age of what a checkpoint states. `None` when it was made by another node than the one that greeted us, whose tick is
    /// on a clock that we cannot relate to ours, and when nobody greeted us.
    fn age(&self, checkpoint: &Checkpoint, now: Monotonic) -> Option<Duration> {
        let hello_sent = self.hello_sent?;
        let since_welcome = i128::from(checkpoint.tick_ms) - i128::from(self.welcome.tick_ms);
        let age = i128::from(now.0) - i128::from(hello_sent.0) - since_welcome;
        let age = u64::try_from(age.max(0)).unwrap_or(u64::MAX);
        (checkpoint.node == self.welcome.node).then_some(Duration::from_millis(age))
    }
}

/// Parts of a snapshot, beside its checkpoint.
struct SnapshotParts {
    loading: Loading,
    frontier: Vec<Hash>,
    policy_digest: Hash,
}
