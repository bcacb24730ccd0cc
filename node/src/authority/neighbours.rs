//! What the other members say of themselves and of the verifiers connected to them.
//!
//! Every member asks every other once a second, and ten times a second while somebody watches a revocation being
//! applied. What a member said is kept when it falls silent, so that its verifiers are not forgotten with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use hessra_proto::status::Reason;
use hessra_proto::v1::raft::change_membership_request::Change as WireChange;
use hessra_proto::v1::raft::{ChangeMembershipRequest, InspectRequest, InspectResponse};
use hessra_proto::v1::{NodeStatus, VerifierStatus, log};
use hessra_revocation::Monotonic;
use hessra_sled::Member;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::edge::Clock;
use crate::raft::RaftHandle;
use crate::raft::membership::{Change, ChangeError};
use crate::raft::peers::within;

/// Between two rounds of asking.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while somebody watches a revocation being applied.
const INTERVAL_WATCHED: Duration = Duration::from_millis(100);
/// A member that does not answer for so long is shown as unreachable.
pub const INSPECT_TIMEOUT: Duration = Duration::from_millis(800);

/// What one member last said.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Of itself.
    pub status: NodeStatus,
    /// Of its verifiers, with ages as of `heard`.
    pub verifiers: Arc<Vec<VerifierStatus>>,
    /// When, on this node's clock.
    pub heard: Monotonic,
}

/// What all other members last said. Cheap to clone.
#[derive(Clone)]
pub struct Neighbours {
    raft: RaftHandle,
    clock: Clock,
    table: Arc<Mutex<BTreeMap<u64, Neighbour>>>,
    rounds: Arc<watch::Sender<u64>>,
    watchers: Arc<AtomicUsize>,
}

/// Asks faster while it lives.
pub struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Neighbours {
    pub(super) fn new(raft: RaftHandle, clock: Clock) -> Self {
        Self {
            raft,
            clock,
            table: Arc::default(),
            rounds: Arc::default(),
            watchers: Arc::default(),
        }
    }

    /// Asks all members again and again, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let rounds = async {
            loop {
                self.ask_all(true).await;
                self.rounds.send_modify(|round| *round += 1);
                self.pause().await;
            }
        };
        stop.run_until_cancelled(rounds).await;
    }

    async fn pause(&self) {
        let begun = Instant::now();
        while begun.elapsed() < INTERVAL {
            sleep(INTERVAL_WATCHED).await;
            if self.watchers.load(Ordering::Acquire) > 0 {
                return;
            }
        }
    }

    /// Counts the rounds of asking.
    #[must_use]
    pub fn rounds(&self) -> watch::Receiver<u64> {
        self.rounds.subscribe()
    }

    /// Asks faster while the result lives.
    #[must_use]
    pub fn watch_closely(&self) -> Watching {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        Watching(Arc::clone(&self.watchers))
    }

    /// What was last heard, by node id.
    #[must_use]
    pub fn last_heard(&self) -> BTreeMap<u64, Neighbour> {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Was the member heard of so lately?
    #[must_use]
    pub fn heard_within(&self, id: u64, bound: Duration) -> bool {
        let now = self.clock.monotonic();
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .get(&id)
            .is_some_and(|neighbour| now.since(neighbour.heard) <= bound)
    }

    /// Asks every other member now. Returns who answered in time.
    pub async fn ask_all(&self, verifiers: bool) -> BTreeMap<u64, NodeStatus> {
        let own = self.raft.identity().id;
        let members = self.raft.members().nodes;
        let others = members.iter().filter(|(id, _)| **id != own);
        let asked = others.map(|(id, member)| self.ask(*id, member, verifiers));
        let answers: BTreeMap<u64, NodeStatus> =
            join_all(asked).await.into_iter().flatten().collect();
        self.forget_strangers(&members);
        answers
    }

    async fn ask(&self, id: u64, member: &Member, verifiers: bool) -> Option<(u64, NodeStatus)> {
        let request = InspectRequest {
            cluster_id: self.raft.peers().cluster_id(),
            verifiers,
        };
        let mut client = self.raft.peers().client(id, member);
        let response = client.inspect(within(request, INSPECT_TIMEOUT)).await;
        match response {
            Ok(response) => self.note(id, response.into_inner(), verifiers),
            Err(status) => {
                tracing::debug!(peer = id, %status, "a member did not answer");
                None
            }
        }
    }

    fn note(
        &self,
        id: u64,
        response: InspectResponse,
        with_verifiers: bool,
    ) -> Option<(u64, NodeStatus)> {
        let status = response.status?;
        let heard = self.clock.monotonic();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let verifiers = match (with_verifiers, table.get(&id)) {
            (false, Some(known)) => Arc::clone(&known.verifiers),
            _ => Arc::new(response.verifiers),
        };
        table.insert(
            id,
            Neighbour {
                status: status.clone(),
                verifiers,
                heard,
            },
        );
        Some((id, status))
    }

    /// Members that were removed, after their verifiers had time to connect elsewhere: at once, because a removed
    /// node's verifiers are told to.
    fn forget_strangers(&self, members: &BTreeMap<u64, Member>) {
        if !members.is_empty() {
            self.table
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|id, _| members.contains_key(id));
        }
    }

    /// Asks the leader to change the members.
    pub(super) async fn forward_change(
        &self,
        (leader, member): (u64, Member),
        change: &Change,
        deadline: Instant,
    ) -> Result<u64, ChangeError> {
        let request = ChangeMembershipRequest {
            cluster_id: self.raft.peers().cluster_id(),
            change: Some(encode_change(change)),
        };
        let mut client = self.raft.peers().client(leader, &member);
        let timeout = deadline.saturating_duration_since(Instant::now());
        let response = client
            .change_membership(within(request, timeout))
            .await
            .map_err(|status| change_error(&status))?;
        let index = response.into_inner().log_index;
        let applied = tokio::time::timeout_at(deadline, self.raft.wait_applied(index)).await;
        // The leader confirmed it; that this node shows it a little later is no error.
        let _ = applied;
        Ok(index)
    }
}

fn encode_change(change: &Change) -> WireChange {
    match change {
        Change::AddLearner { id, member } => WireChange::AddLearner(log::Node {
            id: *id,
            peer_address: member.peer_address.clone(),
            public_address: member.public_address.clone(),
        }),
        Change::Promote(id) => WireChange::Promote(*id),
        Change::Remove(id) => WireChange::Remove(*id),
        Change::TransferTo(id) => WireChange::TransferTo(*id),
    }
}

/// From the wire; `None` for a wish of a newer version.
#[must_use]
pub fn decode_change(change: Option<WireChange>) -> Option<Change> {
    Some(match change? {
        WireChange::AddLearner(node) => Change::AddLearner {
            id: node.id,
            member: Member {
                peer_address: node.peer_address,
                public_address: node.public_address,
            },
        },
        WireChange::Promote(id) => Change::Promote(id),
        WireChange::Remove(id) => Change::Remove(id),
        WireChange::TransferTo(id) => Change::TransferTo(id),
    })
}

fn change_error(status: &tonic::Status) -> ChangeError {
    let message = status.message().to_owned();
    match Reason::from(status) {
        Reason::NoLeader => ChangeError::NotLeader,
        Reason::InvalidArgument => ChangeError::Invalid(message),
        Reason::NotFound => ChangeError::NotFound(message),
        Reason::Conflict => ChangeError::Conflict(message),
        Reason::QuorumLost => ChangeError::QuorumLost(message),
        _ => ChangeError::Unavailable(format!(
            "the leader did not answer: {message}. See `hessra status`"
        )),
    }
}
