//! The network between nodes, and from verifiers, clients and operators to them: delay, loss, links cut one way or both.
//!
//! A request travels in one message and is answered in one ([`Network::cross`]): lost, it is never answered, and the
//! sender's own time-out tells it so. A stream resends what is lost ([`Network::deliver`]), as TCP does. What a target
//! does for a request belongs to the target's process: the sender may give up or crash, and the work goes on, or ends.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_consensus::{Change, Inbound, Peer, PeerError, Peers, Proposed};
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::raft::InspectResponse;
use hessra_sled::Vote;
use hessra_state::Stamped;
use openraft::Snapshot;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use rand::Rng;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::Config;
use crate::node::SimWorld;
use crate::oracle::Oracle;
use crate::runtime::{Process, SimRuntime, random};

/// Who sends and who receives: nodes are 1, 2, 3…; verifiers, clients and operators have numbers from 1000 on and are
/// never cut.
pub type Address = u64;

/// TCP's shortest time-out before it sends again.
const RESEND: Duration = Duration::from_millis(200);
/// Entries in one message; openraft is told to send fewer.
const ENTRIES_MAX: usize = 12;

/// All links.
#[derive(Default)]
pub struct Network {
    links: Mutex<Links>,
    nodes: Mutex<BTreeMap<Address, Target>>,
}

/// The answering end of a node: one life.
#[derive(Clone)]
pub struct Target {
    /// The life that answers.
    pub process: Process,
    /// Its answers to the other members.
    pub inbound: Inbound<SimWorld>,
}

#[derive(Debug, Default)]
struct Links {
    cut: BTreeSet<(Address, Address)>,
    long: BTreeSet<(Address, Address)>,
    loss: f64,
    slow: bool,
}

impl Network {
    /// From now on `target` answers at `address`.
    pub fn attach(&self, address: Address, target: Target) {
        self.nodes
            .lock()
            .expect("one thread")
            .insert(address, target);
    }

    /// Nobody answers at `address` any more.
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

    /// Cuts the link in one direction.
    pub fn cut(&self, from: Address, to: Address) {
        self.links
            .lock()
            .expect("one thread")
            .cut
            .insert((from, to));
    }

    /// Makes the link long in one direction: messages arrive late, whatever the other links do.
    pub fn lengthen(&self, from: Address, to: Address) {
        self.links
            .lock()
            .expect("one thread")
            .long
            .insert((from, to));
    }

    /// Share of messages that are lost, and whether delays are long.
    pub fn disturb(&self, loss: f64, slow: bool) {
        let mut links = self.links.lock().expect("one thread");
        links.loss = loss;
        links.slow = slow;
    }

    /// Every link is whole again.
    pub fn heal(&self) {
        *self.links.lock().expect("one thread") = Links::default();
    }

    /// A message on its way: returns when it arrives, never when it does not.
    pub async fn cross(&self, from: Address, to: Address) {
        let (arrives, delay) = self.fate(from, to);
        tokio::time::sleep(delay).await;
        // A link that was cut while the message was under way does not deliver it.
        if !arrives || self.is_cut(from, to) {
            std::future::pending::<()>().await;
        }
    }

    /// A message of a stream on its way: sent again until it arrives.
    pub async fn deliver(&self, from: Address, to: Address) {
        loop {
            let (arrives, delay) = self.fate(from, to);
            tokio::time::sleep(delay).await;
            if arrives && !self.is_cut(from, to) {
                return;
            }
            tokio::time::sleep(RESEND).await;
        }
    }

    /// There, the work of `process` at the target, and back. `None`: the process has ended before it answered, or the
    /// sender was never answered and gives up by itself.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        from: Address,
        to: Address,
        process: Process,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (mut answer, answered) = oneshot::channel();
        // A sender that gives up tells its target, which may stop working or never hear of it.
        let cancels = random().gen_bool(0.5);
        let network = Arc::clone(self);
        process.spawn(async move {
            let outcome = tokio::select! {
                biased;
                outcome = work => outcome,
                () = answer.closed(), if cancels => return,
            };
            network.cross(to, from).await;
            let _ = answer.send(outcome);
        });
        answered.await.ok()
    }

    fn fate(&self, from: Address, to: Address) -> (bool, Duration) {
        let links = self.links.lock().expect("one thread");
        let lost = links.loss > 0.0 && random().gen_bool(links.loss);
        let millis = match links.slow {
            _ if links.long.contains(&(from, to)) => random().gen_range(60..300),
            true => random().gen_range(5..150),
            false => random().gen_range(1..8),
        };
        (
            !lost && !links.cut.contains(&(from, to)),
            Duration::from_millis(millis),
        )
    }

    fn is_cut(&self, from: Address, to: Address) -> bool {
        self.links
            .lock()
            .expect("one thread")
            .cut
            .contains(&(from, to))
    }
}

/// One life's way to the other members.
pub struct SimPeers {
    from: Address,
    network: Arc<Network>,
    oracle: Arc<Oracle>,
}

impl SimPeers {
    /// The way from this node.
    pub fn new(from: Address, network: Arc<Network>, oracle: Arc<Oracle>) -> Self {
        Self {
            from,
            network,
            oracle,
        }
    }

    /// There and back, within a time.
    async fn call<T, F>(
        &self,
        to: &Peer,
        within: Duration,
        request: impl FnOnce(Inbound<SimWorld>) -> F + Send + 'static,
    ) -> Result<T, PeerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (from, to) = (self.from, to.id);
        let exchange = async {
            self.network.cross(from, to).await;
            let target = self.network.at(to).ok_or_else(refused)?;
            let work = request(target.inbound);
            let answered = self.network.ask(from, to, target.process, work).await;
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
        self.oracle.leader_was_seen(&request.vote, self.from);
        self.oracle.entries_were_sent(&request.entries);
        let from = self.from;
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
        let from = self.from;
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
        let from = self.from;
        self.call(to, within, move |inbound| async move {
            inbound.may_send_snapshot(from, &vote)?;
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
        let (from, deadline) = (self.from, Instant::now() + within);
        self.call(to, within, move |inbound| async move {
            inbound.may_propose(from, commands.len())?;
            inbound.propose(from, commands, deadline).await
        })
        .await
    }

    async fn read_index(&self, to: &Peer, within: Duration) -> Result<u64, PeerError> {
        let (from, deadline) = (self.from, Instant::now() + within);
        self.call(to, within, move |inbound| async move {
            inbound.read_index(from, deadline).await
        })
        .await
    }

    async fn stand(&self, to: &Peer, within: Duration) -> Result<(), PeerError> {
        let from = self.from;
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
        let (from, change) = (self.from, change.clone());
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
        let from = self.from;
        self.call(to, within, move |inbound| async move {
            inbound.inspect(from, verifiers)
        })
        .await
    }
}
