//! A verifier: the real follower, driven over a stream that breaks, by a process that restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_revocation::{Action, Event, Follower, Revision, View};
use rand::Rng;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::feed::{FRESH_FOR, Signatures};
use crate::plant::Plant;
use crate::runtime::{Process, random};
use crate::world::Shared;

/// Messages a stream holds before the node has to wait.
const STREAM_CAPACITY: usize = 4;
/// A stream without a word for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// What a verifier is from one life to the next.
pub struct Verifier {
    /// From 1000 on.
    pub id: u64,
    clock: Clock,
    shared: Arc<Shared>,
    /// What it has written to its own disk.
    stored: Mutex<Option<View>>,
    /// The oracle's note of how far it ever came.
    reached: Mutex<Option<(hessra_revocation::Epoch, Revision)>>,
    process: Mutex<Option<Process>>,
    fresh: Mutex<bool>,
    slow: Mutex<bool>,
}

impl Verifier {
    /// Knows nothing, not started.
    pub fn new(id: u64, shared: Arc<Shared>) -> Self {
        Self {
            id,
            clock: Clock::random(shared.beginning),
            shared,
            stored: Mutex::default(),
            reached: Mutex::default(),
            process: Mutex::default(),
            fresh: Mutex::default(),
            slow: Mutex::default(),
        }
    }

    /// Starts a life from what was stored.
    pub fn start(self: &Arc<Self>) {
        let process = Process::start();
        *self.process.lock().expect("one thread") = Some(process);
        process.spawn(self.clone().live());
    }

    /// Ends the life. What was stored stays.
    pub async fn crash(&self) {
        let process = self.process.lock().expect("one thread").take();
        if let Some(process) = process {
            process.crash().await;
        }
        *self.fresh.lock().expect("one thread") = false;
    }

    /// Reads slowly from now on, or at full speed again.
    pub fn dawdle(&self, slow: bool) {
        *self.slow.lock().expect("one thread") = slow;
    }

    /// Would it permit anything now?
    pub fn is_fresh(&self) -> bool {
        *self.fresh.lock().expect("one thread")
    }

    async fn live(self: Arc<Self>) {
        let pinned = BTreeMap::new();
        let stored = self.stored.lock().expect("one thread").clone();
        let stored =
            stored.filter(|_| self.shared.options.plant != Some(Plant::HighWaterForgotten));
        let mut follower = match stored {
            Some(view) => Follower::resume(Signatures, pinned, view),
            None => Follower::new(Signatures, pinned),
        };
        // What was published and not yet stored is forgotten by right; what was stored is not.
        let kept = self
            .stored
            .lock()
            .expect("one thread")
            .as_ref()
            .map(|view| (view.epoch, view.revision));
        *self.reached.lock().expect("one thread") = kept;
        loop {
            let pause = self.follow(&mut follower).await;
            let jitter = Duration::from_millis(random().gen_range(0..100));
            tokio::time::sleep(pause.min(Duration::from_millis(500)) + jitter).await;
        }
    }

    /// One stream to some node, to its end. Returns the pause before the next.
    async fn follow(&self, follower: &mut Follower<Signatures>) -> Duration {
        const PAUSE: Duration = Duration::from_millis(100);
        let node = self.shared.any_node();
        let Some(life) = node.life() else {
            return PAUSE;
        };
        let mut hello = None;
        for action in follower.handle(Event::Connected, self.clock.monotonic()) {
            if let Action::SendHello(said) = action {
                hello = Some(said);
            }
        }
        let Some(hello) = hello else { return PAUSE };
        let greeted =
            tokio::time::timeout(SILENCE_MAX, self.shared.network.cross(self.id, node.id)).await;
        if greeted.is_err() || node.life().is_none() {
            return self.lose(follower);
        }
        let (down, mut stream) = mpsc::channel(STREAM_CAPACITY);
        let tick = node.clock.monotonic();
        let planted = self.shared.options.plant;
        life.spawn(
            life.hub
                .clone()
                .serve(hello, tick, life.published.clone(), down, planted),
        );
        loop {
            let event = tokio::time::timeout(SILENCE_MAX, async {
                let event = stream.recv().await?;
                self.shared.network.cross(node.id, self.id).await;
                Some(event)
            });
            let Ok(Some(event)) = event.await else {
                return self.lose(follower);
            };
            if *self.slow.lock().expect("one thread") {
                tokio::time::sleep(Duration::from_millis(random().gen_range(50..700))).await;
            }
            let kind = kind_of(&event);
            let actions = follower.handle(event, self.clock.monotonic());
            self.shared.trace(|| {
                format!(
                    "verifier {} {kind} from node {}: {} actions",
                    self.id,
                    node.id,
                    actions.len()
                )
            });
            if let Some(pause) = self.act(follower, actions) {
                return pause;
            }
        }
    }

    fn lose(&self, follower: &mut Follower<Signatures>) -> Duration {
        let actions = follower.handle(Event::Disconnected, self.clock.monotonic());
        self.act(follower, actions)
            .unwrap_or(Duration::from_millis(100))
    }

    /// Does what the follower says. `Some` when the stream is to be closed.
    fn act(&self, follower: &Follower<Signatures>, actions: Vec<Action>) -> Option<Duration> {
        let mut pause = None;
        for action in actions {
            match action {
                Action::Publish => self.publish(follower),
                Action::Persist => {
                    *self.stored.lock().expect("one thread") = follower.view().cloned()
                }
                Action::Reconnect { after, .. } => pause = Some(after),
                Action::Alarm(alarm) => {
                    self.shared.oracle.expect(false, || {
                        format!("R4: verifier {} raised: {alarm}", self.id)
                    });
                }
                Action::SendHello(_) | Action::SendAck { .. } => {}
            }
        }
        self.claim(follower);
        pause
    }

    fn publish(&self, follower: &Follower<Signatures>) {
        let Some(view) = follower.view() else { return };
        let mut reached = self.reached.lock().expect("one thread");
        self.shared
            .oracle
            .verifier_published(self.id, *reached, view);
        *reached = Some((view.epoch, view.revision));
        self.shared
            .trace(|| format!("verifier {} at {}", self.id, view.revision));
    }

    /// Tells the oracle how fresh this verifier believes to be.
    fn claim(&self, follower: &Follower<Signatures>) {
        let now = self.clock.monotonic();
        let freshness = follower.freshness();
        let fresh = freshness.age(now).is_some_and(|age| age <= FRESH_FOR);
        *self.fresh.lock().expect("one thread") = fresh;
        if let (true, Some(as_of), Some(view)) = (fresh, freshness.as_of, follower.view()) {
            let who = format!("verifier {}", self.id);
            self.shared
                .oracle
                .freshness_was_claimed(&who, view.revision, self.clock.truly(as_of));
        }
    }
}

fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::Welcome(_) => "welcome",
        Event::SnapshotChunk { .. } => "snapshot chunk",
        Event::SnapshotEnd { .. } => "snapshot end",
        Event::Delta { .. } => "delta",
        Event::Heartbeat(_) => "heartbeat",
        Event::Reset { .. } => "reset",
        _ => "other",
    }
}
