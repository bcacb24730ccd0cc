//! The answering side between members: what this member does for another one.
//!
//! Three questions before anything else: is the sender a member (`fence.rs`), does it speak for itself, and is the author of
//! each command that it brings proved (`authors.rs`)? A vote or an append
//! names the node that stands or leads; it is refused when another node brings it. Who the sender *is* was proved before, by
//! the carrier: a node by mutual TLS, the simulation by its links.

use std::collections::BTreeSet;
use std::sync::Arc;

use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::raft::InspectResponse;
use hessra_sled::{StoreError, Types, Vote};
use hessra_state::Stamped;
use openraft::error::RaftError;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, Snapshot};
use tokio::time::Instant;

use crate::askers::ReadIndex;
use crate::authors::Authors;
use crate::consensus::Consensus;
use crate::error::WriteError;
use crate::fence::{Fence, Sender};
use crate::inspector::Inspector;
use crate::membership::Change;
use crate::peers::Proposed;
use crate::trace::{Stage, Step, TracedChange, of_entry};
use crate::world::World;

/// Commands in one forwarded batch; members of this version send at most 256 and one more.
const FORWARDED_COMMANDS_MAX: usize = 1_024;

/// The answering side of one node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Inbound<W: World> {
    consensus: Consensus<W>,
    inspector: Inspector<W>,
    fence: Fence<W>,
    authors: Authors<W>,
}

impl<W: World> Inbound<W> {
    /// Makes the answering side over the parts of this node. `founders`: ids of the first members in its configuration;
    /// none on a node that waits to be added.
    #[must_use]
    pub fn new(consensus: Consensus<W>, inspector: Inspector<W>, founders: BTreeSet<u64>) -> Self {
        let authors = Authors::start(
            Arc::clone(consensus.operators()),
            consensus.audit().clone(),
            consensus.world().clone(),
        );
        Self {
            authors,
            fence: Fence::new(consensus.clone(), founders),
            consensus,
            inspector,
        }
    }

    /// Checks that a sender is heard here at all. For its carrier, before it reads a request; each request asks for itself too.
    ///
    /// # Errors
    /// The sender is no member.
    pub fn hear(&self, from: Sender) -> Result<(), Failure> {
        self.fence.hear(from)
    }

    /// Takes entries from the leader.
    ///
    /// # Errors
    /// The sender does not lead in the vote it names, its entries do not follow each other, one has an author that is not
    /// proved, or consensus has stopped here.
    pub async fn append(
        &self,
        from: Sender,
        request: AppendEntriesRequest<Types<W::Runtime>>,
    ) -> Result<AppendEntriesResponse<u64>, Failure> {
        self.fence.hear(from)?;
        speaks_for_itself(from, &request.vote)?;
        follow_each_other(from.id, &request)?;
        self.authors
            .check_commands(&self.consensus, from.id, &request)?;
        self.authors
            .check_members(&self.consensus, from.id, &request)?;
        self.fence.compare_held(from, &request.vote)?;
        let (begun, brought) = (Instant::now(), self.brought(&request));
        let last = request.entries.last().map(|entry| entry.log_id);
        let last = last.or(request.prev_log_id);
        let raft = self.consensus.raft();
        let answer = raft
            .openraft()
            .append_entries(request)
            .await
            .map_err(stopped)?;
        let matching = match &answer {
            AppendEntriesResponse::Success => last,
            AppendEntriesResponse::PartialSuccess(matching) => *matching,
            _ => None,
        };
        let held = matching.map_or(0, |id| id.index);
        // INVARIANT: openraft took the entries, and this answer is what makes the leader count this node's disk.
        raft.durability()
            .through(held)
            .await
            .map_err(|error| disk_failed(&error))?;
        raft.stores().holds(held);
        for (index, changes) in brought.iter().filter(|(index, _)| *index <= held) {
            self.consensus.world().trace(Step {
                stage: Stage::Appended { index: *index },
                changes,
                took: (begun, Instant::now()),
            });
            raft.trace_flush(*index, changes);
        }
        Ok(answer)
    }

    /// Changes in the entries of an append, when anybody traces them.
    fn brought(
        &self,
        request: &AppendEntriesRequest<Types<W::Runtime>>,
    ) -> Vec<(u64, Vec<TracedChange>)> {
        if !self.consensus.world().is_tracing() {
            return Vec::new();
        }
        let entries = request.entries.iter();
        let changes = entries.map(|entry| (entry.log_id.index, of_entry(entry)));
        changes.filter(|(_, changes)| !changes.is_empty()).collect()
    }

    /// Answers a candidate.
    ///
    /// # Errors
    /// The sender stands for another node, or consensus has stopped here.
    pub async fn vote(
        &self,
        from: Sender,
        request: VoteRequest<u64>,
    ) -> Result<VoteResponse<u64>, Failure> {
        self.fence.hear(from)?;
        speaks_for_itself(from, &request.vote)?;
        let raft = self.consensus.raft().openraft();
        raft.vote(request).await.map_err(stopped)
    }

    /// Checks a sender and its vote before the body of a snapshot is read. `Some`: the answer is known without the body,
    /// because this node has seen a higher vote.
    ///
    /// # Errors
    /// The sender is no member, or does not lead in the vote it names.
    pub fn may_send_snapshot(
        &self,
        from: Sender,
        vote: &Vote,
    ) -> Result<Option<SnapshotResponse<u64>>, Failure> {
        self.fence.hear(from)?;
        speaks_for_itself(from, vote)?;
        let seen = self.consensus.raft().openraft().metrics().borrow().vote;
        Ok((seen > *vote).then(|| SnapshotResponse::new(seen)))
    }

    /// Installs a snapshot from the leader.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn snapshot(
        &self,
        from: Sender,
        vote: Vote,
        snapshot: Snapshot<Types<W::Runtime>>,
    ) -> Result<SnapshotResponse<u64>, Failure> {
        if let Some(known) = self.may_send_snapshot(from, &vote)? {
            return Ok(known);
        }
        let raft = self.consensus.raft();
        let upto = snapshot.meta.last_log_id;
        let installed = raft.openraft().install_full_snapshot(vote, snapshot).await;
        let answer = installed.map_err(|fatal| stopped(RaftError::Fatal(fatal)))?;
        if answer.vote == vote {
            raft.stores().holds(upto.map_or(0, |id| id.index));
        }
        Ok(answer)
    }

    /// Checks that this sender may forward a batch of so many commands. Asked before they are read.
    ///
    /// # Errors
    /// The sender is no member, or the batch is too large.
    pub fn may_propose(&self, from: Sender, commands: usize) -> Result<(), Failure> {
        self.fence.hear_member(from)?;
        if commands > FORWARDED_COMMANDS_MAX {
            let message = format!("a batch has at most {FORWARDED_COMMANDS_MAX} commands");
            return Err(Failure::new(Reason::Limit, message));
        }
        Ok(())
    }

    /// Proposes a batch that another member forwards.
    ///
    /// # Errors
    /// As [`Self::may_propose`], and as [`WriteError`] says.
    pub async fn propose(
        &self,
        from: Sender,
        commands: Vec<Stamped>,
        deadline: Instant,
    ) -> Result<Proposed, Failure> {
        self.may_propose(from, commands.len())?;
        let proposed = self
            .consensus
            .propose_forwarded(from.id, commands, deadline)
            .await;
        proposed.map_err(|error| match error {
            // Told apart, so that the member that forwarded says it in the same words.
            WriteError::NoRoom(reason) => Failure::new(Reason::Degraded, reason),
            error => error.into(),
        })
    }

    /// Confirms the quorum as the leader, and names the log index that a linearizable reader must have applied.
    ///
    /// # Errors
    /// The sender is no member, this node does not lead, or the quorum was not confirmed.
    pub async fn read_index(&self, from: Sender, deadline: Instant) -> Result<ReadIndex, Failure> {
        self.fence.hear_member(from)?;
        let (raft, world) = (self.consensus.raft(), self.consensus.world());
        if !raft.is_leader() {
            return Err(Failure::new(Reason::NoLeader, "this node does not lead"));
        }
        raft.askers().note(raft.term(), from.id, world.monotonic());
        let confirmation = self.consensus.confirm(deadline).await?;
        Ok(raft.read_index(confirmation.index, world.monotonic()))
    }

    /// Stands for election, because the leader hands over.
    ///
    /// # Errors
    /// The sender is no member, or consensus has stopped here.
    pub async fn stand(&self, from: Sender) -> Result<(), Failure> {
        self.fence.hear_member(from)?;
        Ok(self.consensus.raft().stand().await?)
    }

    /// Changes the members as the leader, for another member. Answers with the log index of the membership after it.
    ///
    /// # Errors
    /// The sender is no member, or as [`crate::ChangeError`] says.
    pub async fn change_members(&self, from: Sender, change: &Change) -> Result<u64, Failure> {
        self.fence.hear_member(from)?;
        Ok(self.consensus.change_members_here(change).await?)
    }

    /// Reports what this node is.
    ///
    /// # Errors
    /// The sender is no member.
    pub fn inspect(&self, from: Sender, verifiers: bool) -> Result<InspectResponse, Failure> {
        self.fence.hear(from)?;
        Ok(self.inspector.report(verifiers))
    }
}

fn speaks_for_itself(from: Sender, vote: &Vote) -> Result<(), Failure> {
    let sender = from.id;
    let claimed = vote.leader_id().voted_for();
    if claimed == Some(sender) {
        return Ok(());
    }
    let claimed = claimed.map_or_else(|| "nobody".to_owned(), |id| format!("node {id}"));
    tracing::error!(sender, claimed, "refused a member that spoke for another");
    Err(Failure::new(
        Reason::NotPermitted,
        format!("the certificate is of node {sender}, the request speaks for {claimed}"),
    ))
}

/// Each entry comes after the one before, the first one after the entry that the sender takes for common. openraft takes
/// this for granted, and the store would stop this node.
fn follow_each_other<R: AsyncRuntime>(
    sender: u64,
    request: &AppendEntriesRequest<Types<R>>,
) -> Result<(), Failure> {
    let mut last = request.prev_log_id.map(|id| id.index);
    for entry in &request.entries {
        let (found, expected) = (
            entry.log_id.index,
            last.map_or(Some(0), |last| last.checked_add(1)),
        );
        if Some(found) != expected {
            let after = last.map_or_else(
                || "at the beginning of the log".to_owned(),
                |last| format!("after entry {last}"),
            );
            return Err(out_of_place(
                sender,
                format!("entry {found} was sent {after}"),
            ));
        }
        last = Some(found);
    }
    match last {
        Some(u64::MAX) => Err(out_of_place(
            sender,
            "no entry could follow the last one".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn out_of_place(sender: u64, message: String) -> Failure {
    tracing::error!(
        sender,
        message,
        "refused entries that do not follow each other"
    );
    Failure::new(Reason::InvalidArgument, message)
}

fn disk_failed(error: &StoreError) -> Failure {
    tracing::error!(%error, "the disk did not take what a leader appends");
    Failure::new(
        Reason::Unavailable,
        "the disk of this node has failed. Its log says how",
    )
}

fn stopped(error: RaftError<u64>) -> Failure {
    tracing::error!(%error, "consensus could not serve a peer");
    Failure::new(
        Reason::Unavailable,
        "consensus has stopped on this node. Its log says why",
    )
}
