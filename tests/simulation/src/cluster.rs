//! The nodes of one simulation, as clients, verifiers and operators find them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rand::Rng;

use crate::journal::Journal;
use crate::network::Network;
use crate::node::Node;
use crate::oracle::Oracle;
use crate::peers::Site;
use crate::runtime::random;

/// The nodes of one simulation.
pub struct Cluster {
    /// Parts that the nodes share.
    pub site: Site,
    founders: usize,
    nodes: Mutex<Vec<Arc<Node>>>,
    /// Second processes on copies of disks.
    twins: Mutex<Vec<Arc<Node>>>,
}

impl Cluster {
    /// Cluster without a node yet. `founders`: number of nodes that it is to begin with.
    pub fn new(site: Site, founders: usize) -> Self {
        Self {
            site,
            founders,
            nodes: Mutex::default(),
            twins: Mutex::default(),
        }
    }

    /// Parts that all processes share.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Journal of what happens.
    pub fn journal(&self) -> &Journal {
        &self.site.journal
    }

    /// Oracle, which sees everything.
    pub fn oracle(&self) -> &Oracle {
        &self.site.journal.oracle
    }

    /// Network of all links.
    pub fn network(&self) -> &Arc<Network> {
        &self.site.network
    }

    /// All nodes that are not retired.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let nodes = self.nodes.lock().expect("one thread");
        let in_service = nodes.iter().filter(|node| !node.is_retired());
        in_service.cloned().collect()
    }

    /// All nodes that ever were: the audit of one that is retired is kept.
    pub fn ever(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().expect("one thread").clone()
    }

    /// Node with this id, unless it is retired.
    pub fn node(&self, id: u64) -> Option<Arc<Node>> {
        self.nodes().into_iter().find(|node| node.id == id)
    }

    /// Adds a second process on a copy of a node's disk.
    pub fn add_twin(&self, twin: Arc<Node>) {
        self.twins.lock().expect("one thread").push(twin);
    }

    /// Second processes on copies of disks that have not ended.
    pub fn twins(&self) -> Vec<Arc<Node>> {
        let twins = self.twins.lock().expect("one thread");
        let running = twins.iter().filter(|twin| !twin.is_retired());
        running.cloned().collect()
    }

    /// True once a disk was lost, put back or copied: more of that at a time is more than a minority.
    pub fn has_lost_disk(&self) -> bool {
        let nodes = self.nodes.lock().expect("one thread");
        nodes.iter().any(|node| node.has_lost_disk())
            || !self.twins.lock().expect("one thread").is_empty()
    }

    /// Cuts all links between a node and the others.
    pub fn cut_off(&self, alone: u64) {
        for other in self.nodes() {
            if other.id != alone {
                self.network().cut(alone, other.id);
                self.network().cut(other.id, alone);
            }
        }
    }

    /// True when some node has applied members without this one.
    pub fn is_removed(&self, id: u64) -> bool {
        let without = |node: &Arc<Node>| {
            node.id != id
                && node.life().is_some_and(|life| {
                    let members = life.consensus.raft().members();
                    !members.nodes.is_empty() && !members.nodes.contains_key(&id)
                })
        };
        self.nodes().iter().any(without)
    }

    /// Any node.
    pub fn any_node(&self) -> Arc<Node> {
        let nodes = self.nodes();
        nodes[random().gen_range(0..nodes.len())].clone()
    }

    /// Node at a place in the list, counted around.
    pub fn node_at(&self, place: usize) -> Arc<Node> {
        let nodes = self.nodes();
        nodes[place % nodes.len()].clone()
    }

    /// New machine, with an id that was never used. `None`: this seed has started `added_max` already.
    pub fn new_node(&self, added_max: usize) -> Option<Arc<Node>> {
        let mut nodes = self.nodes.lock().expect("one thread");
        if nodes.len() >= self.founders + added_max {
            return None;
        }
        let id = nodes.len() as u64 + 1;
        let founders: BTreeSet<u64> = (1..=self.founders as u64).collect();
        let configured = if founders.contains(&id) {
            founders
        } else {
            BTreeSet::new()
        };
        let node = Arc::new(Node::new(id, configured, self.site.clone()));
        nodes.push(node.clone());
        Some(node)
    }

    /// Starts a node that is down.
    pub async fn revive(&self, id: u64) {
        let Some(node) = self.node(id) else {
            return;
        };
        if node.life().is_none() {
            node.start().await;
            self.journal().trace(|| format!("node {id} started"));
        }
    }

    /// Lets go of everything: nodes and what they share hold each other.
    pub fn end(&self) {
        let nodes = std::mem::take(&mut *self.nodes.lock().expect("one thread"));
        let twins = std::mem::take(&mut *self.twins.lock().expect("one thread"));
        for node in nodes.into_iter().chain(twins) {
            self.site.addresses.detach(node.id);
            node.forget();
        }
    }
}
