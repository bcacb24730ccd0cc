//! The world of one seed: a cluster, and the verifiers that follow it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_consensus::{Asked, StopReason};
use hessra_revocation::{FeedId, FeedSalt, KeyPurpose, KeyState, Revision, UnixMillis};
use hessra_state::{Applied, Command, Duty, Init, RequestId, SealedKey};
use rand::Rng;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::journal::{Journal, Options};
use crate::node::Node;
use crate::peers::Site;
use crate::people::{CLUSTER, VERIFIERS, policy};
use crate::runtime::random;
use crate::signatures::{FEED_KEY, public_key};
use crate::verifier::SimVerifier;

const NODES: u64 = 3;
/// Time for which a node may remember another one's wrong clock, and more.
const CLOCKS_REMEMBERED: Duration = Duration::from_secs(4);
/// Time between two looks at a node, to see whether it has ended.
const SUPERVISION: Duration = Duration::from_millis(50);
/// Pause before a restart: `RestartSec` of the unit file in `deploy/systemd`.
const RESTART_AFTER: Duration = Duration::from_secs(2);

/// A cluster and its verifiers.
pub struct World {
    /// The nodes.
    pub cluster: Arc<Cluster>,
    /// The verifiers, not all of them running.
    pub verifiers: Vec<Arc<SimVerifier>>,
    /// Instant at which all wall clocks were set right.
    right_since: Mutex<Instant>,
}

impl World {
    /// World of nodes that run and know nothing of each other, and verifiers that do not run yet.
    pub async fn begin(options: Options) -> Self {
        let site = Site {
            network: Arc::default(),
            addresses: Arc::default(),
            journal: Arc::new(Journal::begin(options)),
        };
        let founders = usize::try_from(NODES).expect("a few");
        let cluster = Arc::new(Cluster::new(site, founders));
        for _ in 0..NODES {
            let node = cluster.new_node(0).expect("these are the first");
            node.start().await;
        }
        let verifiers = (0..VERIFIERS)
            .map(|n| Arc::new(SimVerifier::new(1_000 + n, cluster.clone())))
            .collect();
        let right_since = Mutex::new(Instant::now());
        Self {
            cluster,
            verifiers,
            right_since,
        }
    }

    /// Notes that all wall clocks are right.
    pub fn clocks_were_set_right(&self) {
        *self.right_since.lock().expect("one thread") = Instant::now();
    }

    /// True when all wall clocks have been right for as long as the nodes remember.
    pub fn clocks_are_settled(&self) -> bool {
        let since = *self.right_since.lock().expect("one thread");
        since.elapsed() > CLOCKS_REMEMBERED
    }

    /// Any verifier.
    pub fn any_verifier(&self) -> &Arc<SimVerifier> {
        &self.verifiers[random().gen_range(0..self.verifiers.len())]
    }

    /// Makes the nodes a cluster.
    pub async fn found_cluster(&self) {
        let first = self.cluster.nodes()[0].life().expect("started");
        let init = Command::Init(Init {
            feed_id: FeedId(CLUSTER),
            salt: FeedSalt([9; 16]),
            keys: vec![key(1, KeyPurpose::Token), key(FEED_KEY, KeyPurpose::Feed)],
            policy: policy(0),
        });
        let asked = Asked {
            request: RequestId([1; 16]),
            ..first.consensus.asked_by_node(Duty::Start)
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let committed = first.consensus.propose(init, asked, deadline).await;
        let founded = committed
            .as_ref()
            .is_ok_and(|committed| matches!(committed.applied, Applied::Initialized { .. }));
        self.cluster.oracle().expect(founded, || {
            format!("I18: an undisturbed cluster was not founded within ten seconds: {committed:?}")
        });
    }

    /// Returns with the node that believes to lead.
    pub async fn until_led(&self) -> Arc<Node> {
        loop {
            let nodes = self.cluster.nodes();
            if let Some(leader) = nodes.into_iter().find(|node| node.leads()) {
                return leader;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Supervises the nodes as their unit file does: a node that cannot go on ends, and is started again
/// (`Restart=on-failure`).
pub async fn supervise(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(SUPERVISION).await;
        for node in cluster.nodes().into_iter().chain(cluster.twins()) {
            let Some(reason) = node.has_stopped() else {
                continue;
            };
            let journal = cluster.journal();
            journal.trace(|| format!("node {} stopped: {reason}", node.id));
            let cut_short = reason == StopReason::Deposed;
            let for_good = match &reason {
                StopReason::Disowned { .. } => {
                    journal.count_kind("member with another store found");
                    node.has_lost_disk()
                }
                StopReason::Removed { id } => {
                    journal.count_kind("removed member learned it");
                    cluster.is_removed(*id)
                }
                _ => false,
            };
            let explained = cut_short || for_good || node.disk.is_about_to_fail();
            journal.oracle.expect(explained, || {
                format!("I21: node {} stopped by itself: {reason}", node.id)
            });
            if for_good {
                node.retire().await;
                continue;
            }
            if cut_short {
                journal.count_kind("deposed leader stopped by openraft");
            }
            node.crash().await;
            let (cluster, id) = (cluster.clone(), node.id);
            tokio::spawn(async move {
                tokio::time::sleep(RESTART_AFTER).await;
                cluster.revive(id).await;
            });
        }
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
