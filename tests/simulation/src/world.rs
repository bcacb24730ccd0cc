//! One seed from its beginning to its verdict.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use hessra_node::raft::STREAM_CLOSED;
use hessra_revocation::{FeedId, FeedSalt, KeyPurpose, KeyState, Revision, UnixMillis};
use hessra_state::{Applied, Command, Init, Policy, RequestId, SealedKey, Stamped};
use rand::Rng;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::client::Client;
use crate::faults::{self, Faults};
use crate::network::Network;
use crate::node::Node;
use crate::oracle::Oracle;
use crate::plant::Plant;
use crate::runtime::{self, Process, random};
use crate::verifier::Verifier;

const NODES: u64 = 3;
const VERIFIERS: u64 = 3;
const CLIENTS: u64 = 4;
/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(15);
/// I18: a write within this long after healing…
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// …equal states within this long…
const EQUAL_WITHIN: Duration = Duration::from_secs(30);
/// …and fresh verifiers within this long.
const FRESH_WITHIN: Duration = Duration::from_secs(5);
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
    /// Linearizable checks that were answered.
    pub checked: u64,
    /// Linearizable checks without an answer.
    pub unanswered: u64,
    /// Faults by kind.
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
    nodes: OnceLock<Vec<Arc<Node>>>,
    counts: Mutex<Counts>,
    trace: Mutex<Sha256>,
}

impl Shared {
    /// All nodes.
    pub fn nodes(&self) -> &[Arc<Node>] {
        self.nodes.get().expect("the world was made")
    }

    /// Any of them.
    pub fn any_node(&self) -> Arc<Node> {
        self.nodes()[random().gen_range(0..self.nodes().len())].clone()
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
    runtime::run(seed, async move {
        let world = World::begin(options).await;
        world.run().await;
        world.report()
    })
}

/// How long the two nodes that are left need for another leader when the leader crashes and stays down, over a network
/// with long delays. `None`: more than a minute.
pub fn fail_over(seed: u64, options: Options) -> Option<Duration> {
    runtime::run(seed, async move {
        let world = World::begin(options).await;
        world.found_cluster().await;
        world.shared.network.disturb(0.0, true);
        let lost = world.until_led().await;
        lost.crash().await;
        let began = Instant::now();
        let led = tokio::time::timeout(Duration::from_secs(60), world.until_led()).await;
        led.ok().map(|_| began.elapsed())
    })
}

impl World {
    async fn begin(options: Options) -> Arc<Self> {
        let shared = Arc::new(Shared {
            options,
            beginning: Instant::now(),
            network: Arc::default(),
            oracle: Arc::default(),
            nodes: OnceLock::new(),
            counts: Mutex::default(),
            trace: Mutex::default(),
        });
        let nodes: Vec<_> = (1..=NODES)
            .map(|id| Arc::new(Node::new(id, shared.clone())))
            .collect();
        for node in &nodes {
            node.start().await;
        }
        assert!(shared.nodes.set(nodes).is_ok(), "set once");
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
        let nodes = self.shared.nodes();
        let node = nodes.iter().find(|node| node.id == id);
        let node = node.expect("one of the nodes");
        if node.life().is_none() {
            node.start().await;
            self.shared.trace(|| format!("node {id} started"));
        }
    }

    /// What the nodes' unit file does: a node that cannot go on ends, and is started again (`Restart=on-failure`).
    async fn supervise(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SUPERVISION).await;
            for node in self.shared.nodes() {
                let Some(reason) = node.has_stopped() else {
                    continue;
                };
                self.shared
                    .trace(|| format!("node {} stopped: {reason}", node.id));
                let cut_short = reason.contains(STREAM_CLOSED);
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
        faults::disturb(self, Instant::now() + TROUBLE).await;
        for client in clients {
            client.crash().await;
        }
        self.recover().await;
        self.shared.oracle.finish();
    }

    async fn found_cluster(&self) {
        let members = (1..=NODES)
            .map(|id| (id, crate::Member::default()))
            .collect::<std::collections::BTreeMap<_, _>>();
        let first = self.shared.nodes()[0].life().expect("started");
        first
            .consensus
            .raft
            .initialize(members)
            .await
            .expect("a new cluster can be initialized");
        let init = Stamped {
            at: self.shared.nodes()[0].clock.wall(),
            by: "urn:hessra:node:1".to_owned(),
            request: RequestId([1; 16]),
            command: Command::Init(Init {
                feed_id: FeedId([7; 16]),
                salt: FeedSalt([9; 16]),
                keys: vec![key(1, KeyPurpose::Token), key(2, KeyPurpose::Feed)],
                policy: Policy::new(String::new(), String::new()),
            }),
        };
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let applied = self.shared.any_node().propose(vec![init.clone()]).await;
            if matches!(applied.as_deref(), Some([Applied::Initialized { .. }])) {
                return;
            }
        }
        self.shared.oracle.expect(false, || {
            "I18: an undisturbed cluster was not founded within ten seconds".to_owned()
        });
    }

    /// I18: after healing the cluster writes, agrees, and its verifiers are fresh.
    async fn recover(&self) {
        self.shared.network.heal();
        for node in self.shared.nodes() {
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
        self.shared.oracle.expect(written.is_ok(), || {
            format!("I18: no write within {WRITE_WITHIN:?} of healing")
        });
        let equal = tokio::time::timeout(EQUAL_WITHIN, self.until_equal()).await;
        self.shared.oracle.expect(equal.is_ok(), || {
            format!("I18: states differ {EQUAL_WITHIN:?} after healing")
        });
        let fresh = tokio::time::timeout(FRESH_WITHIN, self.until_fresh()).await;
        self.shared.oracle.expect(fresh.is_ok(), || {
            format!("I18: a verifier is not fresh {FRESH_WITHIN:?} after healing")
        });
    }

    async fn until_led(&self) -> Arc<Node> {
        loop {
            let leader = self.shared.nodes().iter().find(|node| node.leads());
            if let Some(leader) = leader {
                return leader.clone();
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
            let digest = |node: &Arc<Node>| Some(node.moment()?.machine.digest());
            let digests: Vec<_> = nodes.iter().map(digest).collect();
            if digests[0].is_some() && digests.iter().all(|digest| *digest == digests[0]) {
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

fn key(id: u32, purpose: KeyPurpose) -> SealedKey {
    SealedKey {
        id,
        purpose,
        state: KeyState::Active,
        public_key: [u8::try_from(id).expect("small"); 32],
        sealed: vec![0xee; 32],
        changed_at: Revision(0),
        published: UnixMillis(0),
        since: UnixMillis(0),
    }
}
