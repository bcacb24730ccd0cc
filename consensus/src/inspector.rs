//! Reports of this node, and of the cluster as its members together report it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hessra_proto::NodeState;
use hessra_proto::v1::raft::InspectResponse;
use hessra_proto::v1::{Condition, NodeStatus, StartLine, StatusResponse};
use hessra_settings::duration::rounded;
use hessra_sled::{Member, codec};

use crate::clocks::ClockState;
use crate::consensus::Consensus;
use crate::feed::FeedHub;
use crate::status::{Members, RaftStatus, Role};
use crate::world::World;

/// A voter that is further behind is a reason for concern: half a second of heavy load.
const HEALTHY_LAG_MAX: u64 = 5_000;

/// The facts about a node that its consensus does not know.
pub trait NodeFacts: Send + Sync + 'static {
    /// Ready, or the first reason why not: a disk without room, keys that stay sealed.
    fn readiness(&self) -> NodeState;
    /// Bytes of the store on disk.
    fn disk_bytes(&self) -> u64;

    /// Key-encryption keys that it has, the one that seals first.
    fn keks(&self) -> Vec<String>;

    /// What is wrong with the node, each with a stable code; those that keep it from being ready among them.
    fn conditions(&self) -> Vec<Condition>;
}

/// Code of a member whose store is not the one that the members know.
const MEMBER_DISOWNED: &str = "member_disowned";
/// Code of acknowledged changes that are lost.
const ACKNOWLEDGED_LOST: &str = "acknowledged_lost";
/// Condition of a cluster whose time is ahead of its members' clocks.
const TIME_AHEAD: &str = "time_ahead";

fn warning(code: &str, message: String) -> Condition {
    Condition {
        code: code.to_owned(),
        message,
        blocks: false,
    }
}

/// Looks at this node, and asks the others. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Inspector<W: World> {
    consensus: Consensus<W>,
    feed: FeedHub<W>,
    facts: Arc<dyn NodeFacts>,
}

impl<W: World> Inspector<W> {
    /// Makes an inspector over the parts of this node.
    #[must_use]
    pub fn new(consensus: Consensus<W>, feed: FeedHub<W>, facts: Arc<dyn NodeFacts>) -> Self {
        Self {
            consensus,
            feed,
            facts,
        }
    }

    fn own_id(&self) -> u64 {
        self.consensus.raft().identity().id
    }

    /// Reports this node alone, with its verifiers when they are asked for.
    pub(crate) fn report(&self, verifiers: bool) -> InspectResponse {
        // Before the verifiers: who is not among them comes later, and is given no less than this revision.
        let status = self.own_status();
        let verifiers = match verifiers {
            true => self.feed.subscribers().local(self.own_id()),
            false => Vec::new(),
        };
        let members = self.consensus.raft().members();
        InspectResponse {
            status: Some(status),
            verifiers,
            members: members.nodes.into_keys().collect(),
            membership_index: members.log_index,
            guests: count(self.feed.subscribers().guests()),
            now_ms: self.consensus.world().wall().0,
            start: Some(codec::encode_start(&self.consensus.raft().stores().own())),
            up_ms: u64::try_from(self.consensus.neighbours().up().as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn own_status(&self) -> NodeStatus {
        let raft = self.consensus.raft();
        let status = raft.status();
        let member = raft.members().nodes.get(&status.id).cloned();
        let Member {
            peer_address,
            public_address,
            ..
        } = member.unwrap_or_default();
        let state = self.consensus.state();
        let view = state.view();
        NodeStatus {
            id: status.id,
            public_address,
            peer_address,
            role: status.role.as_str().to_owned(),
            state: self.readiness(&status).into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            applied: status.applied_index,
            last: status.last_index,
            revision: view.revision.0,
            lag: 0,
            reachable: true,
            state_root: view.state_root().to_vec(),
            log_root: view.log_root().to_vec(),
            term: status.term,
            leader: status.leader.unwrap_or(0),
            snapshot_index: status.snapshot_index,
            subscribers: u32::try_from(self.feed.subscribers().connected()).unwrap_or(u32::MAX),
            disk_bytes: self.facts.disk_bytes(),
            keks: self.facts.keks(),
            clock_ahead_ms: None,
            conditions: self.conditions(),
            store: raft.start().incarnation.0.to_vec(),
            starts: raft.start().count,
            line: Some(StartLine {
                number: raft.start().line.number,
                nonce: raft.start().line.nonce.to_vec(),
            }),
        }
    }

    /// What is wrong with this node, or as far as it can see: the node's own facts, and those of consensus and the feed.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let mut conditions = self.facts.conditions();
        for (id, misfit) in self.consensus.raft().stores().refused() {
            conditions.push(warning(
                MEMBER_DISOWNED,
                format!("node {id} is not counted: {misfit}. Remove it, and add the machine under a new id"),
            ));
        }
        if let Some(ahead) = self.consensus.time_ahead() {
            conditions.push(warning(
                TIME_AHEAD,
                format!(
                    "the time of the cluster is {} ahead of the members' clocks, which had jumped: what lives for less has ended. \
                     Set it back: `hessra cluster set-clock-back`",
                    rounded(ahead)
                ),
            ));
        }
        if let Some((verifier, revision)) = self.feed.loss() {
            conditions.push(warning(
                ACKNOWLEDGED_LOST,
                format!(
                    "{verifier} holds revision {revision}, which a quorum of the members does not have: acknowledged changes are lost"
                ),
            ));
        }
        conditions
    }

    fn readiness(&self, status: &RaftStatus) -> NodeState {
        let consensus = self.not_ready(status);
        consensus.unwrap_or_else(|| self.facts.readiness())
    }

    /// Reason for which this node should not serve, as far as consensus is concerned. For `/readyz` too.
    #[must_use]
    pub fn not_ready(&self, status: &RaftStatus) -> Option<NodeState> {
        let fresh = self
            .consensus
            .freshness()
            .is_some_and(|age| age <= self.feed.fresh_for());
        match status {
            _ if status.stopped.is_some() => Some(NodeState::Stopped),
            _ if status.leader.is_none() => Some(NodeState::NoLeader),
            _ if !self.consensus.state().is_initialized() => Some(NodeState::NotInitialized),
            _ if !fresh => Some(NodeState::NotFresh),
            _ if matches!(self.consensus.clock(), ClockState::Off(_)) => Some(NodeState::ClockOff),
            _ => None,
        }
    }

    /// Reports the whole cluster: asks every member now.
    pub async fn cluster(&self) -> StatusResponse {
        let answers = self.consensus.neighbours().ask_all(false).await;
        let (status, members) = (
            self.consensus.raft().status(),
            self.consensus.raft().members(),
        );
        let nodes = self.nodes(answers, &members);
        let enrolled = self.feed.subscribers().enrolled(
            status.id,
            &self.consensus.neighbours().others(),
            &self.feed.policy(),
        );
        StatusResponse {
            cluster_id: self.consensus.state().view().feed_id.to_string(),
            healthy: is_healthy(&status, &members, &nodes),
            leader: status.leader.unwrap_or(0),
            term: status.term,
            revision: self.consensus.state().view().revision.0,
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
            answered_by: status.id,
            // The policy says so, which consensus does not read.
            one_person: false,
            clock_set_backs: self.consensus.state().clock_set_backs(),
        }
    }

    fn nodes(&self, mut answers: BTreeMap<u64, NodeStatus>, members: &Members) -> Vec<NodeStatus> {
        let mut known = self.consensus.neighbours().last_heard();
        answers.insert(self.own_id(), self.own_status());
        let ahead = self.consensus.clocks_ahead();
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
            let mut described = describe(status, *id, member, reachable, last);
            described.clock_ahead_ms = match *id == self.own_id() {
                true => Some(0),
                false => ahead.get(id).copied(),
            };
            described
        };
        members.nodes.iter().map(of_member).collect()
    }
}

/// One line of `status`: the member's own report, under the address by which the cluster knows it.
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
            NodeState::Unreachable.into()
        },
        role: if reachable {
            status.role
        } else {
            "unknown".to_owned()
        },
        ..status
    }
}

/// A leader is known, every voter answers, is ready, follows that leader, is not far behind, and sees nothing wrong.
fn is_healthy(status: &RaftStatus, members: &Members, nodes: &[NodeStatus]) -> bool {
    let Some(leader) = status.leader else {
        return false;
    };
    let is_well = |node: &NodeStatus| {
        node.reachable
            && node.is_ready()
            && node.leader == leader
            && node.lag <= HEALTHY_LAG_MAX
            && node.conditions.is_empty()
    };
    let voters = || nodes.iter().filter(|node| members.is_voter(node.id));
    status.role != Role::Stopped && voters().count() > 0 && voters().all(is_well)
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
            state: NodeState::Ready.into(),
            leader: 1,
            ..Default::default()
        }
    }

    fn verdict(change: impl Fn(&mut NodeStatus)) -> bool {
        let status = RaftStatus {
            id: 1,
            term: 2,
            leader: Some(1),
            role: Role::Leader,
            last_index: 9,
            applied_index: 9,
            snapshot_index: 0,
            purged_index: 0,
            stopped: None,
        };
        let members = Members {
            voters: vec![[1, 2, 3].into()],
            ..Members::default()
        };
        let mut nodes: Vec<NodeStatus> = (1..=4).map(node).collect();
        change(&mut nodes[2]);
        is_healthy(&status, &members, &nodes)
    }

    #[test]
    fn a_cluster_is_healthy_only_while_every_voter_is_well() {
        assert!(verdict(|_| {}));
        assert!(!verdict(|node| node
            .conditions
            .push(warning(MEMBER_DISOWNED, String::new()))));
        assert!(!verdict(|node| node.reachable = false));
        assert!(!verdict(|node| node.state = NodeState::DiskLow.into()));
        assert!(!verdict(|node| node.leader = 2));
        assert!(!verdict(|node| node.lag = 50_000));
        assert!(
            verdict(|node| (node.id, node.reachable) = (9, false)),
            "a learner is no voter"
        );
    }
}
