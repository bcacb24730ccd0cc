//! Approvals: an action is asked for by one operator, and done when another approves it.
//!
//! The policy decides which actions need two people and who may approve; it was asked before.

use crate::applied::Applied;
use crate::author::Author;
use crate::command::{Approval, KeyCommand, PendingAction, PendingId};
use crate::refusal::{Refusal, RefusalCode};
use crate::state::State;

impl State {
    /// Puts an action where another operator can approve it, if it could be done now.
    pub(crate) fn ask(
        &mut self,
        action: &PendingAction,
        (by, author): (&str, &Author),
    ) -> Result<Applied, Refusal> {
        if let Some(same) = self.pending.same(action, self.clock) {
            return Ok(Applied::Pending {
                id: same.id,
                until: same.until(),
                already: true,
            });
        }
        if author.proof().is_none() {
            self.pending.supersede();
        }
        self.pending.check_room(action)?;
        // No action waits for approval that cannot be done. A clone shares all that is large.
        self.clone().perform(action, by)?;
        let pending = self.pending.add(action.clone(), (by, author), self.clock);
        Ok(Applied::Pending {
            id: pending.id,
            until: pending.until(),
            already: false,
        })
    }

    /// Carries the pending action out, and answers as if it had been asked for directly.
    pub(crate) fn approve(
        &mut self,
        approval: &Approval,
        (by, author): (&str, &Author),
    ) -> Result<Applied, Refusal> {
        let id = approval.id;
        let pending = self.pending.live(id, self.clock)?.clone();
        if pending.is_asked_by(by, author) {
            let message = format!(
                "`{by}` asked for {id}, by name, certificate or key, and cannot approve it; another operator with the right must"
            );
            return Err(Refusal::new(RefusalCode::SecondPerson, message));
        }
        // What a node has asked for is compared by the judge, who can make its statement.
        if !pending.is_of_node() && pending.digest != approval.action {
            let message = format!(
                "{id} is another action than the one that was approved; show it again, and approve what it says now"
            );
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let both = format!("{} with {by}", pending.by);
        let applied = self.perform(&pending.action, &both)?;
        self.pending.remove(id);
        Ok(applied)
    }

    /// Takes a pending action back.
    pub(crate) fn cancel(&mut self, id: PendingId) -> Result<Applied, Refusal> {
        self.pending.live(id, self.clock)?;
        self.pending.remove(id);
        Ok(Applied::Cancelled { id })
    }

    fn perform(&mut self, action: &PendingAction, by: &str) -> Result<Applied, Refusal> {
        match action {
            PendingAction::Revoke(revoke) => self.revoke(revoke, by),
            PendingAction::Lift(lift) => self.lift(lift, by),
            PendingAction::RevokeKey(id) => self.change_key(&KeyCommand::Revoke(*id)),
            PendingAction::ApplyPolicy {
                based_on,
                policy,
                change,
            } => self.apply_policy(*based_on, policy, change, by),
            PendingAction::Members(change) => self.permit_members(change),
            PendingAction::Undo(undo) => self.undo(undo),
        }
    }
}
