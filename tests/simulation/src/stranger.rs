//! A stranger: a machine with a certificate of the cluster's CA that was never a member, and does not have the join secret.
//! It tries to lead, to be voted for, to replace the state and to write, and must be heard by no node.

use std::sync::Arc;
use std::time::Duration;

use hessra_consensus::{Between, Change, Inbound, Peer, PeerError, Sender};
use hessra_proto::status::{Failure, Reason};
use hessra_revocation::{Identity, Target, UnixMillis};
use hessra_sled::{LogId, Proposal, Vote};
use hessra_state::{Command, RequestId, Revoke, Stamped};
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{CommittedLeaderId, EntryPayload};
use rand::Rng;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::peers::{SimPeers, SimWorld, member};
use crate::people::author;
use crate::runtime::random;
use crate::{Config, Entry};

/// Time for which the stranger waits for one answer.
const ANSWER_MAX: Duration = Duration::from_millis(400);
/// Terms that it is ahead of the cluster, at most.
const TERMS_AHEAD_MAX: u64 = 3;

/// Stranger that asks nodes at random.
pub struct Stranger {
    sender: Sender,
    cluster: Arc<Cluster>,
}

impl Stranger {
    /// A stranger whose certificate names the node `id`, which the cluster never had.
    pub fn new(id: u64, cluster: Arc<Cluster>) -> Self {
        let sender = Sender {
            id,
            shows_join_secret: false,
            between: Between::default(),
        };
        Self { sender, cluster }
    }

    /// Works until the world stops it.
    pub async fn work(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(random().gen_range(500..2_500))).await;
            self.ask().await;
        }
    }

    async fn ask(&self) {
        let node = self.cluster.any_node();
        let Some(life) = node.life() else { return };
        let status = life.consensus.raft().status();
        let term = status.term + random().gen_range(0..=TERMS_AHEAD_MAX);
        let last = LogId::new(CommittedLeaderId::new(status.term, 0), status.last_index);
        let (from, vote) = (self.sender, Vote::new_committed(term, self.sender.id));
        let (asked, outcome) = match random().gen_range(0..7) {
            0 => {
                let append = forged(vote, last);
                let work = move |inbound: Inbound<SimWorld>| async move {
                    inbound.append(from, append).await.map(drop)
                };
                ("append", self.call(node.id, work).await)
            }
            1 => {
                let vote = VoteRequest::new(Vote::new(term, from.id), Some(last));
                let work = move |inbound: Inbound<SimWorld>| async move {
                    inbound.vote(from, vote).await.map(drop)
                };
                ("vote", self.call(node.id, work).await)
            }
            2 => {
                let work = move |inbound: Inbound<SimWorld>| async move {
                    inbound.may_send_snapshot(from, &vote).map(drop)
                };
                ("snapshot", self.call(node.id, work).await)
            }
            3 => {
                let work = move |inbound: Inbound<SimWorld>| async move {
                    let deadline = Instant::now() + ANSWER_MAX;
                    inbound
                        .propose(from, vec![command()], deadline)
                        .await
                        .map(drop)
                };
                ("propose", self.call(node.id, work).await)
            }
            4 => {
                let work = move |inbound: Inbound<SimWorld>| async move {
                    let deadline = Instant::now() + ANSWER_MAX;
                    inbound.read_index(from, deadline).await.map(drop)
                };
                ("read_index", self.call(node.id, work).await)
            }
            5 => {
                let change = Change::AddLearner {
                    id: from.id,
                    member: member(from.id),
                };
                let work = move |inbound: Inbound<SimWorld>| async move {
                    inbound.change_members(from, &change).await.map(drop)
                };
                ("change_members", self.call(node.id, work).await)
            }
            _ => {
                let work = move |inbound: Inbound<SimWorld>| async move {
                    inbound.inspect(from, true).map(drop)
                };
                ("inspect", self.call(node.id, work).await)
            }
        };
        self.check(node.id, asked, outcome);
    }

    async fn call<F>(
        &self,
        to: u64,
        work: impl FnOnce(Inbound<SimWorld>) -> F + Send + 'static,
    ) -> Result<(), PeerError>
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let peer = Peer {
            id: to,
            member: member(to),
            between: self.sender.between,
        };
        let peers = SimPeers::new(self.sender, self.cluster.site().clone());
        peers.call(&peer, ANSWER_MAX, work).await
    }

    /// Checks S1: refused, or lost on the way.
    fn check(&self, node: u64, asked: &str, outcome: Result<(), PeerError>) {
        let journal = self.cluster.journal();
        let refusal = match outcome {
            Err(PeerError::Failed(failure)) => Some(failure.reason),
            _ => None,
        };
        if refusal == Some(Reason::NotPermitted) {
            journal.count_kind("request of a stranger refused");
        }
        let lost = [Reason::Unavailable, Reason::Deadline];
        let holds =
            refusal.is_some_and(|reason| reason == Reason::NotPermitted || lost.contains(&reason));
        self.cluster.oracle().expect(holds, || {
            format!(
                "S1: node {node} heard the stranger {}: {asked}",
                self.sender.id
            )
        });
    }
}

/// Entries after `last` as their leader would send them, had it been elected.
fn forged(vote: Vote, last: LogId) -> AppendEntriesRequest<Config> {
    let term = vote.leader_id().term;
    let entry = Entry {
        log_id: LogId::new(CommittedLeaderId::new(term, 0), last.index + 1),
        payload: EntryPayload::Normal(Proposal::from(vec![command()])),
    };
    AppendEntriesRequest {
        vote,
        prev_log_id: Some(last),
        entries: vec![entry],
        leader_commit: Some(last),
    }
}

/// A revocation in the name of an operator that does not exist.
fn command() -> Stamped {
    let everyone = Identity::parse("urn:hessra:forged").expect("it is a name");
    let command = Command::Revoke(Revoke {
        targets: vec![Target::Subtree(everyone)],
        permanent: true,
        until: None,
        reason: String::new(),
        ticket: String::new(),
        message: String::new(),
    });
    let request = RequestId(random().r#gen());
    Stamped {
        at: UnixMillis(0),
        author: author("urn:hessra:nobody", request, &command, 0),
        request,
        command,
    }
}
