//! A verifier: the follower that ships, driven over a stream that breaks, by a process that restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_proto::convert::process_capability;
use hessra_proto::{Acknowledgement, Greeting, VerifierId, VerifierMessage};
use hessra_revocation::follower::Mode;
use hessra_revocation::publisher::Nonce;
use hessra_revocation::{Action, Checkpoint, Event, Follower, Revision, View};
use rand::Rng;
use tokio::sync::mpsc;

use crate::Plant;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::node::{self, FRESH_FOR, Stream};
use crate::people::Shown;
use crate::people::VERIFIER;
use crate::runtime::{Process, random};
use crate::signatures::Signatures;

/// Time without a word after which a stream is given up.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Parts of a verifier that outlive its process.
pub struct SimVerifier {
    /// Id, from 1000 on.
    pub id: u64,
    name: VerifierId,
    clock: Clock,
    cluster: Arc<Cluster>,
    /// View that it has written to its own disk.
    stored: Mutex<Option<View>>,
    /// The oracle's note of how far it ever came.
    reached: Mutex<Option<(hessra_revocation::Epoch, Revision)>>,
    process: Mutex<Option<Process>>,
    fresh: Mutex<bool>,
    slow: Mutex<bool>,
}

/// One stream, and what came over it so far.
struct Following {
    node: u64,
    said: mpsc::Sender<VerifierMessage>,
    /// The newest revision that was sent on this stream; `None` before the first.
    sent: Option<Revision>,
}

impl SimVerifier {
    /// Verifier that knows nothing, not started.
    pub fn new(id: u64, cluster: Arc<Cluster>) -> Self {
        Self::named(id, id, cluster)
    }

    /// Verifier with the name of the one with id `name`: another replica of its service.
    pub fn named(id: u64, name: u64, cluster: Arc<Cluster>) -> Self {
        Self {
            id,
            name: VerifierId::parse(&format!("v{name}")).expect("a letter and digits"),
            clock: Clock::random(cluster.journal().beginning),
            cluster,
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
        self.clock.restart();
        *self.process.lock().expect("one thread") = Some(process);
        process.spawn(self.clone().live(process));
    }

    /// Ends the life. What was stored stays.
    pub async fn crash(&self) {
        let process = self.process.lock().expect("one thread").take();
        if let Some(process) = process {
            process.crash().await;
        }
        self.cluster.oracle().verifier_permits(self.id, None);
        *self.fresh.lock().expect("one thread") = false;
    }

    /// Reads slowly from now on, or at full speed again.
    pub fn dawdle(&self, slow: bool) {
        *self.slow.lock().expect("one thread") = slow;
    }

    /// True when it would permit anything now.
    pub fn is_fresh(&self) -> bool {
        *self.fresh.lock().expect("one thread")
    }

    async fn live(self: Arc<Self>, process: Process) {
        let pinned = BTreeMap::new();
        let stored = self.stored.lock().expect("one thread").clone();
        let stored = stored
            .filter(|_| self.cluster.journal().options.plant != Some(Plant::HighWaterForgotten));
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
            let pause = self.follow(&mut follower, process).await;
            let jitter = Duration::from_millis(random().gen_range(0..100));
            tokio::time::sleep(pause.min(Duration::from_millis(500)) + jitter).await;
        }
    }

    /// Follows one stream to some node, to its end. Returns the pause before the next.
    async fn follow(&self, follower: &mut Follower<Signatures>, process: Process) -> Duration {
        const PAUSE: Duration = Duration::from_millis(100);
        let node = self.cluster.any_node();
        if node.life().is_none() {
            return PAUSE;
        }
        let mut hello = None;
        let nonce = Nonce(random().r#gen());
        for action in follower.handle(Event::Connected { nonce }, self.clock.monotonic()) {
            if let Action::SendHello(said) = action {
                hello = Some(said);
            }
        }
        let Some(hello) = hello else { return PAUSE };
        let crossing = self.cluster.network().deliver(self.id, node.id);
        let greeted = tokio::time::timeout(SILENCE_MAX, crossing).await;
        let (Ok(()), Some(life)) = (greeted, node.life()) else {
            return self.lose(follower);
        };
        let greeting = Greeting {
            hello,
            verifier_id: self.name.clone(),
            capabilities: vec![process_capability(u128::from(process.0).to_be_bytes())],
            client: "simulation".to_owned(),
        };
        let Stream { said, mut taken } = life.subscribe(self.id, Shown(Some(VERIFIER)));
        let _ = said
            .send(node::encoded(VerifierMessage::Hello(greeting)))
            .await;
        let mut following = Following {
            node: node.id,
            said: self.speak(node.id, said, process),
            sent: None,
        };
        loop {
            let Ok(Some(item)) = tokio::time::timeout(SILENCE_MAX, taken.recv()).await else {
                return self.lose(follower);
            };
            if *self.slow.lock().expect("one thread") {
                tokio::time::sleep(slow_pause()).await;
            }
            let Ok(bytes) = item else {
                return self.lose(follower);
            };
            let event = node::event(&bytes).expect("nodes send what can be read");
            if let Some(pause) = self.hear(follower, &mut following, event) {
                return pause;
            }
        }
    }

    /// Carries what the verifier says on this stream, in order.
    fn speak(
        &self,
        node: u64,
        stream: mpsc::Sender<Vec<u8>>,
        process: Process,
    ) -> mpsc::Sender<VerifierMessage> {
        let (said, mut heard) = mpsc::channel(64);
        let (network, id) = (self.cluster.network().clone(), self.id);
        process.spawn(async move {
            while let Some(said) = heard.recv().await {
                network.deliver(id, node).await;
                if stream.send(node::encoded(said)).await.is_err() {
                    return;
                }
            }
        });
        said
    }

    /// Takes one message. `Some` when the stream is to be closed.
    fn hear(
        &self,
        follower: &mut Follower<Signatures>,
        following: &mut Following,
        event: Event,
    ) -> Option<Duration> {
        let kind = kind_of(&event);
        self.is_gapless(following, &event);
        let actions = follower.handle(event, self.clock.monotonic());
        self.cluster.journal().trace(|| {
            format!(
                "verifier {} {kind} from node {}: {} actions",
                self.id,
                following.node,
                actions.len()
            )
        });
        self.act(follower, actions, Some(&following.said))
    }

    /// Checks I5: a stream leaves no revision out.
    fn is_gapless(&self, following: &mut Following, event: &Event) {
        match event {
            Event::Welcome(signed) => {
                let resumed = signed.welcome.mode == Mode::Deltas;
                following.sent = resumed.then(|| self.position());
            }
            Event::SnapshotEnd { checkpoint, .. } => {
                following.sent = Checkpoint::from_bytes(&checkpoint.body)
                    .ok()
                    .map(|checkpoint| checkpoint.revision);
            }
            Event::Delta { from, to, .. } => {
                let gap = following.sent.is_some_and(|sent| *from > sent.next());
                self.cluster.oracle().expect(!gap, || {
                    format!(
                        "I5: node {} sent verifier {} a delta from {from}, after {:?}",
                        following.node, self.id, following.sent
                    )
                });
                following.sent = following.sent.max(Some(*to));
            }
            _ => {}
        }
    }

    fn position(&self) -> Revision {
        let reached = *self.reached.lock().expect("one thread");
        reached.map_or(Revision(0), |(_, revision)| revision)
    }

    fn lose(&self, follower: &mut Follower<Signatures>) -> Duration {
        let actions = follower.handle(Event::Disconnected, self.clock.monotonic());
        self.act(follower, actions, None)
            .unwrap_or(Duration::from_millis(100))
    }

    /// Carries out what the follower says. `Some` when the stream is to be closed.
    fn act(
        &self,
        follower: &Follower<Signatures>,
        actions: Vec<Action>,
        said: Option<&mpsc::Sender<VerifierMessage>>,
    ) -> Option<Duration> {
        let mut pause = None;
        for action in actions {
            match action {
                Action::Publish => self.publish(follower),
                Action::Persist => {
                    *self.stored.lock().expect("one thread") = follower.view().cloned();
                }
                Action::Reconnect { after, .. } => pause = Some(after),
                Action::Alarm(alarm) => {
                    self.cluster.oracle().expect(false, || {
                        format!("R4: verifier {} raised: {alarm}", self.id)
                    });
                }
                Action::SendAck {
                    revision,
                    state_root,
                } => {
                    let ack = VerifierMessage::Ack(Acknowledgement {
                        revision,
                        state_root,
                    });
                    // A verifier that cannot say more for now says it with the next revision.
                    if let Some(said) = said {
                        let _ = said.try_send(ack);
                    }
                }
                Action::SendHello(_) => {}
            }
        }
        self.claim(follower);
        pause
    }

    fn publish(&self, follower: &Follower<Signatures>) {
        let Some(view) = follower.view() else { return };
        let mut reached = self.reached.lock().expect("one thread");
        self.cluster
            .oracle()
            .verifier_published(&self.name.to_string(), *reached, view);
        *reached = Some((view.epoch, view.revision));
        self.cluster
            .journal()
            .trace(|| format!("verifier {} at {}", self.id, view.revision));
    }

    /// Tells the oracle how fresh this verifier believes to be.
    fn claim(&self, follower: &Follower<Signatures>) {
        let now = self.clock.monotonic();
        let freshness = follower.freshness();
        let fresh = freshness.age(now).is_some_and(|age| age <= FRESH_FOR);
        *self.fresh.lock().expect("one thread") = fresh;
        let until = freshness
            .as_of
            .map(|as_of| self.clock.truly(as_of) + FRESH_FOR);
        let permits = follower.view().zip(until);
        let permits = permits.map(|(view, until)| (view.revision, until));
        self.cluster.oracle().verifier_permits(self.id, permits);
        if let (true, Some(as_of), Some(view)) = (fresh, freshness.as_of, follower.view()) {
            let who = format!("verifier {}", self.id);
            self.cluster.oracle().freshness_was_claimed(
                &who,
                view.revision,
                self.clock.truly(as_of),
            );
        }
    }
}

/// Pause between two messages that a slow verifier takes: now and then longer than a node waits for it.
fn slow_pause() -> Duration {
    let millis = if random().gen_bool(0.1) {
        random().gen_range(2_000..4_000)
    } else {
        random().gen_range(50..700)
    };
    Duration::from_millis(millis)
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
