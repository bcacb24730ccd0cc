//! One node: disks that stay, and a life that may end at any await. The life is the code that ships.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{once, unfold};
use hessra_audit::Actor;
use hessra_consensus::feed::subscription::follow;
use hessra_consensus::feed::{Admits, FeedHub, FeedSettings};
use hessra_consensus::policies::Policies;
use hessra_consensus::{
    Asked, Between, Committed, Consensus, ConsensusSettings, Inbound, Inspector, NodeFacts,
    NodeIdentity, RaftSettings, ReadError, Sender, Setup, StartError, StopReason, WriteError,
};
use hessra_proto::v1::feed::{Downstream, Upstream};
use hessra_proto::v1::{AppliedProgress, Condition};
use hessra_proto::{ConvertError, NodeState, VerifierMessage};
use hessra_revocation::Event;
use hessra_rights::Rights;
use hessra_sled::{MachineImage, MemoryEngine, Store, StoreError};
use hessra_state::{Author, Command, RequestId, State};
use prost::Message as _;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{AuditDisk, SimAuditLog};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::network::Address;
use crate::peers::{SimPeers, SimWorld, Site, Target, member};
use crate::people::Shown;
use crate::people::checker;
use crate::runtime::{Process, random};
use crate::signatures::Signatures;

/// Time between heartbeats of the feed: as in the product's default settings, five times faster.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// Time for which a checkpoint makes fresh.
pub const FRESH_FOR: Duration = Duration::from_secs(1);
/// Messages of a stream under way; more wait at the node.
const STREAM_CAPACITY: usize = 4;

/// The facts that consensus does not know of its node.
struct Facts(Arc<Disk>);

impl NodeFacts for Facts {
    fn readiness(&self) -> NodeState {
        match self.0.is_low() {
            true => NodeState::DiskLow,
            false => NodeState::Ready,
        }
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn keks(&self) -> Vec<String> {
        Vec::new()
    }

    fn conditions(&self) -> Vec<Condition> {
        Vec::new()
    }
}

/// Parts of a node that outlive its process.
pub struct Node {
    /// Id: 1, 2, 3…; never used again.
    pub id: u64,
    /// Clocks of the node.
    pub clock: Arc<Clock>,
    /// Disk of its store.
    pub disk: Arc<Disk>,
    /// Disk of its audit log.
    pub audit: Arc<AuditDisk>,
    /// True for a second process on a copy of a node's disk: nothing is sent to it, and it sends as the node.
    is_twin: bool,
    /// True once its disk was emptied or put back from a copy: it must never be counted again.
    lost: AtomicBool,
    /// Configured first members; none on a machine that waits to be added.
    founders: BTreeSet<u64>,
    site: Site,
    life: Mutex<Option<Life>>,
    /// True when the node is out of service for good.
    retired: Mutex<bool>,
    /// Lock held while the node is started or ended: one disk, one life.
    turn: tokio::sync::Mutex<()>,
}

/// One life: from a start to its end.
#[derive(Clone)]
pub struct Life {
    process: Process,
    node: Arc<Node>,
    /// The consensus that ships.
    pub consensus: Consensus<SimWorld>,
    /// The feed that ships.
    pub feed: FeedHub<SimWorld>,
}

/// Timers so short that elections and snapshots happen often in fifteen seconds.
fn raft_settings() -> RaftSettings {
    RaftSettings {
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(600),
        snapshot_entries: 25,
        log_keep: 5,
        log_keep_unrecorded: 100_000,
        purge_batch: 5,
        append_entries_max: 16,
        snapshot_timeout: Duration::from_secs(1),
    }
}

fn consensus_settings() -> ConsensusSettings {
    ConsensusSettings {
        // Few, so that lanes fill now and then.
        revocations_queued_max: 6,
        others_queued_max: 3,
        silent_after: Duration::from_secs(1),
        ..ConsensusSettings::default()
    }
}

fn feed_settings() -> FeedSettings {
    FeedSettings {
        heartbeat: HEARTBEAT,
        admits: Admits::Anyone,
        fresh_for: FRESH_FOR,
        // Few, so that slow verifiers fall off the frames and are caught up from history.
        frames_max: 8,
        bytes_max: 1 << 20,
        hello_within: Duration::from_secs(1),
        slow_after: Duration::from_secs(2),
        forget_after: Duration::from_secs(3),
        ..FeedSettings::default()
    }
}

impl Node {
    /// A node with empty disks, not started.
    pub fn new(id: u64, founders: BTreeSet<u64>, site: Site) -> Self {
        Self {
            id,
            founders,
            is_twin: false,
            lost: AtomicBool::default(),
            clock: Arc::new(Clock::random(site.journal.beginning)),
            disk: Arc::new(Disk::empty()),
            audit: Arc::default(),
            site,
            life: Mutex::default(),
            retired: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// A second process on a copy of this node's disk, not started. `None`: no copy was kept.
    pub fn twin(&self) -> Option<Arc<Self>> {
        let (copy, _) = self.disk.kept_copy()?;
        Some(Arc::new(Self {
            is_twin: true,
            lost: AtomicBool::new(true),
            disk: Arc::new(Disk::of(copy)),
            ..Self::new(self.id, BTreeSet::new(), self.site.clone())
        }))
    }

    /// Empties the disk, while the node is down.
    pub async fn lose_disk(&self) {
        self.crash().await;
        self.lost.store(true, Ordering::Relaxed);
        self.disk.replace(MemoryEngine::new(random().r#gen()));
    }

    /// Puts the disk back as it was when a life before this one ended. False: no copy was kept.
    pub async fn set_disk_back(&self) -> bool {
        let Some((copy, _)) = self.disk.kept_copy() else {
            return false;
        };
        self.crash().await;
        self.lost.store(true, Ordering::Relaxed);
        self.disk.replace(copy);
        true
    }

    /// True once its disk has lost something on purpose.
    pub fn has_lost_disk(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// True for a second process on a copy that holds no entry of the log.
    pub fn is_blank_twin(&self) -> bool {
        let last = |life: Life| life.consensus.raft().status().last_index;
        self.is_twin && self.life().is_some_and(|life| last(life) == 0)
    }

    /// The current life, if there is one.
    pub fn life(&self) -> Option<Life> {
        self.life.lock().expect("one thread").clone()
    }

    /// State that this node has applied, if it lives.
    pub fn state(&self) -> Option<Arc<State>> {
        self.life().map(|life| life.consensus.state())
    }

    /// State machine of this node, if it lives.
    pub fn image(&self) -> Option<MachineImage> {
        self.life()
            .map(|life| life.consensus.raft().remembered().image())
    }

    /// Starts a life on the disks as they are, unless there is one or the node is retired. Disks that a crash leaves
    /// unopenable break a promise.
    pub async fn start(self: &Arc<Self>) {
        let _turn = self.turn.lock().await;
        if self.life().is_some() || self.is_retired() {
            return;
        }
        loop {
            let process = Process::start();
            self.clock.restart();
            let born = process.scope(self.clone().be_born(process)).await;
            match born {
                Ok(life) => *self.life.lock().expect("one thread") = Some(life),
                // The disk failed in this very start; the next start finds another.
                Err(_) if self.disk.is_about_to_fail() => {
                    process.crash().await;
                    self.disk.crash();
                    continue;
                }
                Err(error) => self.site.journal.oracle.expect(false, || {
                    format!("I16: node {} cannot start: {error}", self.id)
                }),
            }
            return;
        }
    }

    async fn be_born(self: Arc<Self>, process: Process) -> Result<Life, NotBorn> {
        let sender = Sender {
            id: self.id,
            shows_join_secret: true,
            between: Between::default(),
        };
        let world = SimWorld {
            node: self.id,
            clock: self.clock.clone(),
            disk: self.disk.clone(),
            peers: Arc::new(SimPeers::new(sender, self.site.clone())),
            site: self.site.clone(),
        };
        let setup = Setup {
            identity: NodeIdentity {
                id: self.id,
                cluster: "simulation".to_owned(),
            },
            store: Store::open(
                self.disk.open(process),
                Arc::new(Rights::new(hessra_sled::codec::action_digest)),
            )?,
            world,
            guard: self.disk.clone(),
            operators: checker(self.site.journal.trust().is_of(self.id)),
            audit: Arc::new(SimAuditLog::open(self.audit.clone(), process)),
            raft: raft_settings(),
            settings: consensus_settings(),
        };
        let stop = CancellationToken::new();
        let (consensus, background) = Consensus::start(setup, &stop).await?;
        process.spawn(background.run(stop.clone()));
        let signer = Arc::new(Signatures);
        let feed = FeedHub::start(
            consensus.clone(),
            signer,
            feed_settings(),
            Policies::default(),
            &stop,
        );
        let facts = Arc::new(Facts(self.disk.clone()));
        let inspector = Inspector::new(consensus.clone(), feed.clone(), facts);
        let inbound = Inbound::new(consensus.clone(), inspector, self.founders.clone());
        if !self.is_twin {
            self.site
                .addresses
                .attach(self.id, Target { process, inbound });
        }
        if !self.founders.is_empty() {
            let founding = consensus.clone();
            let founders = self.founders.iter().map(|id| (*id, member(*id))).collect();
            process.spawn(async move {
                // A node that ends itself while it founds is looked at by its supervisor.
                let _ = founding.found(&founders).await;
            });
        }
        let life = Life {
            process,
            node: self.clone(),
            consensus,
            feed,
        };
        if !self.is_twin {
            process.spawn(life.clone().observe());
        }
        Ok(life)
    }

    /// Ends the life at any point; of what was written and not synced, chance keeps a part.
    pub async fn crash(&self) {
        let _turn = self.turn.lock().await;
        let life = self.life.lock().expect("one thread").take();
        if !self.is_twin {
            self.site.addresses.detach(self.id);
        }
        self.disk.crash();
        if let Some(life) = &life {
            self.disk.keep_copy(life.consensus.raft().start().count);
        }
        if let Some(life) = life {
            life.process.crash().await;
        }
    }

    /// Ends the life as an operator does: leadership is handed over and verifiers are told to go elsewhere.
    pub async fn stop(&self) {
        let Some(life) = self.life() else { return };
        let leaving = life.clone();
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        life.process.spawn(async move {
            leaving.consensus.hand_over().await;
            leaving.feed.shutdown();
            leaving.consensus.raft().shutdown().await;
            drop(done);
        });
        let _ = tokio::time::timeout(Duration::from_secs(3), finished).await;
        self.crash().await;
    }

    /// Takes the node out of service for good.
    pub async fn retire(&self) {
        *self.retired.lock().expect("one thread") = true;
        self.crash().await;
    }

    /// Lets go of the life, without ending it in any order.
    pub fn forget(&self) {
        self.life.lock().expect("one thread").take();
    }

    /// True when it was never a member, as far as it knows.
    pub fn is_new(&self) -> bool {
        let knows_members = |life: Life| !life.consensus.raft().members().nodes.is_empty();
        !self.is_retired() && !self.life().is_some_and(knows_members)
    }

    /// True when it was taken out of service.
    pub fn is_retired(&self) -> bool {
        *self.retired.lock().expect("one thread")
    }

    /// Reason for which consensus has stopped, as it must after a disk error. `None` while it runs, and in no life.
    pub fn has_stopped(&self) -> Option<StopReason> {
        self.life()?.consensus.raft().status().stopped
    }

    /// True when this node believes that it leads.
    pub fn leads(&self) -> bool {
        self.life()
            .is_some_and(|life| life.consensus.raft().is_leader())
    }
}

/// Error of a life that did not begin.
#[derive(Debug)]
enum NotBorn {
    Store(StoreError),
    Consensus(StartError),
}

impl std::fmt::Display for NotBorn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Consensus(error) => error.fmt(f),
        }
    }
}

impl From<StoreError> for NotBorn {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StartError> for NotBorn {
    fn from(error: StartError) -> Self {
        Self::Consensus(error)
    }
}

impl Life {
    /// Asks this life for something over the network. `None`: no answer, or no life any more.
    pub async fn ask<T, F>(
        &self,
        from: Address,
        work: impl FnOnce(Life) -> F + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let network = &self.node.site.network;
        network.cross(from, self.node.id).await;
        // A request that was under way to a life that has ended meanwhile finds the next one, or none.
        let life = self.node.life()?;
        let process = life.process;
        network.ask(from, self.node.id, process, work(life)).await
    }

    /// Proposes a command as the API does.
    pub async fn propose(
        self,
        author: Author,
        request: RequestId,
        command: Command,
        deadline: Instant,
    ) -> Result<Committed, WriteError> {
        let recorded = !matches!(
            command,
            Command::Collect { .. } | Command::Spend(_) | Command::Context(_)
        );
        let asked = Asked {
            author,
            request,
            actor: Actor::default(),
        };
        let committed = self.consensus.propose(command, asked, deadline).await?;
        if recorded {
            let journal = &self.node.site.journal;
            journal.answer_left(request, committed.index);
        }
        Ok(committed)
    }

    /// Makes a linearizable read.
    pub async fn read(self, deadline: Instant) -> Result<Arc<State>, ReadError> {
        self.consensus.linearize(deadline).await?;
        Ok(self.consensus.state())
    }

    /// Checks C1: a report of containment says no more than what verifiers hold.
    pub fn containment_was_reported(&self, revision: u64, report: &AppliedProgress) {
        let node = &self.node;
        node.site
            .journal
            .oracle
            .containment_was_reported(node.id, revision, report);
    }

    /// Opens a stream for a verifier. Messages travel as bytes, in order.
    pub fn subscribe(&self, verifier: Address, claim: Shown) -> Stream {
        let network = self.node.site.network.clone();
        let (said, heard) = mpsc::channel::<Vec<u8>>(64);
        let (given, taken) = mpsc::channel(STREAM_CAPACITY);
        let upstream = unfold(heard, |mut heard| async {
            let bytes: Vec<u8> = heard.recv().await?;
            Some((decoded(&bytes), heard))
        });
        let downstream = follow(self.feed.clone(), upstream.boxed(), Arc::new(claim));
        let mut downstream = match downstream {
            Ok(items) => items.boxed(),
            Err(failure) => once(std::future::ready(Err(failure))).boxed(),
        };
        let node = self.node.id;
        self.process.spawn(async move {
            while let Some(item) = downstream.next().await {
                let passing = async {
                    network.deliver(node, verifier).await;
                    given.send(item.map(|bytes| bytes.to_vec())).await
                };
                let passed = tokio::select! {
                    biased;
                    passed = passing => passed.is_ok(),
                    () = given.closed() => false,
                };
                if !passed {
                    break;
                }
            }
            if given.is_closed() {
                // The node hears of a connection that broke when its packets are not answered for a while.
                tokio::time::sleep(Duration::from_millis(random().gen_range(0..2_000))).await;
            }
        });
        Stream { said, taken }
    }

    /// Shows everything that this life applies to the oracle.
    async fn observe(self) {
        let (id, journal) = (self.node.id, self.node.site.journal.clone());
        let raft = self.consensus.raft();
        let mut published = raft.watch();
        loop {
            let shown = published.borrow_and_update().clone();
            journal.oracle.node_shows(id, &shown.state);
            journal
                .oracle
                .time_was_kept(id, shown.state.clock(), self.node.clock.true_wall());
            let image = raft.remembered().image();
            if let Some(applied) = image.applied {
                journal
                    .oracle
                    .node_applied(id, applied.index, &image.machine);
                journal.trace(|| format!("node {id} applied {}", applied.index));
            }
            if let Some(age) = self.consensus.freshness() {
                let revision = self.consensus.state().view().revision;
                let as_of = Instant::now() - age;
                let who = format!("node {id}");
                journal.oracle.freshness_was_claimed(&who, revision, as_of);
            }
            for status in self.feed.subscribers().local(id) {
                journal.oracle.verifier_was_counted(id, &status);
            }
            if published.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A verifier's end of a stream.
pub struct Stream {
    /// Messages from the verifier, encoded.
    pub said: mpsc::Sender<Vec<u8>>,
    /// Messages to the verifier, encoded.
    pub taken: mpsc::Receiver<Result<Vec<u8>, hessra_proto::status::Failure>>,
}

fn decoded(bytes: &[u8]) -> Result<VerifierMessage, ConvertError> {
    let message = Upstream::decode(bytes).expect("the simulated network damages nothing");
    VerifierMessage::try_from(message)
}

/// Message from a verifier, as bytes.
pub fn encoded(said: VerifierMessage) -> Vec<u8> {
    Upstream::from(said).encode_to_vec()
}

/// Message to a verifier, from bytes.
pub fn event(bytes: &[u8]) -> Result<Event, ConvertError> {
    let message = Downstream::decode(bytes).expect("the simulated network damages nothing");
    Event::try_from(message)
}
