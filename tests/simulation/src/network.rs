//! The network between nodes, and from verifiers and clients to them: delay, loss, and links cut one way or both.
//!
//! A message that does not arrive is never answered; the sender's own time-out tells it so. Nothing else fails here:
//! a target that is down simply does not answer either.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_node::raft::Candidacy;
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError,
};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{Snapshot, Vote};
use rand::Rng;

use crate::node::Consensus;
use crate::oracle::Oracle;
use crate::runtime::random;
use crate::{Config, Member, Raft};

/// Who sends and who receives: nodes are 1, 2, 3…; verifiers and clients have numbers from 1000 on and are never cut.
pub type Address = u64;

/// All links.
#[derive(Default)]
pub struct Network {
    links: Mutex<Links>,
    nodes: Mutex<BTreeMap<Address, Consensus>>,
}

#[derive(Debug, Default)]
struct Links {
    cut: BTreeSet<(Address, Address)>,
    loss: f64,
    slow: bool,
}

impl Network {
    /// From now on `node` answers at `address`.
    pub fn attach(&self, address: Address, node: Consensus) {
        self.nodes.lock().expect("one thread").insert(address, node);
    }

    /// Nobody answers at `address` any more.
    pub fn detach(&self, address: Address) {
        self.nodes.lock().expect("one thread").remove(&address);
    }

    /// The node that answers at `address`, if any does.
    pub fn node(&self, address: Address) -> Option<Consensus> {
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

    fn fate(&self, from: Address, to: Address) -> (bool, Duration) {
        let links = self.links.lock().expect("one thread");
        let lost = links.loss > 0.0 && random().gen_bool(links.loss);
        let millis = if links.slow {
            random().gen_range(5..150)
        } else {
            random().gen_range(1..8)
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

/// One node's way to the others.
#[derive(Clone)]
pub struct Connections {
    /// Whose connections these are.
    pub from: Address,
    /// What it learns as a candidate.
    pub candidacy: Arc<Candidacy>,
    /// All links.
    pub network: Arc<Network>,
    /// Sees every entry that is sent.
    pub oracle: Arc<Oracle>,
}

impl RaftNetworkFactory<Config> for Connections {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, _: &Member) -> Connection {
        Connection {
            to: target,
            of: self.clone(),
        }
    }
}

/// One node's way to one other.
pub struct Connection {
    to: Address,
    of: Connections,
}

type RpcError<E = RaftError<u64>> = RPCError<u64, Member, E>;

fn unanswered<E: std::error::Error>() -> RpcError<E> {
    RPCError::Network(NetworkError::new(&std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "no answer",
    )))
}

impl Connection {
    /// There and back. `None` when anything on the way is lost or the target is down.
    async fn call<T, F>(&self, limit: Duration, request: impl FnOnce(Raft) -> F) -> Option<T>
    where
        F: Future<Output = Option<T>>,
    {
        let network = &self.of.network;
        let exchange = async {
            network.cross(self.of.from, self.to).await;
            let answer = request(network.node(self.to)?.raft).await?;
            network.cross(self.to, self.of.from).await;
            Some(answer)
        };
        tokio::time::timeout(limit, exchange).await.ok().flatten()
    }
}

impl RaftNetwork<Config> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        self.of.oracle.entries_were_sent(&request.entries);
        let answer = self.call(option.hard_ttl(), |node| async move {
            node.append_entries(request).await.ok()
        });
        answer.await.ok_or_else(unanswered)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        let asked = request.clone();
        let answer = self.call(option.hard_ttl(), |node| async move {
            node.vote(request).await.ok()
        });
        let answer = answer.await.ok_or_else(unanswered)?;
        self.of.candidacy.heard(&asked, &answer);
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Config>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Config, Fatal<u64>>> {
        let answer = self.call(option.hard_ttl(), |node| async move {
            node.install_full_snapshot(vote, snapshot).await.ok()
        });
        answer.await.ok_or_else(|| {
            StreamingError::Network(NetworkError::new(&std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "no answer",
            )))
        })
    }
}
