//! One node: a disk that stays, and a life that may end at any await.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_node::raft::Candidacy;
use hessra_sled::{Moment, Published, Remembered, Store};
use hessra_state::{Applied, Stamped, State};
use openraft::{ServerState, SnapshotPolicy};
use tokio::sync::{Notify, watch};

use crate::Raft;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::feed::{Confirmed, HEARTBEAT, Hub};
use crate::network::Connections;
use crate::plant::Plant;
use crate::runtime::Process;
use crate::world::Shared;

/// What a node is from one life to the next.
pub struct Node {
    /// 1, 2, 3…
    pub id: u64,
    /// Its clocks.
    pub clock: Clock,
    /// What it has written.
    pub disk: Disk,
    shared: Arc<Shared>,
    life: Mutex<Option<Life>>,
    /// Held by whoever starts it or ends it: one disk, one life.
    turn: tokio::sync::Mutex<()>,
}

/// One life: from a start to a crash.
#[derive(Clone)]
pub struct Life {
    process: Process,
    /// openraft, and what it may be asked.
    pub consensus: Consensus,
    /// What is applied.
    pub published: watch::Receiver<Arc<Published>>,
    /// What its state machine does not publish.
    pub remembered: Arc<dyn Remembered>,
    /// What verifiers are served from.
    pub hub: Arc<Hub>,
    /// Something was applied.
    applied: Arc<Notify>,
}

impl Life {
    /// Runs something for as long as this life lasts.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.process.spawn(future);
    }
}

/// openraft, and the one thing that it must not be asked too early.
///
/// A leader that was restored from its own vote, not elected, may know an older commit index than it had acknowledged
/// before it stopped: it confirms nothing before an entry of this life is committed. The node does the same.
#[derive(Clone)]
pub struct Consensus {
    /// openraft.
    pub raft: Raft,
    restored: Arc<Mutex<Option<u64>>>,
}

impl Consensus {
    async fn new(raft: Raft, id: u64, planted: Option<Plant>) -> Self {
        let vote = raft
            .with_raft_state(|state| *state.vote_ref())
            .await
            .unwrap_or_default();
        let led = vote.is_committed() && vote.leader_id().voted_for() == Some(id);
        let restored =
            (led && planted != Some(Plant::RestoredLeaderTrusted)).then_some(vote.leader_id().term);
        Self {
            raft,
            restored: Arc::new(Mutex::new(restored)),
        }
    }

    /// Read-index: confirms with a quorum that this node leads.
    async fn confirmed_index(&self) -> Option<u64> {
        let restored = *self.restored.lock().expect("one thread");
        if let Some(term) = restored {
            if self.raft.metrics().borrow().current_term <= term {
                commit(&self.raft, Vec::new()).await?;
            }
            *self.restored.lock().expect("one thread") = None;
        }
        self.raft.get_read_log_id().await.ok()?.0.map(|id| id.index)
    }
}

const ELECTION_MIN: Duration = Duration::from_millis(300);
const ELECTION_MAX: Duration = Duration::from_millis(600);

/// openraft, with timers so short that elections and snapshots happen often in fifteen seconds.
fn settings() -> openraft::Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).expect("short");
    openraft::Config {
        cluster_name: "simulation".to_owned(),
        heartbeat_interval: 100,
        election_timeout_min: millis(ELECTION_MIN),
        election_timeout_max: millis(ELECTION_MAX),
        install_snapshot_timeout: 1_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(25),
        max_in_snapshot_log_to_keep: 5,
        purge_batch_size: 5,
        replication_lag_threshold: 30,
        ..openraft::Config::default()
    }
}

impl Node {
    /// A node with an empty disk, not started.
    pub fn new(id: u64, shared: Arc<Shared>) -> Self {
        let clock = Clock::random(shared.beginning);
        let disk = Disk::new(shared.options.plant);
        Self {
            id,
            clock,
            disk,
            shared,
            life: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The current life, if there is one.
    pub fn life(&self) -> Option<Life> {
        self.life.lock().expect("one thread").clone()
    }

    /// What this node has applied, if it lives.
    pub fn state(&self) -> Option<Arc<State>> {
        self.life()
            .map(|life| life.published.borrow().state.clone())
    }

    /// Its state machine, if it lives.
    pub fn moment(&self) -> Option<Moment> {
        self.life().map(|life| life.remembered.moment())
    }

    /// Starts a life on the disk as it is, unless there is one. A disk that a crash leaves unopenable breaks a promise.
    pub async fn start(self: &Arc<Self>) {
        let _turn = self.turn.lock().await;
        if self.life().is_some() {
            return;
        }
        loop {
            let process = Process::start();
            let born = process.scope(self.clone().be_born(process)).await;
            match born {
                Ok(life) => *self.life.lock().expect("one thread") = Some(life),
                // The disk failed in this very start; the next start finds another.
                Err(_) if self.disk.is_about_to_fail() => {
                    process.crash().await;
                    self.disk.crash();
                    continue;
                }
                Err(error) => self.shared.oracle.expect(false, || {
                    format!("I16: node {} cannot start: {error}", self.id)
                }),
            }
            return;
        }
    }

    async fn be_born(self: Arc<Self>, process: Process) -> Result<Life, String> {
        let engine = self.disk.open(process);
        let (log, machine) = Store::open(engine).map_err(|error| error.to_string())?;
        let (published, remembered) = (machine.watch(), machine.remembered());
        let candidacy = Arc::new(Candidacy::default());
        let connections = Connections {
            from: self.id,
            candidacy: candidacy.clone(),
            network: self.shared.network.clone(),
            oracle: self.shared.oracle.clone(),
        };
        let raft = Raft::new(self.id, Arc::new(settings()), connections, log, machine)
            .await
            .map_err(|error| error.to_string())?;
        let hub = Arc::new(Hub::new(self.id, &published.borrow().state));
        let consensus = Consensus::new(raft, self.id, self.shared.options.plant).await;
        let life = Life {
            process,
            consensus: consensus.clone(),
            published,
            remembered,
            hub,
            applied: Arc::default(),
        };
        if self.shared.options.plant != Some(Plant::ElectionTimerDrawnOnce) {
            let raft = consensus.raft.clone();
            process.spawn(candidacy.stand_again_at_random(raft, ELECTION_MIN, ELECTION_MAX));
        }
        self.shared.network.attach(self.id, consensus);
        process.spawn(self.clone().beat(life.clone()));
        process.spawn(self.clone().publish(life.clone()));
        Ok(life)
    }

    /// Ends the life at whatever it is doing; of what was written and not synced, chance keeps a part.
    pub async fn crash(&self) {
        let _turn = self.turn.lock().await;
        let life = self.life.lock().expect("one thread").take();
        self.shared.network.detach(self.id);
        self.disk.crash();
        if let Some(life) = life {
            life.process.crash().await;
        }
    }

    /// Why openraft has given up, as it must after a disk error. `None` while it runs, and in no life.
    pub fn has_stopped(&self) -> Option<String> {
        let metrics = self.life()?.consensus.raft.metrics();
        let stopped = metrics.borrow().running_state.as_ref().err()?.to_string();
        Some(stopped)
    }

    /// Does this node believe that it leads?
    pub fn leads(&self) -> bool {
        self.life()
            .is_some_and(|life| life.consensus.raft.metrics().borrow().state == ServerState::Leader)
    }

    /// Applies commands through the leader: here, or forwarded once.
    pub async fn propose(&self, commands: Vec<Stamped>) -> Option<Vec<Applied>> {
        let life = self.life()?;
        let leader = life.consensus.raft.current_leader().await?;
        if leader == self.id {
            return commit(&life.consensus.raft, commands).await;
        }
        let network = &self.shared.network;
        network.cross(self.id, leader).await;
        let applied = commit(&network.node(leader)?.raft, commands).await?;
        network.cross(leader, self.id).await;
        Some(applied)
    }

    /// Read-index: the state once this node has applied whatever a quorum's leader had committed when it was asked. Who
    /// asked a life that ended meanwhile is not answered: not by the next one either, which may have applied less.
    pub async fn read_index(&self) -> Option<Arc<State>> {
        let life = self.life()?;
        let leader = life.consensus.raft.current_leader().await?;
        let index = if leader == self.id {
            life.consensus.confirmed_index().await?
        } else {
            let network = &self.shared.network;
            network.cross(self.id, leader).await;
            let index = network.node(leader)?.confirmed_index().await?;
            network.cross(leader, self.id).await;
            index
        };
        loop {
            let changed = life.applied.notified();
            let published = life.published.borrow().clone();
            if published.applied.is_some_and(|id| id.index >= index) {
                let lives = self.life()?.process == life.process;
                return lives.then(|| published.state.clone());
            }
            changed.await;
        }
    }

    async fn beat(self: Arc<Self>, life: Life) {
        let planted = self.shared.options.plant == Some(Plant::HeartbeatWithoutQuorum);
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            let confirmed = Confirmed {
                tick: self.clock.monotonic(),
                at: self.clock.wall(),
            };
            let quorum =
                planted || is_some(tokio::time::timeout(HEARTBEAT * 4, self.read_index()).await);
            if quorum {
                let state = life.published.borrow().state.clone();
                life.hub.beat(&state, confirmed);
            }
        }
    }

    /// Publishes what is applied, and shows everything to the oracle.
    ///
    /// The only receiver that waits on a watch channel: with several, tokio wakes them in an order of its own.
    async fn publish(self: Arc<Self>, mut life: Life) {
        let mut metrics = life.consensus.raft.server_metrics();
        loop {
            let (term, leads) = {
                let metrics = metrics.borrow_and_update();
                (
                    metrics.vote.leader_id().term,
                    metrics.state == ServerState::Leader,
                )
            };
            if leads {
                self.shared.oracle.leader_was_seen(term, self.id);
            }
            let shown = life.published.borrow_and_update().clone();
            life.hub.publish(&shown.state);
            life.applied.notify_waiters();
            self.shared.oracle.node_shows(self.id, &shown.state);
            let moment = life.remembered.moment();
            if let Some(applied) = moment.applied {
                self.shared
                    .oracle
                    .node_applied(self.id, applied.index, &moment.machine);
                self.shared
                    .trace(|| format!("node {} applied {} term {term}", self.id, applied.index));
            }
            tokio::select! {
                biased;
                changed = life.published.changed() => if changed.is_err() { return },
                changed = metrics.changed() => if changed.is_err() { return },
            }
        }
    }
}

fn is_some<T, E>(outcome: Result<Option<T>, E>) -> bool {
    matches!(outcome, Ok(Some(_)))
}

async fn commit(raft: &Raft, commands: Vec<Stamped>) -> Option<Vec<Applied>> {
    let limit = Duration::from_secs(3);
    let write = tokio::time::timeout(limit, raft.client_write(commands.into())).await;
    Some(write.ok()?.ok()?.data.0)
}
