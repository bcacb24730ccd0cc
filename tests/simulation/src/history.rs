//! The history of one seed, from its beginning to its verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hessra_consensus::Members;
use hessra_consensus::plant::plant;
use hessra_proto::v1::WatchAppliedRequest;
use tokio::time::{Instant, timeout};

use crate::Plant;
use crate::client::Client;
use crate::faults;
use crate::impostor::Impostor;
use crate::journal::{Options, Report, Trust};
use crate::node::Node;
use crate::operator::{self, Operator};
use crate::runtime::{self, Process};
use crate::stranger::Stranger;
use crate::traitor::Traitor;
use crate::verifier::SimVerifier;
use crate::world::{World, supervise};

const CLIENTS: u64 = 4;
const OPERATORS: u64 = 2;
const STRANGERS: u64 = 1;
const IMPOSTORS: u64 = 2;
/// Members that were taken over, at a time.
const TRAITORS: u64 = 1;
/// Time for which things go wrong.
const TROUBLE: Duration = Duration::from_secs(15);
/// Time limit of I18 for a write after healing.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Time limit of I18 for a change of the members that was half done to be completed.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// Time limit of I18 for states to be equal.
const EQUAL_WITHIN: Duration = Duration::from_secs(30);
/// Time limit of A1 for records to be durable.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);
/// Time limit of I18 for verifiers to be fresh.
const FRESH_WITHIN: Duration = Duration::from_secs(5);
/// Time limit of C2 for a revision to be proven applied at every verifier, once all are fresh.
const CONTAINED_WITHIN: Duration = Duration::from_secs(8);

/// Runs one seed.
pub fn simulate(seed: u64, options: Options) -> Report {
    in_one_seed(seed, options, async move {
        let world = Arc::new(World::begin(options).await);
        live(&world).await;
        world.recover().await;
        world.check_history();
        world.check_records().await;
        let oracle = world.cluster.oracle();
        for panic in runtime::panics() {
            oracle.expect(false, || format!("I22: {panic}"));
        }
        let report = world.cluster.journal().report();
        world.cluster.end();
        report
    })
}

/// Time that the two nodes that are left need for another leader when the leader crashes and stays down, over a network
/// with long delays. `None`: more than a minute.
pub fn fail_over(seed: u64, options: Options) -> Option<Duration> {
    in_one_seed(seed, options, async move {
        let world = World::begin(options).await;
        world.found_cluster().await;
        world.cluster.network().disturb(0.0, true);
        let lost = world.until_led().await;
        lost.crash().await;
        let began = Instant::now();
        let led = timeout(Duration::from_secs(60), world.until_led()).await;
        let took = led.ok().map(|_| began.elapsed());
        world.cluster.end();
        took
    })
}

fn in_one_seed<T>(seed: u64, options: Options, history: impl Future<Output = T>) -> T {
    plant(options.plant);
    let outcome = runtime::run(seed, history);
    plant(None);
    outcome
}

/// Lets people and services use the cluster while things go wrong.
async fn live(world: &Arc<World>) {
    world.found_cluster().await;
    if world.cluster.journal().options.plant != Some(Plant::NeverRestarted) {
        tokio::spawn(supervise(world.cluster.clone()));
    }
    world.verifiers.iter().for_each(|verifier| verifier.start());
    let mut users = Vec::new();
    for number in 0..CLIENTS {
        let client = Client::new(2_000 + number, world.cluster.clone());
        users.push(started(client.work()));
    }
    for number in 0..OPERATORS {
        let operator = Operator::new(3_000 + number, world.cluster.clone());
        users.push(started(operator.work()));
    }
    for number in 0..STRANGERS {
        let stranger = Stranger::new(900 + number, world.cluster.clone());
        users.push(started(stranger.work()));
    }
    for number in 0..IMPOSTORS {
        let impostor = Impostor::new(800 + number, world.cluster.clone());
        users.push(started(impostor.work()));
    }
    for _ in 0..TRAITORS {
        users.push(started(Traitor::new(world.cluster.clone()).work()));
    }
    // A replica of a service that took the name of another: it must hide nobody, and nobody it.
    let replica = Arc::new(SimVerifier::named(1_100, 1_000, world.cluster.clone()));
    replica.start();
    faults::disturb(world, Instant::now() + TROUBLE).await;
    replica.crash().await;
    for user in users {
        user.crash().await;
    }
}

fn started(work: impl Future<Output = ()> + Send + 'static) -> Process {
    let process = Process::start();
    process.spawn(work);
    process
}

impl World {
    /// Checks I18 and C2: after healing the cluster writes, completes what was half done, agrees, and proves so.
    async fn recover(&self) {
        self.heal().await;
        let oracle = self.cluster.oracle();
        let written = timeout(WRITE_WITHIN, self.write()).await;
        self.trace_nodes();
        oracle.expect(written.is_ok(), || {
            format!("I18: no write within {WRITE_WITHIN:?} of healing")
        });
        let ended = timeout(SETTLED_WITHIN, self.until_disowned()).await;
        oracle.expect(ended.is_ok(), || {
            format!("I15: a process with another store goes on {SETTLED_WITHIN:?} after healing")
        });
        let settled = timeout(SETTLED_WITHIN, self.until_settled()).await;
        oracle.expect(settled.is_ok(), || {
            format!("I18: a change of the members is half done {SETTLED_WITHIN:?} after healing")
        });
        let equal = timeout(EQUAL_WITHIN, self.until_equal()).await;
        oracle.expect(equal.is_ok(), || {
            format!("I18: states differ {EQUAL_WITHIN:?} after healing")
        });
        let fresh = timeout(FRESH_WITHIN, self.until_fresh()).await;
        oracle.expect(fresh.is_ok(), || {
            format!("I18: a verifier is not fresh {FRESH_WITHIN:?} after healing")
        });
        let contained = timeout(CONTAINED_WITHIN, self.until_contained()).await;
        oracle.expect(contained.is_ok(), || {
            format!(
                "C2: the newest revocation is not proven applied {CONTAINED_WITHIN:?} after all verifiers were fresh"
            )
        });
    }

    /// Traces what each node thinks of the cluster: where to look first when nothing can be written.
    fn trace_nodes(&self) {
        for node in self.cluster.nodes() {
            let id = node.id;
            let said = match node.life() {
                None => "does not run".to_owned(),
                Some(life) => {
                    let raft = life.consensus.raft();
                    let (status, clock) = (raft.status(), life.consensus.clock());
                    let voters = raft.members().voters;
                    format!("{status:?}, voters {voters:?}, clock {clock:?}")
                }
            };
            self.cluster
                .journal()
                .trace(|| format!("node {id}: {said}"));
        }
    }

    async fn heal(&self) {
        self.cluster.network().heal();
        for node in self.cluster.nodes() {
            node.disk.run_low(false);
            node.audit.fill(false);
            // A disk that is about to fail is replaced with the same content: nothing goes wrong from here on. A node that
            // has stopped is left to what starts it again in production.
            if node.disk.is_about_to_fail() && node.has_stopped().is_none() {
                node.crash().await;
            }
            self.cluster.revive(node.id).await;
        }
        self.trust_alike_if_refused().await;
        let verifiers = self.verifiers.iter();
        verifiers.for_each(|verifier| verifier.dawdle(false));
    }

    /// Gives all nodes the same authorities where too few of those that run could elect another leader than the one that trusts
    /// more than they do: an entry that they refuse may be in the log of that one, and Raft has no way back for it.
    async fn trust_alike_if_refused(&self) {
        let cluster = &self.cluster;
        let trust = cluster.journal().trust();
        let running: BTreeMap<u64, Members> = cluster
            .nodes()
            .iter()
            .filter(|node| !node.has_lost_disk())
            .filter_map(|node| Some((node.id, node.life()?.consensus.raft().members())))
            .collect();
        let newest = running.values().max_by_key(|members| members.log_index);
        let refuses = |id| running.contains_key(&id) && !trust.is_of(id);
        if trust == Trust::OfNone || newest.is_some_and(|members| members.has_quorum(refuses)) {
            return;
        }
        cluster.journal().trust_alike();
        for id in running.into_keys() {
            if let Some(node) = cluster.node(id) {
                node.crash().await;
                cluster.revive(id).await;
            }
        }
    }

    async fn write(&self) {
        let mut client = Client::with_right_clock(2_999, self.cluster.clone());
        while !client.revoke().await {}
    }

    /// Returns when every process whose disk has lost something has ended. One that holds nothing has promised nothing, and knows
    /// no member that could tell: it waits to be added, and is found as soon as somebody asks it.
    async fn until_disowned(&self) {
        let goes_on =
            |node: &Arc<Node>| node.has_lost_disk() && !node.is_retired() && !node.is_blank_twin();
        while self.cluster.nodes().iter().any(goes_on) || self.cluster.twins().iter().any(goes_on) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns when no change of the members is under way, and takes out of service what is no member.
    async fn until_settled(&self) {
        while !self.retire_removed().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Takes out of service what is no member. False: a change is under way, or nothing tells.
    async fn retire_removed(&self) -> bool {
        let leader = self.until_led().await;
        let Some(life) = leader.life() else {
            return false;
        };
        let deadline = Instant::now() + Duration::from_secs(1);
        let confirmed = life.consensus.linearize(deadline).await.is_ok();
        let members = life.consensus.raft().members();
        if !confirmed || members.is_changing() {
            return false;
        }
        for node in self.cluster.nodes() {
            if !members.nodes.contains_key(&node.id) {
                node.retire().await;
            }
        }
        true
    }

    async fn until_equal(&self) {
        loop {
            // A removal that was asked for before may be made only now.
            self.retire_removed().await;
            let digest = |node: &Arc<Node>| Some(node.image()?.machine.digest());
            let digests: Vec<_> = self.cluster.nodes().iter().map(digest).collect();
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

    /// Returns when some node says that every verifier has applied the newest acknowledged revocation.
    async fn until_contained(&self) {
        let wanted = WatchAppliedRequest {
            revision: self.cluster.oracle().newest_acknowledged().0,
            fraction: 0.0,
            count: u32::try_from(self.verifiers.len()).expect("a few"),
        };
        loop {
            if let Some(life) = self.cluster.any_node().life()
                && operator::watch(life, wanted).await
            {
                return;
            }
        }
    }

    /// Returns when every node that runs has the records of all that any of them has applied on its disk.
    async fn until_recorded(&self) {
        let nodes = self.cluster.nodes();
        let lives = nodes.iter().filter_map(|node| node.life());
        let applied = lives.map(|life| life.consensus.raft().applied_index());
        let applied = applied.max().unwrap_or(0);
        let lags = |node: &Arc<Node>| {
            let recorded = |life: crate::node::Life| life.consensus.audit().recorded();
            node.life().is_some_and(|life| recorded(life) <= applied)
        };
        while self.cluster.nodes().iter().any(lags) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks A1: every change that was answered has its record, at every node that did not get it with a snapshot.
    async fn check_records(&self) {
        let journal = self.cluster.journal();
        // Before the wait: what is answered while it lasts may be applied after it has ended.
        let answered = journal.answered();
        let caught_up = timeout(RECORDED_WITHIN, self.until_recorded()).await;
        journal.oracle.expect(caught_up.is_ok(), || {
            format!(
                "A1: a node has not recorded what it has applied {RECORDED_WITHIN:?} after healing"
            )
        });
        let nodes = self.cluster.ever();
        let recorded: Vec<_> = nodes.iter().map(|node| node.audit.requests()).collect();
        // One that was removed has recorded what it had applied until then.
        let running = |node: &&Arc<Node>| {
            node.life().is_some() && !node.is_retired() && !node.has_lost_disk()
        };
        for (request, answered) in answered {
            let request = data_encoding::HEXLOWER.encode(&request.0);
            // A retry may be answered from another entry than the one that had the effect, and the record.
            let index = recorded.iter().find_map(|requests| requests.get(&request));
            journal.oracle.expect(index.is_some(), || {
                format!("A1: request {request} was answered at log index {answered}, and no node has its record")
            });
            let index = index.copied().unwrap_or(answered);
            let by_node = nodes.iter().zip(&recorded);
            for (node, requests) in by_node.filter(|(node, _)| running(node)) {
                let skips = node.audit.skipped();
                let is_skipped = skips.iter().any(|skipped| skipped.contains(&index));
                journal
                    .oracle
                    .expect(is_skipped || requests.contains_key(&request), || {
                        format!(
                            "A1: node {} has no record of request {request} at log index {index}",
                            node.id
                        )
                    });
            }
        }
        for node in nodes.iter().filter(running) {
            let installed = journal.installed(node.id);
            let lost = node
                .audit
                .skipped()
                .into_iter()
                .find(|skipped| skipped.end > installed + 1);
            journal.oracle.expect(lost.is_none(), || {
                format!(
                    "A1: node {} has purged the entries {lost:?} before it had recorded them; it has installed snapshots up to {installed}",
                    node.id
                )
            });
        }
    }

    /// Checks I10, I12 and A2, over the whole history.
    fn check_history(&self) {
        let oracle = self.cluster.oracle();
        oracle.finish();
        let nodes = self.cluster.nodes();
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
}
