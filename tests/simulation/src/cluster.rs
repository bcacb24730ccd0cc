//! The nodes of one simulation, as clients, verifiers and operators find them.

use std::sync::{Arc, Mutex};

use hessra_sled::Member;
use rand::Rng;

use crate::journal::Journal;
use crate::network::Network;
use crate::node::Node;
use crate::oracle::Oracle;
use crate::peers::Site;
use crate::runtime::random;

/// The nodes of one simulation.
pub struct Cluster {
    /// What they share.
    pub site: Site,
    founders: usize,
    nodes: Mutex<Vec<Arc<Node>>>,
}

impl Cluster {
    /// No node yet. `founders`: how many the cluster is to begin with.
    pub fn new(site: Site, founders: usize) -> Self {
        Self {
            site,
            founders,
            nodes: Mutex::default(),
        }
    }

    /// What happens is written here.
    pub fn journal(&self) -> &Journal {
        &self.site.journal
    }

    /// Sees everything.
    pub fn oracle(&self) -> &Oracle {
        &self.site.journal.oracle
    }

    /// All links.
    pub fn network(&self) -> &Arc<Network> {
        &self.site.network
    }

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

    /// The one at a place in the list, counted around.
    pub fn node_at(&self, place: usize) -> Arc<Node> {
        let nodes = self.nodes();
        nodes[place % nodes.len()].clone()
    }

    /// A machine more, with an id that was never used. `None`: this seed has started `added_max` already.
    pub fn new_node(&self, added_max: usize) -> Option<Arc<Node>> {
        let mut nodes = self.nodes.lock().expect("one thread");
        if nodes.len() >= self.founders + added_max {
            return None;
        }
        let node = Arc::new(Node::new(nodes.len() as u64 + 1, self.site.clone()));
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
        for node in nodes {
            self.site.addresses.detach(node.id);
            node.forget();
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
