//! Stores of the members: finds one that has less than it promised, and keeps it from being counted.
//!
//! Every request between members names the start of the sender and the newest start of the receiver that the sender knows
//! ([`crate::peers::Between`]). Each side compares both with what its own log has recorded ([`hessra_state::starts`]). A sender with another
//! store is refused; a receiver that is taken for another store ends itself. So no vote of it is counted and no entry
//! that it acknowledges, in either direction, and its operator reads what to do.
//!
//! A leader also remembers what a follower has acknowledged to it, and says so with every append. That finds a store that
//! was set back to a copy of its running process, whose start nobody has seen yet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use hessra_proto::status::Reason;
use hessra_sled::{Member, Published, StoreError, Vote};
use hessra_state::{Misfit, Start};
use tokio::sync::watch;

use crate::peers::{Between, PeerError};
use crate::plant::{Plant, is_planted};
use crate::status::StopReason;

/// Makes a start of this process durable.
pub(crate) type KeepStart =
    Box<dyn Fn(Start) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;

/// Stores of the members, as one node knows them. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Stores {
    id: u64,
    own: Arc<Mutex<Start>>,
    keep: Arc<Mutex<Option<KeepStart>>>,
    /// Vote with which this process started.
    first_vote: Vote,
    /// Log index up to which this node has acknowledged entries, in this process or one before it.
    held: Arc<AtomicU64>,
    published: watch::Receiver<Arc<Published>>,
    ended: Arc<watch::Sender<Option<StopReason>>>,
    /// Members that were refused because of their stores.
    refused: Arc<Mutex<BTreeMap<u64, Misfit>>>,
}

impl Stores {
    /// `held`: last log index when this process started.
    pub(crate) fn new(
        (id, own, keep): (u64, Start, KeepStart),
        (first_vote, held): (Vote, u64),
        published: watch::Receiver<Arc<Published>>,
    ) -> Self {
        Self {
            id,
            own: Arc::new(Mutex::new(own)),
            keep: Arc::new(Mutex::new(Some(keep))),
            first_vote,
            held: Arc::new(AtomicU64::new(held)),
            published,
            ended: Arc::default(),
            refused: Arc::default(),
        }
    }

    /// Start of this process.
    pub(crate) fn own(&self) -> Start {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeper of starts, once. It holds the store open, so that it must end with the work that needs it.
    pub(crate) fn take_keeper(&self) -> Option<KeepStart> {
        self.keep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Begins a line of its own for this process, which is recorded. False when it has one: nothing is left to be recorded.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) async fn begin_own_line(&self, keep: &KeepStart) -> Result<bool, StoreError> {
        let Some(start) = self.own().in_its_own_line() else {
            return Ok(false);
        };
        // Durable before it is shown: the next process goes on in it.
        keep(start).await?;
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = start;
        Ok(true)
    }

    /// Stores between which this node asks a member.
    pub(crate) fn between(&self, id: u64, member: &Member) -> Between {
        Between {
            from: self.own(),
            to: self.recorded(id, Some(member)),
            acknowledged: 0,
        }
    }

    /// Newest start of a node that this node knows; its store alone when that is all.
    fn recorded(&self, id: u64, member: Option<&Member>) -> Option<Start> {
        let recorded = self.published.borrow().state.starts().find(id).copied();
        let recorded = recorded.filter(|start| start.count > 0);
        recorded.or_else(|| member?.incarnation.map(Start::of_store))
    }

    /// Checks the sender's store, and that it takes this node's for the one that it is.
    pub(crate) fn check(
        &self,
        sender: u64,
        member: Option<&Member>,
        between: &Between,
    ) -> Result<(), Check> {
        if is_planted(Plant::StoresBelieved) {
            return Ok(());
        }
        if let Some(Err(misfit)) = between.to.map(|known| known.check(&self.own())) {
            tracing::error!(sender, %misfit, "a member knows another store of this node");
            self.disown(misfit);
            return Err(Check::Own);
        }
        let recorded = self.recorded(sender, member);
        let checked = recorded.map_or(Ok(()), |known| known.check(&between.from));
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match checked {
            // The store that the members know may speak again beside a copy of it, which is what `Doubled` is about.
            Ok(()) => {}
            Err(misfit) => drop(refused.insert(sender, misfit)),
        }
        checked.map_err(Check::Sender)
    }

    /// Members that were refused because of their stores, and are members still.
    pub(crate) fn refused(&self) -> Vec<(u64, Misfit)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let still = refused.iter().filter(|(id, _)| !self.was_removed(**id));
        still.map(|(id, misfit)| (*id, *misfit)).collect()
    }

    /// Checks that this node has what it acknowledged to a leader. A leader of an earlier term is not heeded: another one may
    /// have taken entries back since.
    pub(crate) fn check_held(&self, leader: &Vote, between: &Between) -> Result<(), Check> {
        let missing = between.acknowledged > self.held.load(Ordering::Acquire)
            && *leader >= self.first_vote
            && !is_planted(Plant::StoresBelieved);
        if !missing {
            return Ok(());
        }
        let index = between.acknowledged;
        tracing::error!(index, "this node does not have what it had acknowledged");
        self.disown(Misfit::SetBack);
        Err(Check::Own)
    }

    /// Notes that this node acknowledges entries up to `index`: before the answer leaves.
    pub(crate) fn holds(&self, index: u64) {
        self.held.fetch_max(index, Ordering::AcqRel);
    }

    /// True when the node was a member, and the members that are committed do not name it any more.
    pub(crate) fn was_removed(&self, id: u64) -> bool {
        let published = self.published.borrow();
        published.state.starts().find(id).is_some()
            && published.membership.membership().get_node(&id).is_none()
    }

    /// Looks for this node in what it has applied: whether its start is recorded there. Ends it when another start is, or when
    /// it was removed.
    pub(crate) fn is_known(&self) -> bool {
        if self.was_removed(self.id) {
            self.end(StopReason::Removed { id: self.id });
            return true;
        }
        match self
            .recorded(self.id, None)
            .map(|known| (known, known.check(&self.own())))
        {
            Some((_, Err(misfit))) if !is_planted(Plant::StoresBelieved) => {
                self.disown(misfit);
                true
            }
            Some((known, _)) => known == self.own(),
            None => false,
        }
    }

    /// Ends this node, because its store is not the one that the members know.
    pub(crate) fn disown(&self, misfit: Misfit) {
        self.end(StopReason::Disowned {
            id: self.id,
            why: misfit.to_string(),
        });
    }

    /// Heeds a member that refused this node for good.
    pub(crate) fn heed(&self, member: u64, error: &PeerError) {
        let PeerError::Failed(failure) = error else {
            return;
        };
        let reason = match failure.reason {
            Reason::Removed => StopReason::Removed { id: self.id },
            Reason::Disowned => StopReason::Disowned {
                id: self.id,
                why: failure.message.clone(),
            },
            _ => return,
        };
        tracing::error!(member, %failure, "a member refuses this node for good");
        self.end(reason);
    }

    /// Ends this node. The first reason counts.
    pub(crate) fn end(&self, reason: StopReason) {
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert(reason);
            is_first
        });
    }

    /// Reason for which this node has ended itself.
    pub(crate) fn ended(&self) -> Option<StopReason> {
        self.ended.borrow().clone()
    }

    /// Resolves with the reason when this node has ended itself.
    pub(crate) async fn when_ended(&self) -> StopReason {
        let mut ended = self.ended.subscribe();
        let reason = ended.wait_for(Option::is_some).await;
        // The sender lives as long as `self`.
        reason
            .ok()
            .and_then(|reason| reason.clone())
            .unwrap_or_else(|| StopReason::failed("consensus task ended"))
    }
}

/// Outcome of a comparison of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The store of this node is not the one that the members know: it has ended itself.
    Own,
    /// The store of the sender is not the one that this node knows.
    Sender(Misfit),
}
