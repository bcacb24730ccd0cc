//! The seams of consensus, simulated: a process with its clocks and its figures, and its way to the other members.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_consensus::{
    Change, Inbound, Measurement, Peer, PeerError, Peers, Proposed, ReadIndex, Sender, World,
};
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::raft::InspectResponse;
use hessra_revocation::{Monotonic, UnixMillis};
use hessra_sled::{Member, Vote};
use hessra_state::Stamped;
use openraft::Snapshot;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use rand::RngCore as _;
use tokio::time::{Instant, timeout};

use crate::Config;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::journal::Journal;
use crate::network::{Address, Network};
use crate::runtime::{Process, SimRuntime, random};

/// Entries in one message; more are sent in several.
const ENTRIES_MAX: usize = 12;

/// Parts that the processes of one simulation share. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Site {
    /// Network of all links.
    pub network: Arc<Network>,
    /// Lives that answer, by address.
    pub addresses: Arc<Addresses>,
    /// Journal of what happens.
    pub journal: Arc<Journal>,
}

/// The answering end of a node: one life.
#[derive(Clone)]
pub struct Target {
    /// The life that answers.
    pub process: Process,
    /// Answers of the node to the other members.
    pub inbound: Inbound<SimWorld>,
}

/// Lives that answer, by address.
#[derive(Default)]
pub struct Addresses {
    nodes: Mutex<BTreeMap<Address, Target>>,
}

impl Addresses {
    /// Attaches `target`: from now on it answers at `address`.
    pub fn attach(&self, address: Address, target: Target) {
        self.nodes
            .lock()
            .expect("one thread")
            .insert(address, target);
    }

    /// Detaches the life at `address`: none answers there any more.
    pub fn detach(&self, address: Address) {
        self.nodes.lock().expect("one thread").remove(&address);
    }

    /// The life that answers at `address`, if any does.
    fn at(&self, address: Address) -> Option<Target> {
        self.nodes
            .lock()
            .expect("one thread")
            .get(&address)
            .cloned()
    }
}

/// Member with addresses that are not read here.
pub fn member(id: u64) -> Member {
    Member {
        peer_address: format!("node{id}.simulation:7411"),
        public_address: format!("node{id}.simulation:7401"),
        incarnation: None,
    }
}

/// The process around consensus, simulated.
#[derive(Clone)]
pub struct SimWorld {
    /// Node of the process.
    pub node: Address,
    /// Clocks of the process.
    pub clock: Arc<Clock>,
    /// Disk of its store.
    pub disk: Arc<Disk>,
    /// Way to the other members.
    pub peers: Arc<SimPeers>,
    /// Parts that all processes share.
    pub site: Site,
}

impl World for SimWorld {
    type Runtime = SimRuntime;
    type Peers = SimPeers;

    fn peers(&self) -> &SimPeers {
        &self.peers
    }

    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }

    fn wall(&self) -> UnixMillis {
        self.clock.wall()
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        random().fill_bytes(&mut bytes);
        bytes
    }

    fn measure(&self, measurement: Measurement) {
        self.site
            .journal
            .measured(self.node, measurement, self.disk.is_low());
    }
}

/// One life's way to the other members.
pub struct SimPeers {
    from: Sender,
    site: Site,
}

impl SimPeers {
    /// The way from a machine whose certificate names this node.
    pub fn new(from: Sender, site: Site) -> Self {
        Self { from, site }
    }

    /// The sender of requests to a member, with the stores that it names.
    fn sender(&self, to: &Peer) -> Sender {
        Sender {
            between: to.between,
            ..self.from
        }
    }

    /// Calls a member: there and back, within a time.
    pub async fn call<T, F>(
        &self,
        to: &Peer,
        within: Duration,
        request: impl FnOnce(Inbound<SimWorld>) -> F + Send + 'static,
    ) -> Result<T, PeerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (from, to) = (self.from.id, to.id);
        let exchange = async {
            self.site.network.cross(from, to).await;
            let target = self.site.addresses.at(to).ok_or_else(refused)?;
            let work = request(target.inbound);
            let answered = self.site.network.ask(from, to, target.process, work).await;
            answered.unwrap_or_else(|| Err(broken()))
        };
        match timeout(within, exchange).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(Failure::new(Reason::Deadline, "no answer in time").into()),
        }
    }
}

fn refused() -> Failure {
    Failure::new(Reason::Unavailable, "nobody answers at this address")
}

fn broken() -> Failure {
    Failure::new(Reason::Unavailable, "the connection broke")
}

impl Peers<SimRuntime> for SimPeers {
    async fn append(
        &self,
        to: &Peer,
        request: AppendEntriesRequest<Config>,
        within: Duration,
    ) -> Result<AppendEntriesResponse<u64>, PeerError> {
        if request.entries.len() > ENTRIES_MAX {
            return Err(PeerError::TooLarge {
                fitting: ENTRIES_MAX as u64,
            });
        }
        self.site
            .journal
            .oracle
            .leader_was_seen(&request.vote, self.from.id);
        self.site
            .journal
            .oracle
            .entries_were_sent(request.prev_log_id, &request.entries);
        let from = self.sender(to);
        self.call(to, within, move |inbound| async move {
            inbound.append(from, request).await
        })
        .await
    }

    async fn vote(
        &self,
        to: &Peer,
        request: VoteRequest<u64>,
        within: Duration,
    ) -> Result<VoteResponse<u64>, PeerError> {
        let from = self.sender(to);
        self.call(to, within, move |inbound| async move {
            inbound.vote(from, request).await
        })
        .await
    }

    async fn snapshot(
        &self,
        to: &Peer,
        vote: Vote,
        snapshot: Snapshot<Config>,
        within: Duration,
    ) -> Result<SnapshotResponse<u64>, PeerError> {
        let (from, journal, id) = (self.sender(to), self.site.journal.clone(), to.id);
        let upto = snapshot.meta.last_log_id.map_or(0, |upto| upto.index);
        self.call(to, within, move |inbound| async move {
            if let Some(known) = inbound.may_send_snapshot(from, &vote)? {
                return Ok(known);
            }
            // Before it is: what was begun may be done although its answer is lost.
            journal.snapshot_was_installed(id, upto);
            inbound.snapshot(from, vote, snapshot).await
        })
        .await
    }

    async fn propose(
        &self,
        to: &Peer,
        commands: Vec<Stamped>,
        within: Duration,
    ) -> Result<Proposed, PeerError> {
        let (from, deadline) = (self.sender(to), Instant::now() + within);
        self.call(to, within, move |inbound| async move {
            inbound.may_propose(from, commands.len())?;
            inbound.propose(from, commands, deadline).await
        })
        .await
    }

    async fn read_index(&self, to: &Peer, within: Duration) -> Result<ReadIndex, PeerError> {
        let (from, deadline) = (self.sender(to), Instant::now() + within);
        self.call(to, within, move |inbound| async move {
            inbound.read_index(from, deadline).await
        })
        .await
    }

    async fn stand(&self, to: &Peer, within: Duration) -> Result<(), PeerError> {
        let from = self.sender(to);
        self.call(to, within, move |inbound| async move {
            inbound.stand(from).await
        })
        .await
    }

    async fn change_members(
        &self,
        to: &Peer,
        change: &Change,
        within: Duration,
    ) -> Result<u64, PeerError> {
        let (from, change) = (self.sender(to), change.clone());
        self.call(to, within, move |inbound| async move {
            inbound.change_members(from, &change).await
        })
        .await
    }

    async fn inspect(
        &self,
        to: &Peer,
        verifiers: bool,
        within: Duration,
    ) -> Result<InspectResponse, PeerError> {
        let from = self.sender(to);
        self.call(to, within, move |inbound| async move {
            inbound.inspect(from, verifiers)
        })
        .await
    }
}
