//! What a node says of itself, and what the members together say of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use hessra_proto::v1::raft::InspectResponse;
use hessra_proto::v1::{NodeStatus, StatusResponse};
use hessra_sled::Member;

use super::Authority;
use crate::feed::FeedHub;
use crate::raft::{Members, Role, Standing};

/// A voter that is further behind is a reason for concern: half a second of heavy load.
const HEALTHY_LAG_MAX: u64 = 5_000;

/// What consensus does not know of its node.
pub trait NodeFacts: Send + Sync + 'static {
    /// `ready`, or the first reason why not: `disk_low`, `keys_sealed`.
    fn readiness(&self) -> String;
    /// Bytes of the store on disk.
    fn disk_bytes(&self) -> u64;

    /// Key-encryption keys that it has, the one that seals first.
    fn keks(&self) -> Vec<String>;
}

/// Looks at this node, and asks the others. Cheap to clone.
#[derive(Clone)]
pub struct Inspector {
    authority: Authority,
    feed: FeedHub,
    facts: Arc<dyn NodeFacts>,
}

impl Inspector {
    /// Over the parts of this node.
    #[must_use]
    pub fn new(authority: Authority, feed: FeedHub, facts: Arc<dyn NodeFacts>) -> Self {
        Self {
            authority,
            feed,
            facts,
        }
    }

    fn own_id(&self) -> u64 {
        self.authority.raft().identity().id
    }

    /// This node alone.
    #[must_use]
    pub fn inspect(&self, verifiers: bool) -> InspectResponse {
        let verifiers = if verifiers {
            self.feed.roster().local(self.own_id())
        } else {
            Vec::new()
        };
        InspectResponse {
            status: Some(self.own_status()),
            verifiers,
        }
    }

    fn own_status(&self) -> NodeStatus {
        let raft = self.authority.raft();
        let standing = raft.standing();
        let member = raft.members().nodes.get(&standing.id).cloned();
        let Member {
            peer_address,
            public_address,
        } = member.unwrap_or_default();
        let state = self.authority.state();
        let view = state.view();
        NodeStatus {
            id: standing.id,
            public_address,
            peer_address,
            role: standing.role.as_str().to_owned(),
            state: self.readiness(&standing),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            applied: standing.applied_index,
            last: standing.last_index,
            revision: view.revision.0,
            lag: 0,
            reachable: true,
            state_root: view.state_root().to_vec(),
            log_root: view.log_root().to_vec(),
            term: standing.term,
            leader: standing.leader.unwrap_or(0),
            snapshot_index: standing.snapshot_index,
            subscribers: u32::try_from(self.feed.roster().subscribers()).unwrap_or(u32::MAX),
            disk_bytes: self.facts.disk_bytes(),
            keks: self.facts.keks(),
        }
    }

    fn readiness(&self, standing: &Standing) -> String {
        let consensus = self.not_ready(standing).map(str::to_owned);
        consensus.unwrap_or_else(|| self.facts.readiness())
    }

    /// Why this node should not serve, as far as consensus is concerned. For `/readyz` too.
    #[must_use]
    pub fn not_ready(&self, standing: &Standing) -> Option<&'static str> {
        let fresh = self
            .authority
            .freshness()
            .is_some_and(|age| age <= self.feed.fresh_for());
        match standing {
            _ if standing.stopped.is_some() => Some("stopped"),
            _ if standing.leader.is_none() => Some("no_leader"),
            _ if !self.authority.state().is_initialized() => Some("not_initialized"),
            _ if !fresh => Some("not_fresh"),
            _ => None,
        }
    }

    /// The whole cluster: asks every member now.
    pub async fn cluster(&self) -> StatusResponse {
        let answers = self.authority.neighbours().ask_all(false).await;
        let (standing, members) = (
            self.authority.raft().standing(),
            self.authority.raft().members(),
        );
        let nodes = self.nodes(answers, &members);
        let enrolled = self
            .feed
            .roster()
            .enrolled(standing.id, &self.authority.neighbours().last_heard());
        StatusResponse {
            cluster_id: self.authority.state().view().feed_id.to_string(),
            healthy: is_healthy(&standing, &members, &nodes),
            leader: standing.leader.unwrap_or(0),
            term: standing.term,
            revision: self.authority.state().view().revision.0,
            subscribers: count(
                enrolled
                    .iter()
                    .filter(|verifier| verifier.connected)
                    .count(),
            ),
            stale: count(
                enrolled
                    .iter()
                    .filter(|verifier| verifier.fails_closed_in_ms == 0)
                    .count(),
            ),
            nodes,
            answered_by: standing.id,
            // The policy says so, see `api/grpc.rs`.
            one_person: false,
        }
    }

    fn nodes(&self, mut answers: BTreeMap<u64, NodeStatus>, members: &Members) -> Vec<NodeStatus> {
        let mut known = self.authority.neighbours().last_heard();
        answers.insert(self.own_id(), self.own_status());
        let last = answers
            .values()
            .map(|status| status.last)
            .max()
            .unwrap_or(0);
        let of_member = |(id, member): (&u64, &Member)| {
            let silent = || {
                known
                    .remove(id)
                    .map(|neighbour| neighbour.status)
                    .unwrap_or_default()
            };
            let reachable = answers.contains_key(id);
            let status = answers.remove(id).unwrap_or_else(silent);
            describe(status, *id, member, reachable, last)
        };
        members.nodes.iter().map(of_member).collect()
    }
}

/// One line of `status`: what the member said, under the address by which the cluster knows it.
fn describe(
    status: NodeStatus,
    id: u64,
    member: &Member,
    reachable: bool,
    last: u64,
) -> NodeStatus {
    NodeStatus {
        id,
        public_address: member.public_address.clone(),
        peer_address: member.peer_address.clone(),
        lag: last.saturating_sub(status.applied),
        reachable,
        state: if reachable {
            status.state
        } else {
            "unreachable".to_owned()
        },
        role: if reachable {
            status.role
        } else {
            "unknown".to_owned()
        },
        ..status
    }
}

/// A leader is known, every voter answers, is ready, follows that leader and is not far behind.
fn is_healthy(standing: &Standing, members: &Members, nodes: &[NodeStatus]) -> bool {
    let Some(leader) = standing.leader else {
        return false;
    };
    let is_well = |node: &NodeStatus| {
        node.reachable
            && node.state == "ready"
            && node.leader == leader
            && node.lag <= HEALTHY_LAG_MAX
    };
    let voters = || nodes.iter().filter(|node| members.is_voter(node.id));
    standing.role != Role::Stopped && voters().count() > 0 && voters().all(is_well)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64) -> NodeStatus {
        NodeStatus {
            id,
            reachable: true,
            state: "ready".into(),
            leader: 1,
            ..Default::default()
        }
    }

    fn verdict(change: impl Fn(&mut NodeStatus)) -> bool {
        let standing = Standing {
            id: 1,
            term: 2,
            leader: Some(1),
            role: Role::Leader,
            last_index: 9,
            applied_index: 9,
            snapshot_index: 0,
            stopped: None,
        };
        let members = Members {
            voters: vec![[1, 2, 3].into()],
            ..Members::default()
        };
        let mut nodes: Vec<NodeStatus> = (1..=4).map(node).collect();
        change(&mut nodes[2]);
        is_healthy(&standing, &members, &nodes)
    }

    #[test]
    fn a_cluster_is_healthy_only_while_every_voter_is_well() {
        assert!(verdict(|_| {}));
        assert!(!verdict(|node| node.reachable = false));
        assert!(!verdict(|node| node.state = "disk_low".into()));
        assert!(!verdict(|node| node.leader = 2));
        assert!(!verdict(|node| node.lag = 50_000));
        assert!(
            verdict(|node| (node.id, node.reachable) = (9, false)),
            "a learner is no voter"
        );
    }
}
