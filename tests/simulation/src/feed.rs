//! The feed between a simulated node and its verifiers: the real publisher and history, messages instead of bytes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_revocation::follower::{Mode, Welcome};
use hessra_revocation::publisher::{Frame, Hello, Plan, Step, plan};
use hessra_revocation::{
    Checkpoint, Event, Hash, KeyPurpose, Monotonic, Publisher, Revision, SignedCheckpoint,
};
use hessra_revocation::{UnixMillis, VerifySignature};
use hessra_state::State;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, mpsc, watch};

use crate::plant::Plant;

/// As in the product's default settings, five times faster.
pub const HEARTBEAT: Duration = Duration::from_millis(200);
/// How long a checkpoint makes fresh.
pub const FRESH_FOR: Duration = Duration::from_secs(1);
/// Few, so that slow verifiers fall off the ring and are caught up from history.
const FRAMES_MAX: usize = 8;
const BYTES_MAX: usize = 1 << 20;

/// Message and signature are what matters here, not the curve: a signature is two digests that only this check accepts.
#[derive(Clone, Copy, Debug)]
pub struct Signatures;

impl Signatures {
    /// "Signs" with the public key.
    pub fn sign(public_key: &[u8; 32], message: &[u8]) -> [u8; 64] {
        let first: Hash = Sha256::new()
            .chain_update(public_key)
            .chain_update(message)
            .finalize()
            .into();
        let second: Hash = Sha256::digest(first).into();
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&first);
        signature[32..].copy_from_slice(&second);
        signature
    }
}

impl VerifySignature for Signatures {
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        Self::sign(public_key, message) == *signature
    }
}

/// The instant at which a node began its last quorum confirmation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Confirmed {
    /// On its monotonic clock.
    pub tick: Monotonic,
    /// On its wall clock.
    pub at: UnixMillis,
}

/// What one life of a node serves its verifiers from.
pub struct Hub {
    node: u64,
    publisher: Mutex<Publisher<Arc<Event>>>,
    confirmed: Mutex<Confirmed>,
    /// Wakes in the order of waiting; a watch channel would wake in an order that the seed does not decide.
    changed: Notify,
}

impl Hub {
    /// Serves from `state` on; nothing is confirmed yet.
    pub fn new(node: u64, state: &State) -> Self {
        Self {
            node,
            publisher: Mutex::new(Publisher::new(state.view().revision, FRAMES_MAX, BYTES_MAX)),
            confirmed: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Publishes what `state` has beyond the last frame, as one delta.
    pub fn publish(&self, state: &State) {
        let mut publisher = self.publisher.lock().expect("one thread");
        let head = publisher.head();
        let to = state.view().revision;
        if to <= head {
            return;
        }
        match self.delta(state, head.next()) {
            Some(delta) => {
                let frame = Frame {
                    from: head.next(),
                    to,
                    bytes: Arc::new(delta),
                    size: 1,
                };
                assert!(
                    publisher.push(frame).is_ok(),
                    "a frame begins after the head"
                );
            }
            // A snapshot was installed over more than is retained: every subscriber starts anew.
            None => *publisher = Publisher::new(to, FRAMES_MAX, BYTES_MAX),
        }
        drop(publisher);
        self.wake();
    }

    /// A heartbeat: everything through `state`, as of `confirmed`.
    pub fn beat(&self, state: &State, confirmed: Confirmed) {
        *self.confirmed.lock().expect("one thread") = confirmed;
        self.publish(state);
        let Some(checkpoint) = self.checkpoint(state) else {
            return;
        };
        let beat = Arc::new(Event::Heartbeat(checkpoint));
        self.publisher
            .lock()
            .expect("one thread")
            .heartbeat(state.view().revision, beat);
        self.wake();
    }

    fn wake(&self) {
        self.changed.notify_waiters();
    }

    fn checkpoint(&self, state: &State) -> Option<SignedCheckpoint> {
        let confirmed = *self.confirmed.lock().expect("one thread");
        let fresh_for = u32::try_from(FRESH_FOR.as_millis()).expect("a second fits");
        let view = state.view();
        let floor = state.history().floor();
        let body = Checkpoint::of(
            view,
            floor,
            confirmed.at,
            confirmed.tick.0,
            fresh_for,
            self.node,
        )
        .to_bytes();
        let key = view
            .keys
            .values()
            .find(|key| key.purpose == KeyPurpose::Feed)?;
        let signature = Signatures::sign(&key.public_key, &body);
        Some(SignedCheckpoint {
            body,
            key_id: key.id,
            signature,
        })
    }

    fn delta(&self, state: &State, from: Revision) -> Option<Event> {
        let entries = state.history().entries_from(from, usize::MAX)?;
        Some(Event::Delta {
            from,
            to: state.view().revision,
            entries: entries.into_iter().map(<[u8]>::to_vec).collect(),
            checkpoint: self.checkpoint(state)?,
        })
    }

    /// Serves one verifier until it goes away or has to start anew.
    pub async fn serve(
        self: Arc<Self>,
        hello: Hello,
        tick: Monotonic,
        state: watch::Receiver<Arc<hessra_sled::Published>>,
        down: mpsc::Sender<Event>,
        planted: Option<Plant>,
    ) {
        let now = state.borrow().state.clone();
        // The cursor begins where the published frames end, so that no frame begins below it.
        self.publish(&now);
        let plan = plan(now.view(), now.history(), &hello);
        let Some(opening) = self.opening(&now, &hello, &plan, tick, planted) else {
            return;
        };
        for event in opening {
            if down.send(event).await.is_err() {
                return;
            }
        }
        let mut cursor = self
            .publisher
            .lock()
            .expect("one thread")
            .cursor(now.view().revision);
        loop {
            // Hears of what is published from here on, also before it waits.
            let changed = self.changed.notified();
            let step = self.publisher.lock().expect("one thread").next(&mut cursor);
            let event = match step {
                Step::Send(event) => event.as_ref().clone(),
                Step::CatchUp { from } => {
                    let now = state.borrow().state.clone();
                    let Some(delta) = self.delta(&now, from) else {
                        return;
                    };
                    cursor.sent = now.view().revision;
                    delta
                }
                Step::Idle => {
                    changed.await;
                    continue;
                }
            };
            if down.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Welcome and what follows it at once.
    fn opening(
        &self,
        state: &State,
        hello: &Hello,
        plan: &Plan,
        tick: Monotonic,
        planted: Option<Plant>,
    ) -> Option<Vec<Event>> {
        let view = state.view();
        let buckets: Vec<u8> = match plan {
            Plan::Refuse(reason) => {
                return Some(vec![Event::Reset {
                    reason: *reason,
                    retry_after: Duration::from_millis(100),
                }]);
            }
            Plan::Deltas => Vec::new(),
            Plan::Snapshot => (0..=u8::MAX).collect(),
            Plan::Buckets(differing) => differing.clone(),
        };
        let mode = match plan {
            Plan::Deltas => Mode::Deltas,
            Plan::Buckets(_) => Mode::Buckets,
            _ => Mode::Snapshot,
        };
        let feed_keys = view
            .keys
            .values()
            .filter(|key| key.purpose == KeyPurpose::Feed);
        let mut opening = vec![Event::Welcome(Welcome {
            feed_id: view.feed_id,
            salt: *view.set.salt(),
            epoch: view.epoch,
            head: view.revision,
            floor: state.history().floor(),
            mode,
            tick_ms: tick.0,
            node: self.node,
            feed_keys: feed_keys.map(|key| (key.id, key.public_key)).collect(),
        })];
        if mode == Mode::Deltas {
            let late = u64::from(planted == Some(Plant::PublisherOffByOne) && hello.from.0 > 0);
            let from = Revision(hello.from.0 + 1 + late);
            if from <= view.revision {
                opening.push(self.delta(state, from)?);
            }
            return Some(opening);
        }
        let rules = buckets
            .iter()
            .flat_map(|bucket| view.set.bucket(*bucket))
            .collect();
        opening.push(Event::SnapshotChunk {
            buckets,
            rules,
            keys: view.keys_bytes(),
        });
        opening.push(Event::SnapshotEnd {
            checkpoint: self.checkpoint(state)?,
            frontier: view.log.peaks().to_vec(),
            policy_digest: view.policy_digest,
        });
        Some(opening)
    }
}
