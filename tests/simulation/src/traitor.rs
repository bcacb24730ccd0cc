//! A traitor: a member whose machine somebody else has taken over. It has the certificate of the member, also while that one
//! leads, and everything that people have signed so far; it has no person's key. It forges authors, alters commands, gives them
//! to others, uses old proofs again, and makes itself members. No node may take any of it (S2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hessra_consensus::{Between, Inbound, Peer, PeerError, Sender};
use hessra_people::Person;
use hessra_proof::{Proof, Statement};
use hessra_proto::status::{Failure, Reason};
use hessra_revocation::{Revision, UnixMillis};
use hessra_sled::{LogId, Member, Membership, Proposal, Vote, codec};
use hessra_state::{
    Author, Command, Duty, Lift, Policy, PolicyChange, PolicyOrigin, RequestId, Stamped, State,
};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{CommittedLeaderId, EntryPayload};
use rand::Rng;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::node::Life;
use crate::peers::{SimPeers, SimWorld, member};
use crate::people::{CLIENT, CLUSTER, FORGED, policy};
use crate::runtime::random;
use crate::{Config, Entry};

/// Id of a node that the traitor would add.
const TRAITOR: u64 = 901;
/// Time for which the traitor waits for one answer.
const ANSWER_MAX: Duration = Duration::from_millis(400);
/// Age of a proof that nobody may use any more, in seconds.
const OLD_SECONDS: u64 = 24 * 60 * 60;

/// Traitor that speaks as a member at random.
pub struct Traitor {
    cluster: Arc<Cluster>,
}

impl Traitor {
    /// A traitor in this cluster.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    /// Works until the world stops it.
    pub async fn work(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(random().gen_range(300..1_500))).await;
            self.betray().await;
        }
    }

    async fn betray(&self) {
        let node = self.cluster.any_node();
        let Some(life) = node.life() else { return };
        let Some(leader) = life.consensus.raft().status().leader else {
            return;
        };
        // The node itself needs no network to lie to itself.
        if leader == node.id {
            return self.propose(&life).await;
        }
        // What a later term brings is another matter: here only authors are forged.
        let applied = life.consensus.raft().watch().borrow().applied;
        let term = life.consensus.raft().status().term;
        let Some(applied) = applied.filter(|id| id.leader_id.term == term) else {
            return;
        };
        let (what, payload) = self.forgery(&life);
        let append = append(applied, leader, payload);
        let from = sender(&life, leader);
        let work = move |inbound: Inbound<SimWorld>| async move {
            inbound.append(from, append).await.map(taken)
        };
        let outcome = self.call(from, node.id, work).await;
        self.check(node.id, what, outcome);
    }

    /// Speaks as a member that forwards to the leader.
    async fn propose(&self, life: &Life) {
        let leader = life.consensus.raft().identity().id;
        let members: Vec<u64> = life.consensus.raft().members().nodes.into_keys().collect();
        let other = members.into_iter().find(|id| *id != leader);
        let Some(id) = other else { return };
        let from = sender(life, id);
        let (what, stamped) = self.command(life);
        let work = move |inbound: Inbound<SimWorld>| async move {
            let deadline = Instant::now() + ANSWER_MAX;
            let proposed = inbound.propose(from, vec![stamped], deadline).await;
            proposed.map(|_| true)
        };
        let outcome = self.call(from, leader, work).await;
        self.check(leader, what, outcome);
    }

    async fn call<F>(
        &self,
        from: Sender,
        to: u64,
        work: impl FnOnce(Inbound<SimWorld>) -> F + Send + 'static,
    ) -> Result<bool, PeerError>
    where
        F: Future<Output = Result<bool, Failure>> + Send + 'static,
    {
        let peer = Peer {
            id: to,
            member: member(to),
            between: from.between,
        };
        let peers = SimPeers::new(from, self.cluster.site().clone());
        peers.call(&peer, ANSWER_MAX, work).await
    }

    /// Checks S2: what the traitor brought was not taken.
    fn check(&self, node: u64, what: &str, outcome: Result<bool, PeerError>) {
        let journal = self.cluster.journal();
        let refused = matches!(
            &outcome,
            Err(PeerError::Failed(failure)) if failure.reason == Reason::Unauthenticated
        );
        if refused {
            journal.count_kind("forgery of a member refused");
        }
        // An entry in a place that is filled is answered as one that is there already. What would be taken shows in the
        // members; commands show in the state, which the oracle looks at.
        let has_traitor = |life: Life| life.consensus.raft().members().nodes.contains_key(&TRAITOR);
        let took_members = self.cluster.node(node).and_then(|node| node.life());
        let was_taken = matches!(outcome, Ok(true)) && took_members.is_some_and(has_traitor);
        self.cluster.oracle().expect(!was_taken, || {
            format!("S2: node {node} took from a member what nobody has signed: {what}")
        });
    }

    fn forgery(&self, life: &Life) -> (&'static str, EntryPayload<Config>) {
        if random().gen_bool(0.2) {
            let members = life.consensus.raft().members();
            let ids = members.nodes.keys().copied().chain([TRAITOR]);
            let nodes: BTreeMap<u64, Member> = ids.map(|id| (id, member(id))).collect();
            let membership = Membership::new(members.voters.clone(), nodes);
            return ("members", EntryPayload::Membership(membership));
        }
        let (what, stamped) = self.command(life);
        (what, EntryPayload::Normal(Proposal::from(vec![stamped])))
    }

    /// A command that permits, undoes, or changes who may do what, and that nobody has signed.
    fn command(&self, life: &Life) -> (&'static str, Stamped) {
        let command = forged(&life.consensus.state());
        let now = self.cluster.any_node().clock.wall();
        let request = RequestId(random().r#gen());
        let digest = codec::statement_digest(&command).expect("people make this command");
        let ours = Person::named(CLIENT);
        let (what, author) = match random().gen_range(0..6) {
            0 => {
                let theirs = Person::certified(CLIENT, "authority of the traitor");
                let proof = theirs.proof(CLUSTER, request.0, digest, now.seconds().0);
                (
                    "an author with a certificate of its own making",
                    Author::Operator(proof),
                )
            }
            1 => {
                let stated = Statement {
                    cluster: CLUSTER,
                    request: request.0,
                    command: digest,
                    issued_at: now.seconds().0,
                    expires_at: now.seconds().0 + 60,
                };
                let proof = Proof::of_parts(
                    Arc::clone(ours.signer()),
                    stated,
                    &random().r#gen::<[u8; 32]>(),
                );
                ("an author without a signature", Author::Operator(proof))
            }
            2 => match self.cluster.journal().any_signed() {
                Some(proof) => {
                    let request = RequestId(proof.statement().request);
                    let altered = stamped(now, request, Author::Operator(proof), command);
                    return ("a command under the proof of another", altered);
                }
                None => ("a duty", duty(life)),
            },
            3 => {
                let then = now.seconds().0 - OLD_SECONDS;
                let proof = ours.proof(CLUSTER, request.0, digest, then);
                ("a proof that has ended", Author::Operator(proof))
            }
            4 => {
                let proof = ours.proof([8; 16], request.0, digest, now.seconds().0);
                ("a proof for another cluster", Author::Operator(proof))
            }
            _ => ("a duty", duty(life)),
        };
        (what, stamped(now, request, author, command))
    }
}

/// A member, as itself: the traitor has its store.
fn sender(life: &Life, id: u64) -> Sender {
    let state = life.consensus.state();
    let from = state.starts().find(id).copied().unwrap_or_default();
    Sender {
        id,
        shows_join_secret: true,
        between: Between {
            from,
            ..Between::default()
        },
    }
}

/// Author of what only people do.
fn duty(life: &Life) -> Author {
    let duties = Duty::ALL;
    Author::Node {
        id: life.consensus.raft().status().leader.unwrap_or(1),
        duty: duties[random().gen_range(0..duties.len())],
    }
}

fn stamped(at: UnixMillis, request: RequestId, author: Author, command: Command) -> Stamped {
    Stamped {
        at,
        author,
        request,
        command,
    }
}

fn forged(state: &State) -> Command {
    if random().gen_bool(0.5) {
        let revision = Revision(random().gen_range(1..=state.view().revision.0.max(1)));
        return Command::Lift(Lift {
            revision,
            of: None,
            restore: true,
            reason: String::new(),
        });
    }
    let text = format!("{FORGED}\n{}", policy(1).clients_toml);
    Command::ApplyPolicy {
        based_on: state.policy().0,
        policy: Policy::new(text, String::new()),
        change: PolicyChange {
            origin: PolicyOrigin::Operator,
            ..PolicyChange::default()
        },
    }
}

/// An append as the leader sends it, with one entry of the traitor's.
fn append(last: LogId, leader: u64, payload: EntryPayload<Config>) -> AppendEntriesRequest<Config> {
    let term = last.leader_id.term;
    AppendEntriesRequest {
        vote: Vote::new_committed(term, leader),
        prev_log_id: Some(last),
        entries: vec![Entry {
            log_id: LogId::new(CommittedLeaderId::new(term, 0), last.index + 1),
            payload,
        }],
        leader_commit: Some(last),
    }
}

/// True when the entries of an append are in the log of the member that was asked.
fn taken(response: AppendEntriesResponse<u64>) -> bool {
    matches!(
        response,
        AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)
    )
}
