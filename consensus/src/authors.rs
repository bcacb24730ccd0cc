//! Authors of commands: asked before a command is proposed, and before an entry that another member brings is acknowledged.
//!
//! ```text
//! append ─▶ each command ─▶ an operator's that permits, undoes, or changes who may do what ─▶ proof, at once ─▶ acknowledged
//!                      │                                                                          └─▶ or refused: alarm
//!                      ├──▶ an operator's that only denies ─▶ acknowledged; proof beside ─▶ alarm
//!                      ├──▶ a node's duty: one of the closed list, of the leader itself where only it does it
//!                      └──▶ members: they follow from what an operator's command permits
//! ```
//!
//! The author's rights are not asked here but when the entry is applied, by every node alike: an entry that a leader took in
//! good faith must not stay in its log unacknowledged because the policy changed on the way.

use std::sync::Arc;

use hessra_audit::{Event, Outcome, Record};
use hessra_proof::{Checker, Unproved};
use hessra_proto::status::{Failure, Reason};
use hessra_revocation::FeedId;
use hessra_sled::{Entry, Membership, Proposal, Types};
use hessra_state::{Author, Command, PendingAction, Stamped};
use openraft::raft::AppendEntriesRequest;
use openraft::{AsyncRuntime, EntryPayload};
use tokio::sync::mpsc;

use crate::audit::AuditGate;
use crate::author::{check, check_for_alarm, cluster_of};
use crate::consensus::Consensus;
use crate::measurement::Measurement;
use crate::membership::is_explained;
use crate::plant::{Plant, is_planted};
use crate::world::World;

/// Revocations whose proofs wait to be checked beside the path; further ones are checked on it. Sixteen full entries.
const BESIDE_MAX: usize = 4_096;
/// Proofs that are checked together.
const TOGETHER_MAX: usize = 16;

/// True for a command whose direction is safe: it makes something denied, and can permit nothing.
fn only_denies(command: &Command) -> bool {
    matches!(
        command,
        Command::Revoke(_) | Command::Ask(PendingAction::Revoke(_))
    )
}

/// Command that is checked beside the path, and what is known of it.
struct Beside {
    cluster: Option<FeedId>,
    sender: u64,
    index: u64,
    stamped: Stamped,
}

/// Checks of what other members bring. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Authors<W: World> {
    operators: Arc<Checker>,
    alarm: Alarm<W>,
    beside: mpsc::Sender<Beside>,
}

impl<W: World> Authors<W> {
    /// Starts the checks beside the path; they end with the last clone.
    pub(crate) fn start(operators: Arc<Checker>, audit: AuditGate, world: W) -> Self {
        let alarm = Alarm { audit, world };
        let (beside, waiting) = mpsc::channel(BESIDE_MAX);
        let checks = check_beside(Arc::clone(&operators), alarm.clone(), waiting);
        drop(W::Runtime::spawn(checks));
        Self {
            operators,
            alarm,
            beside,
        }
    }

    /// Checks the authors of the entries of an append, before they are handed on to be acknowledged.
    ///
    /// # Errors
    /// One is not proved; the alarm was raised.
    pub(crate) fn check_commands(
        &self,
        consensus: &Consensus<W>,
        sender: u64,
        request: &AppendEntriesRequest<Types<W::Runtime>>,
    ) -> Result<(), Failure> {
        let (term, cluster) = (
            request.vote.leader_id().term,
            cluster_of(&consensus.state()),
        );
        let applied = consensus.raft().watch().borrow().applied;
        for entry in &request.entries {
            // What is applied was acknowledged before: a leader sends it again to whoever it does not know yet.
            let is_applied = applied.is_some_and(|applied| entry.log_id.index <= applied.index);
            let EntryPayload::Normal(Proposal(commands)) = &entry.payload else {
                continue;
            };
            if is_applied {
                continue;
            }
            let leads = entry.log_id.leader_id.term == term;
            for stamped in commands.iter() {
                let brought = Brought {
                    cluster,
                    sender,
                    leads,
                    index: entry.log_id.index,
                };
                self.check_command(brought, stamped)?;
            }
        }
        Ok(())
    }

    /// Checks that the members of each entry follow from what operators have permitted, as of that entry. What was permitted
    /// is read from the state as the log makes it, committed or not: so every member that has the same log says the same.
    ///
    /// # Errors
    /// A membership is not explained; the alarm was raised.
    pub(crate) fn check_members(
        &self,
        consensus: &Consensus<W>,
        sender: u64,
        request: &AppendEntriesRequest<Types<W::Runtime>>,
    ) -> Result<(), Failure> {
        let none = request
            .entries
            .iter()
            .all(|entry| membership(entry).is_none());
        if none || is_planted(Plant::AuthorsBelieved) {
            return Ok(());
        }
        let published = Arc::clone(&consensus.raft().watch().borrow());
        let applied = published.applied.map(|id| id.index);
        let Some(before) = self.before(consensus, applied, request)? else {
            // The log here differs: openraft says so, and acknowledges nothing.
            return Ok(());
        };
        // What is applied was acknowledged before, and nothing takes its place.
        let brought = request.entries.iter();
        let brought: Vec<_> = brought
            .filter(|entry| applied.is_none_or(|applied| entry.log_id.index > applied))
            .collect();
        let newest = before.iter().filter_map(membership).next_back();
        let mut members = newest.unwrap_or(published.membership.membership()).clone();
        let remembered = consensus.raft().remembered();
        for (place, entry) in brought.iter().enumerate() {
            let Some(after) = membership(entry) else {
                continue;
            };
            let earlier = before.iter().chain(brought[..place].iter().copied());
            let mut commands = earlier.filter_map(commands).flatten();
            let state = remembered.foresee(&mut commands);
            if !is_explained(&members, after, state.member_change()) {
                let unproved = Unproved::OtherAuthor(format!("node {sender}"));
                return Err(self.alarm.raise(sender, entry.log_id.index, &unproved));
            }
            members = after.clone();
        }
        Ok(())
    }

    /// Entries between what is applied here and the append. `None`: the log here does not have the entry that the append
    /// follows.
    fn before(
        &self,
        consensus: &Consensus<W>,
        applied: Option<u64>,
        request: &AppendEntriesRequest<Types<W::Runtime>>,
    ) -> Result<Option<Vec<Entry<W::Runtime>>>, Failure> {
        let first = applied.map_or(0, |applied| applied + 1);
        let Some(previous) = request.prev_log_id.filter(|id| id.index >= first) else {
            return Ok(Some(Vec::new()));
        };
        let mut entries: Vec<Entry<W::Runtime>> = Vec::new();
        loop {
            let next = entries.last().map_or(first, |last| last.log_id.index + 1);
            if next > previous.index {
                break;
            }
            let kept = consensus.kept(next, previous.index + 1);
            let kept = kept.map_err(|error| {
                tracing::error!(%error, "the log was not read");
                Failure::new(Reason::Unavailable, "the log of this node cannot be read")
            })?;
            if kept.first().map(|entry| entry.log_id.index) != Some(next) {
                return Ok(None);
            }
            entries.extend(kept);
        }
        let is_there = entries.last().map(|entry| entry.log_id) == Some(previous);
        Ok(is_there.then_some(entries))
    }

    fn check_command(&self, brought: Brought, stamped: &Stamped) -> Result<(), Failure> {
        let sender = brought.sender;
        let checked = match &stamped.author {
            Author::Node { id, duty } if duty.is_of_leader() && brought.leads && *id != sender => {
                Err(Unproved::OtherAuthor(stamped.author.to_string()))
            }
            Author::Operator(_) if only_denies(&stamped.command) => {
                self.check_later(brought, stamped);
                Ok(())
            }
            _ => check(&self.operators, brought.cluster, stamped),
        };
        checked.map_err(|unproved| self.alarm.raise(sender, brought.index, &unproved))
    }

    fn check_later(&self, brought: Brought, stamped: &Stamped) {
        let beside = Beside {
            cluster: brought.cluster,
            sender: brought.sender,
            index: brought.index,
            stamped: stamped.clone(),
        };
        // Too many wait: then this one is checked before it is acknowledged, and the sender waits for it.
        if let Err(full) = self.beside.try_send(beside) {
            check_together(&[full.into_inner()], &self.operators, &self.alarm);
        }
    }
}

/// Circumstances of a command that a member brings.
#[derive(Clone, Copy)]
struct Brought {
    cluster: Option<FeedId>,
    sender: u64,
    /// The entry is of the term in which the sender leads: it made it itself.
    leads: bool,
    index: u64,
}

fn membership<R: AsyncRuntime>(entry: &Entry<R>) -> Option<&Membership> {
    match &entry.payload {
        EntryPayload::Membership(membership) => Some(membership),
        EntryPayload::Blank | EntryPayload::Normal(_) => None,
    }
}

fn commands<R: AsyncRuntime>(entry: &Entry<R>) -> Option<&[Stamped]> {
    match &entry.payload {
        EntryPayload::Normal(Proposal(commands)) => Some(commands),
        EntryPayload::Blank | EntryPayload::Membership(_) => None,
    }
}

async fn check_beside<W: World>(
    operators: Arc<Checker>,
    alarm: Alarm<W>,
    mut waiting: mpsc::Receiver<Beside>,
) {
    let mut taken = Vec::with_capacity(TOGETHER_MAX);
    while waiting.recv_many(&mut taken, TOGETHER_MAX).await > 0 {
        check_together(&taken, &operators, &alarm);
        taken.clear();
        // They take about half a millisecond, or two when they are not of Ed25519: others have their turn between.
        tokio::task::yield_now().await;
    }
}

fn check_together<W: World>(taken: &[Beside], operators: &Checker, alarm: &Alarm<W>) {
    let commands = taken.iter().map(|one| (one.cluster, &one.stamped));
    let checked = check_for_alarm(operators, &commands.collect::<Vec<_>>());
    for (one, checked) in taken.iter().zip(checked) {
        if let Err(unproved) = checked {
            let _ = alarm.raise(one.sender, one.index, &unproved);
        }
    }
}

/// Alarm about a member that brings what nobody has proved.
#[derive(Clone)]
struct Alarm<W> {
    audit: AuditGate,
    world: W,
}

impl<W: World> Alarm<W> {
    /// Raises it: figure, log and audit name the node. Returns the refusal for the sender.
    fn raise(&self, sender: u64, index: u64, unproved: &Unproved) -> Failure {
        tracing::error!(sender, index, %unproved, "a member brought an entry whose author is not proved");
        self.world.measure(Measurement::Unproved { sender });
        let mut record = Record::new(
            Event::CommandUnproved,
            Outcome::Failure,
            self.world.wall().0,
        )
        .with("index", index);
        record.actor.auth = "node".to_owned();
        record.action = "check".to_owned();
        record.target.r#type = "member".to_owned();
        record.target.id = format!("node {sender}");
        record.message = format!("it brought an entry whose author is not proved: {unproved}");
        self.audit.tell(record);
        Failure::new(Reason::Unauthenticated, unproved.to_string())
    }
}
