//! One seed from its beginning to its verdict.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_audit::Actor;
use hessra_consensus::plant::plant;
use hessra_consensus::{Asked, Measurement, StopReason};
use hessra_revocation::{FeedId, FeedSalt, KeyPurpose, KeyState, Revision, UnixMillis};
use hessra_sled::Member;
use hessra_state::{Applied, Command, Init, Policy, RequestId, SealedKey};
use rand::Rng;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::Plant;
use crate::client::Client;
use crate::faults::{self, Faults};
use crate::network::Network;
use crate::node::Node;
use crate::operator::{self, Operator};
use crate::oracle::Oracle;
use crate::runtime::{self, Process, random};
use crate::signatures::{FEED_KEY, public_key};
use crate::verifier::Verifier;

const NODES: u64 = 3;
const VERIFIERS: u64 = 3;
const CLIENTS: u64 = 4;
const OPERATORS: u64 = 2;
/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(15);
/// I18: a write within this long after healing…
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// …equal states within this long…
const EQUAL_WITHIN: Duration = Duration::from_secs(30);
/// …fresh verifiers within this long…
const FRESH_WITHIN: Duration = Duration::from_secs(5);
/// …and a change of the members that was half done is completed within this long.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// C2: a revision is proven applied at every verifier within this long of all being fresh.
const CONTAINED_WITHIN: Duration = Duration::from_secs(8);
/// How often a node is looked at, to see whether it has ended.
const SUPERVISION: Duration = Duration::from_millis(50);
/// `RestartSec` of the unit file in `deploy/systemd`.
const RESTART_AFTER: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A deliberate bug.
    pub plant: Option<Plant>,
    /// Print every event.
    pub trace: bool,
}

/// What one seed did and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Broken promises. Empty is good.
    pub violations: Vec<String>,
    /// Operations and faults.
    pub counts: Counts,
    /// Digest of every event: the same seed gives the same.
    pub trace: [u8; 32],
    /// Newest revision.
    pub head: Revision,
    /// Comparisons the oracle made.
    pub checks: u64,
}

/// Operations and faults.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Writes that were answered.
    pub acknowledged: u64,
    /// Writes without an answer after all attempts.
    pub unknown: u64,
    /// Writes that were refused as certainly not written.
    pub refused: u64,
    /// Linearizable checks that were answered.
    pub checked: u64,
    /// Linearizable checks without an answer.
    pub unanswered: u64,
    /// Streams to verifiers that were told to resume, by reason.
    pub resets: Faults,
    /// Faults and changes of the members, by kind.
    pub faults: Faults,
}

/// What every part of the world can see.
pub struct Shared {
    /// What was asked for.
    pub options: Options,
    /// When it began.
    pub beginning: Instant,
    /// All links.
    pub network: Arc<Network>,
    /// Sees everything.
    pub oracle: Arc<Oracle>,
    nodes: Mutex<Vec<Arc<Node>>>,
    counts: Mutex<Counts>,
    trace: Mutex<Sha256>,
}

impl Shared {
    /// All nodes that are not retired.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let nodes = self.nodes.lock().expect("one thread");
        let in_service = nodes.iter().filter(|node| !node.is_retired());
        in_service.cloned().collect()
    }

    /// One of them, by its id.
    pub fn node(&self, id: u64) -> Option<Arc<Node>> {
        self.nodes().into_iter().find(|node| node.id == id)
    }

    /// Any of them.
    pub fn any_node(&self) -> Arc<Node> {
        let nodes = self.nodes();
        nodes[random().gen_range(0..nodes.len())].clone()
    }

    /// A machine more, with an id that was never used. `None`: this seed has started `added_max` already.
    pub fn new_node(self: &Arc<Self>, added_max: usize) -> Option<Arc<Node>> {
        let mut nodes = self.nodes.lock().expect("one thread");
        if nodes.len() >= NODES as usize + added_max {
            return None;
        }
        let node = Arc::new(Node::new(nodes.len() as u64 + 1, self.clone()));
        nodes.push(node.clone());
        Some(node)
    }

    /// A figure of the consensus of a node. `is_low`: its disk has no room for writes.
    pub fn measured(&self, node: u64, measurement: Measurement, is_low: bool) {
        match measurement {
            Measurement::EntryProposed(commands) => {
                self.oracle.entry_was_proposed(node, commands, is_low);
            }
            Measurement::FeedForkAlarm | Measurement::ReplicaAlarm => {
                self.oracle.expect(false, || {
                    format!("I11: node {node} says that another one holds another history")
                });
            }
            Measurement::FeedReset(reason) => self.count(|counts| {
                *counts.resets.entry(reason.as_str()).or_default() += 1;
            }),
            _ => {}
        }
    }

    /// Changes the counts.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().expect("one thread"));
    }

    /// Notes an event: in the digest always, on the terminal when asked for.
    pub fn trace(&self, event: impl FnOnce() -> String) {
        let line = format!(
            "{:>9.3} {}",
            self.beginning.elapsed().as_secs_f64(),
            event()
        );
        self.trace.lock().expect("one thread").update(&line);
        if self.options.trace {
            println!("{line}");
        }
    }
}

/// Nodes, verifiers and clients.
pub struct World {
    /// What every part can see.
    pub shared: Arc<Shared>,
    verifiers: Vec<Arc<Verifier>>,
}

/// Runs one seed.
pub fn simulate(seed: u64, options: Options) -> Report {
    in_one_seed(seed, options, async move {
        let world = World::begin(options).await;
        world.run().await;
        let report = world.report();
        world.end();
        report
    })
}

/// How long the two nodes that are left need for another leader when the leader crashes and stays down, over a network
/// with long delays. `None`: more than a minute.
pub fn fail_over(seed: u64, options: Options) -> Option<Duration> {
    in_one_seed(seed, options, async move {
        let world = World::begin(options).await;
        world.found_cluster().await;
        world.shared.network.disturb(0.0, true);
        let lost = world.until_led().await;
        lost.crash().await;
        let began = Instant::now();
        let led = tokio::time::timeout(Duration::from_secs(60), world.until_led()).await;
        let took = led.ok().map(|_| began.elapsed());
        world.end();
        took
    })
}

fn in_one_seed<T>(seed: u64, options: Options, history: impl Future<Output = T>) -> T {
    plant(options.plant);
    let outcome = runtime::run(seed, history);
    plant(None);
    outcome
}

impl World {
    async fn begin(options: Options) -> Arc<Self> {
        let shared = Arc::new(Shared {
            options,
            beginning: Instant::now(),
            network: Arc::default(),
            oracle: Arc::default(),
            nodes: Mutex::default(),
            counts: Mutex::default(),
            trace: Mutex::default(),
        });
        for _ in 0..NODES {
            let node = shared.new_node(0).expect("these are the first");
            node.start().await;
        }
        let verifiers = (0..VERIFIERS)
            .map(|n| Arc::new(Verifier::new(1_000 + n, shared.clone())))
            .collect();
        Arc::new(Self { shared, verifiers })
    }

    /// Any verifier.
    pub fn any_verifier(&self) -> &Arc<Verifier> {
        &self.verifiers[random().gen_range(0..self.verifiers.len())]
    }

    /// Starts a node that is down.
    pub async fn revive(&self, id: u64) {
        let Some(node) = self.shared.node(id) else {
            return;
        };
        if node.life().is_none() {
            node.start().await;
            self.shared.trace(|| format!("node {id} started"));
        }
    }

    /// Does what the nodes' unit file does: a node that cannot go on ends, and is started again (`Restart=on-failure`).
    async fn supervise(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SUPERVISION).await;
            for node in self.shared.nodes() {
                let Some(reason) = node.has_stopped() else {
                    continue;
                };
                self.shared
                    .trace(|| format!("node {} stopped: {reason}", node.id));
                let cut_short = reason == StopReason::Deposed;
                self.shared
                    .oracle
                    .expect(cut_short || node.disk.is_about_to_fail(), || {
                        format!("I21: node {} stopped by itself: {reason}", node.id)
                    });
                if cut_short {
                    let stops = "deposed leader stopped by openraft";
                    self.shared
                        .count(|counts| *counts.faults.entry(stops).or_default() += 1);
                }
                node.crash().await;
                let (world, id) = (self.clone(), node.id);
                tokio::spawn(async move {
                    tokio::time::sleep(RESTART_AFTER).await;
                    world.revive(id).await;
                });
            }
        }
    }

    async fn run(self: &Arc<Self>) {
        self.found_cluster().await;
        if self.shared.options.plant != Some(Plant::NeverRestarted) {
            tokio::spawn(self.clone().supervise());
        }
        self.verifiers.iter().for_each(|verifier| verifier.start());
        let clients: Vec<Process> = (0..CLIENTS)
            .map(|n| {
                let process = Process::start();
                process.spawn(Client::new(2_000 + n, self.shared.clone()).work());
                process
            })
            .collect();
        let operators: Vec<Process> = (0..OPERATORS)
            .map(|n| {
                let process = Process::start();
                process.spawn(Operator::new(3_000 + n, self.shared.clone()).work());
                process
            })
            .collect();
        faults::disturb(self, Instant::now() + TROUBLE).await;
        for process in clients.into_iter().chain(operators) {
            process.crash().await;
        }
        self.recover().await;
        self.finish();
    }

    async fn found_cluster(&self) {
        let members = (1..=NODES).map(|id| (id, member(id))).collect();
        let first = self.shared.nodes()[0].life().expect("started");
        let initialized = first.consensus.raft().initialize(members).await;
        initialized.expect("a new cluster can be initialized");
        let init = Command::Init(Init {
            feed_id: FeedId([7; 16]),
            salt: FeedSalt([9; 16]),
            keys: vec![key(1, KeyPurpose::Token), key(FEED_KEY, KeyPurpose::Feed)],
            policy: Policy::new(String::new(), String::new()),
        });
        let asked = Asked {
            by: "urn:hessra:node:1".to_owned(),
            request: RequestId([1; 16]),
            actor: Actor::default(),
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let committed = first.consensus.propose(init, asked, deadline).await;
        let founded = committed
            .as_ref()
            .is_ok_and(|committed| matches!(committed.applied, Applied::Initialized { .. }));
        self.shared.oracle.expect(founded, || {
            format!("I18: an undisturbed cluster was not founded within ten seconds: {committed:?}")
        });
    }

    /// I18: after healing the cluster writes, completes what was half done, agrees, and its verifiers are fresh.
    async fn recover(&self) {
        let oracle = &self.shared.oracle;
        self.shared.network.heal();
        for node in self.shared.nodes() {
            node.disk.run_low(false);
            node.audit.fill(false);
            // A disk that is about to fail is replaced with the same content: nothing goes wrong from here on. A node that
            // has stopped is left to what starts it again in production.
            if node.disk.is_about_to_fail() && node.has_stopped().is_none() {
                node.crash().await;
            }
            self.revive(node.id).await;
        }
        self.verifiers
            .iter()
            .for_each(|verifier| verifier.dawdle(false));
        let written = tokio::time::timeout(WRITE_WITHIN, self.write()).await;
        oracle.expect(written.is_ok(), || {
            format!("I18: no write within {WRITE_WITHIN:?} of healing")
        });
        let settled = tokio::time::timeout(SETTLED_WITHIN, self.until_settled()).await;
        oracle.expect(settled.is_ok(), || {
            format!("I18: a change of the members is half done {SETTLED_WITHIN:?} after healing")
        });
        let equal = tokio::time::timeout(EQUAL_WITHIN, self.until_equal()).await;
        oracle.expect(equal.is_ok(), || {
            format!("I18: states differ {EQUAL_WITHIN:?} after healing")
        });
        let fresh = tokio::time::timeout(FRESH_WITHIN, self.until_fresh()).await;
        oracle.expect(fresh.is_ok(), || {
            format!("I18: a verifier is not fresh {FRESH_WITHIN:?} after healing")
        });
        let contained = tokio::time::timeout(CONTAINED_WITHIN, self.until_contained()).await;
        oracle.expect(contained.is_ok(), || {
            format!(
                "C2: the newest revocation is not proven applied {CONTAINED_WITHIN:?} after all verifiers were fresh"
            )
        });
    }

    /// Returns when no change of the members is under way, and takes out of service what is no member.
    async fn until_settled(&self) {
        loop {
            let leader = self.until_led().await;
            if let Some(life) = leader.life() {
                let deadline = Instant::now() + Duration::from_secs(1);
                let confirmed = life.consensus.linearize(deadline).await.is_ok();
                let members = life.consensus.raft().members();
                if confirmed && !members.is_changing() {
                    for node in self.shared.nodes() {
                        if !members.nodes.contains_key(&node.id) {
                            node.retire().await;
                        }
                    }
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns when some node says that every verifier has applied the newest acknowledged revocation.
    async fn until_contained(&self) {
        let revision = self.shared.oracle.newest_acknowledged().0;
        let wanted = hessra_proto::v1::WatchAppliedRequest {
            revision,
            fraction: 0.0,
            count: u32::try_from(VERIFIERS).expect("a few"),
        };
        loop {
            if let Some(life) = self.shared.any_node().life()
                && operator::watch(life, wanted).await
            {
                return;
            }
        }
    }

    /// I10, I12, A2: what was promised of the whole history.
    fn finish(&self) {
        let oracle = &self.shared.oracle;
        oracle.finish();
        let nodes = self.shared.nodes();
        let lives: Vec<_> = nodes.iter().filter_map(|node| node.life()).collect();
        oracle.refusals_hold(|request| {
            lives.iter().any(|life| {
                let remembered = life.consensus.raft().remembered();
                let answers = remembered.answers(&mut std::iter::once(request));
                answers.into_iter().any(|answer| answer.is_some())
            })
        });
        for node in &nodes {
            let repeated = node.audit.repeated();
            oracle.expect(repeated.is_empty(), || {
                format!("A2: node {} has records twice: {repeated:?}", node.id)
            });
        }
    }

    /// Lets go of everything: nodes and what they share hold each other.
    fn end(&self) {
        let nodes = std::mem::take(&mut *self.shared.nodes.lock().expect("one thread"));
        for node in nodes {
            self.shared.network.detach(node.id);
            node.forget();
        }
    }

    async fn until_led(&self) -> Arc<Node> {
        loop {
            let leader = self.shared.nodes().into_iter().find(|node| node.leads());
            if let Some(leader) = leader {
                return leader;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn write(&self) {
        let mut client = Client::new(2_999, self.shared.clone());
        while !client.revoke().await {}
    }

    async fn until_equal(&self) {
        loop {
            let nodes = self.shared.nodes();
            let digest = |node: &Arc<Node>| Some(node.image()?.machine.digest());
            let digests: Vec<_> = nodes.iter().map(digest).collect();
            let first = digests.first().copied().flatten();
            if first.is_some() && digests.iter().all(|digest| *digest == first) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_fresh(&self) {
        while !self.verifiers.iter().all(|verifier| verifier.is_fresh()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn report(&self) -> Report {
        Report {
            violations: self.shared.oracle.violations(),
            counts: self.shared.counts.lock().expect("one thread").clone(),
            trace: self
                .shared
                .trace
                .lock()
                .expect("one thread")
                .clone()
                .finalize()
                .into(),
            head: self.shared.oracle.head(),
            checks: self.shared.oracle.checks(),
        }
    }
}

/// The addresses of a member: nobody reads them here.
pub fn member(id: u64) -> Member {
    Member {
        peer_address: format!("node{id}.simulation:7411"),
        public_address: format!("node{id}.simulation:7401"),
    }
}

fn key(id: u32, purpose: KeyPurpose) -> SealedKey {
    SealedKey {
        id,
        purpose,
        state: KeyState::Active,
        public_key: public_key(id),
        sealed: vec![0xee; 32],
        changed_at: Revision(0),
        published: UnixMillis(0),
        since: UnixMillis(0),
    }
}
