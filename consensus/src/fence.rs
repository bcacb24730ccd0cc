//! Fence around consensus: decides which senders are heard between members.
//!
//! The carrier proves the id of a sender; being proved is not being a member. Heard is a member of the newest membership in
//! this node's log. A node that was away while the members changed must hear a leader that its log does not name yet: it asks
//! the members that it knows, and hears a sender that one of them names in a newer membership. A node that no membership names
//! hears a sender that shows the cluster's join secret, and, while it knows no membership at all, its configured first members.
//!
//! Raft itself lets any sender in (Ongaro, "Consensus: Bridging Theory and Practice", §4.1): there, who may speak is left to the
//! network.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hessra_proto::status::{Failure, Reason};
use hessra_sled::Vote;
use openraft::AsyncRuntime as _;
use tokio::time::sleep;

use crate::consensus::Consensus;
use crate::peers::Between;
use crate::plant::{Plant, is_planted};
use crate::status::Members;
use crate::stores::Check;
use crate::world::World;

/// Least time between two rounds of asking the members about an unknown sender.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// Sender of a request between members, as its carrier proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Node that the sender's certificate names.
    pub id: u64,
    /// True when it showed the join secret of this node's configuration.
    pub shows_join_secret: bool,
    /// Stores between which it asks, as the sender knows them.
    pub between: Between,
}

/// Fence of one node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Fence<W: World> {
    consensus: Consensus<W>,
    founders: Arc<BTreeSet<u64>>,
    asking: Arc<AtomicBool>,
}

impl<W: World> Fence<W> {
    /// `founders`: the first members of the configuration; none on a node that waits to be added.
    pub(crate) fn new(consensus: Consensus<W>, founders: BTreeSet<u64>) -> Self {
        Self {
            consensus,
            founders: Arc::new(founders),
            asking: Arc::default(),
        }
    }

    /// Lets a sender through that may take part in consensus here. Of an unknown one the members are asked meanwhile, so
    /// that its next request may be heard.
    ///
    /// # Errors
    /// The sender is no member.
    pub(crate) fn hear(&self, sender: Sender) -> Result<(), Failure> {
        if is_planted(Plant::StrangersHeard) {
            return Ok(());
        }
        let raft = self.consensus.raft();
        let (own, members) = (raft.identity().id, raft.members());
        self.refuse_removed(sender.id)?;
        if is_heard(own, &members, &self.founders, sender)
            || self.is_newer_member(&members, sender.id)
        {
            return self.compare_stores(&members, sender);
        }
        self.ask_members(sender.id);
        Err(no_member(sender.id))
    }

    /// Lets only a member of this node's own membership through.
    ///
    /// # Errors
    /// The sender is no member.
    pub(crate) fn hear_member(&self, sender: Sender) -> Result<(), Failure> {
        self.refuse_removed(sender.id)?;
        let members = self.consensus.raft().members();
        match members.nodes.contains_key(&sender.id) || is_planted(Plant::StrangersHeard) {
            true => self.compare_stores(&members, sender),
            false => Err(no_member(sender.id)),
        }
    }

    /// Tells a former member that it is none any more, so that it ends.
    fn refuse_removed(&self, sender: u64) -> Result<(), Failure> {
        if !self.consensus.raft().stores().was_removed(sender) {
            return Ok(());
        }
        let message = format!("node {sender} was removed from the cluster");
        Err(Failure::new(Reason::Removed, message))
    }

    /// Refuses a member whose store is not the one that this node knows, and everybody once this node's own is not.
    fn compare_stores(&self, members: &Members, sender: Sender) -> Result<(), Failure> {
        let stores = self.consensus.raft().stores();
        if stores.ended().is_some() {
            return Err(ended());
        }
        let member = members.nodes.get(&sender.id);
        let checked = stores.check(sender.id, member, &sender.between);
        checked.map_err(|check| refused_store(sender.id, check))
    }

    /// Refuses to go on when a leader shows that this node has less than it had acknowledged.
    pub(crate) fn compare_held(&self, sender: Sender, leader: &Vote) -> Result<(), Failure> {
        let stores = self.consensus.raft().stores();
        let checked = stores.check_held(leader, &sender.between);
        checked.map_err(|check| refused_store(sender.id, check))
    }

    /// True when a member that this node knows names the sender in a newer membership than this node has.
    fn is_newer_member(&self, members: &Members, sender: u64) -> bool {
        let reports = self.consensus.neighbours().last_heard();
        reports.iter().any(|(id, report)| {
            members.nodes.contains_key(id)
                && report.membership_index > members.log_index
                && report.members.contains(&sender)
        })
    }

    /// Asks the members for their reports; one round at a time, whatever the number of unknown senders.
    fn ask_members(&self, unknown: u64) {
        if self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        // Once a round: a stranger does not write the log as fast as it can ask.
        tracing::warn!(sender = unknown, "refused a node that is not a member");
        let (neighbours, asking) = (
            self.consensus.neighbours().clone(),
            Arc::clone(&self.asking),
        );
        drop(W::Runtime::spawn(async move {
            neighbours.ask_all(false).await;
            sleep(ASK_PAUSE).await;
            asking.store(false, Ordering::Release);
        }));
    }
}

fn is_heard(own: u64, members: &Members, founders: &BTreeSet<u64>, sender: Sender) -> bool {
    let is_founding = members.nodes.is_empty() && founders.contains(&sender.id);
    let is_joining = !members.nodes.contains_key(&own) && sender.shows_join_secret;
    members.nodes.contains_key(&sender.id) || is_founding || is_joining
}

fn refused_store(sender: u64, check: Check) -> Failure {
    match check {
        Check::Own => ended(),
        Check::Sender(misfit) => {
            tracing::error!(sender, %misfit, "refused a member with another store");
            Failure::new(Reason::Disowned, misfit.to_string())
        }
    }
}

fn ended() -> Failure {
    Failure::new(
        Reason::Unavailable,
        "this node takes no part in consensus any more",
    )
}

fn no_member(id: u64) -> Failure {
    let message = format!("node {id} is not a member. Add it with `hessra cluster add`");
    Failure::new(Reason::NotPermitted, message)
}

#[cfg(test)]
mod tests {
    use hessra_sled::Member;

    use super::*;

    fn members(ids: &[u64]) -> Members {
        Members {
            voters: vec![ids.iter().copied().collect()],
            nodes: ids.iter().map(|id| (*id, Member::default())).collect(),
            log_index: 7,
        }
    }

    fn heard(members: &Members, founders: &[u64], id: u64, shows_join_secret: bool) -> bool {
        let sender = Sender {
            id,
            shows_join_secret,
            between: Between::default(),
        };
        is_heard(1, members, &founders.iter().copied().collect(), sender)
    }

    #[test]
    fn a_member_hears_members_and_no_secret_makes_one() {
        let known = members(&[1, 2, 3]);
        assert!(heard(&known, &[], 2, false));
        assert!(!heard(&known, &[], 4, false) && !heard(&known, &[], 4, true));
        assert!(!heard(&known, &[4], 4, false), "founders found once");
    }

    #[test]
    fn a_node_without_a_membership_hears_its_founders_and_who_shows_the_secret() {
        let none = Members::default();
        assert!(heard(&none, &[1, 2], 2, false));
        assert!(!heard(&none, &[1, 2], 3, false) && !heard(&none, &[], 2, false));
        assert!(heard(&none, &[], 9, true));
    }

    #[test]
    fn a_node_that_is_not_in_the_membership_of_its_log_yet_hears_who_shows_the_secret() {
        let of_others = members(&[2, 3]);
        assert!(heard(&of_others, &[], 9, true) && !heard(&of_others, &[], 9, false));
    }
}
