//! What one operator asked for and another must approve.
//!
//! ```text
//! ask ──▶ pending ──approve, by somebody else, in time──▶ done, in the same step
//!            ├──cancel──▶ gone
//!            └──a day passes──▶ can no longer be approved; a collection removes it
//! ```
//! Who may ask and who may approve is the policy's business and was decided before. What is decided here, on every node
//! alike: that it is in time, that the two are not the same, and that what was asked can still be done.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hessra_revocation::UnixMillis;
use imbl::OrdMap;

use crate::applied::{Refusal, RefusalCode};
use crate::command::{KeyCommand, Lift, Revoke};
use crate::limits::{PENDING_AGE_MILLIS_MAX, PENDING_MAX, PENDING_TARGETS_MAX};
use crate::{Applied, Meta, State};

/// The name of a pending action: `ap_17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PendingId(pub u64);

/// Why a text is not the name of a pending action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pending action; it looks like `ap_17`, copy it from the list of approvals")]
pub struct PendingIdError(String);

impl fmt::Display for PendingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ap_{}", self.0)
    }
}

impl FromStr for PendingId {
    type Err = PendingIdError;

    /// Accepts exactly what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix("ap_").and_then(|id| id.parse().ok());
        let id = number.map(Self).filter(|id| id.to_string() == text);
        id.ok_or_else(|| PendingIdError(text.chars().take(64).collect()))
    }
}

/// What needs two people: whatever can undo safety or hurt everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingAction {
    /// A revocation near the root, at most [`crate::limits::PENDING_TARGETS_MAX`] targets.
    Revoke(Revoke),
    /// A lift after which tokens issued before live again.
    Lift(Lift),
    /// Everything that a key signed is denied.
    RevokeKey(u32),
}

/// One action that waits for a second person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its name.
    pub id: PendingId,
    /// What will be done.
    pub action: PendingAction,
    /// Who asked.
    pub by: String,
    /// When, on the state's clock.
    pub at: UnixMillis,
}

impl Pending {
    /// The state's clock until which it can be approved.
    #[must_use]
    pub fn until(&self) -> UnixMillis {
        UnixMillis(self.at.0.saturating_add(PENDING_AGE_MILLIS_MAX))
    }

    /// Can it no longer be approved?
    #[must_use]
    pub fn has_ended(&self, clock: UnixMillis) -> bool {
        self.until() < clock
    }
}

/// Everything that waits. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pendings {
    waiting: OrdMap<PendingId, Arc<Pending>>,
    /// Number of the next one: a name is never used twice.
    next: u64,
}

impl Pendings {
    /// What waits, oldest first; what has ended and was not collected among it.
    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.waiting.values().map(Arc::as_ref)
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, id: PendingId) -> Option<&Pending> {
        self.waiting.get(&id).map(Arc::as_ref)
    }

    /// Number of the next one.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// From stored ones.
    ///
    /// # Errors
    /// A sentence: a name twice or from the future, or another number than there were.
    pub(crate) fn rebuild(stored: Vec<Pending>, meta: &Meta) -> Result<Self, String> {
        let mut pendings = Self {
            next: meta.next_pending,
            ..Self::default()
        };
        for pending in stored {
            let id = pending.id;
            if id.0 >= meta.next_pending || pending.at > meta.clock {
                return Err(format!("pending action {id} is from the future"));
            }
            if pendings.waiting.insert(id, Arc::new(pending)).is_some() {
                return Err(format!("pending action {id} is there twice"));
            }
        }
        let count = pendings.waiting.len();
        if count as u64 != meta.pending || count > PENDING_MAX {
            return Err(format!(
                "{count} actions are pending, {} are expected and {PENDING_MAX} allowed",
                meta.pending
            ));
        }
        Ok(pendings)
    }
}

impl State {
    /// Puts an action where another operator can approve it, if it could be done now.
    pub(crate) fn ask(&mut self, action: &PendingAction, by: &str) -> Result<Applied, Refusal> {
        if let Some(same) = self.same_pending(action) {
            return Ok(Applied::Pending {
                id: same.id,
                until: same.until(),
                already: true,
            });
        }
        self.check_ask(action)?;
        // Nobody is asked to approve what cannot be done. A clone shares all that is large.
        self.clone().perform(action, by)?;
        let pending = Pending {
            id: PendingId(self.pending.next),
            action: action.clone(),
            by: by.to_owned(),
            at: self.clock,
        };
        let (id, until) = (pending.id, pending.until());
        self.pending.next += 1;
        self.put_pending(pending);
        Ok(Applied::Pending {
            id,
            until,
            already: false,
        })
    }

    /// Does what was asked, and answers what it would have been answered.
    pub(crate) fn approve(&mut self, id: PendingId, by: &str) -> Result<Applied, Refusal> {
        let pending = self.live_pending(id)?.clone();
        if pending.by == by {
            let message = format!(
                "`{by}` asked for {id} and cannot approve it; another operator with the right must"
            );
            return Err(Refusal::new(RefusalCode::SecondPerson, message));
        }
        let both = format!("{} with {by}", pending.by);
        let applied = self.perform(&pending.action, &both)?;
        self.remove_pending(id);
        Ok(applied)
    }

    /// Forgets what was asked.
    pub(crate) fn cancel(&mut self, id: PendingId) -> Result<Applied, Refusal> {
        self.live_pending(id)?;
        self.remove_pending(id);
        Ok(Applied::Cancelled { id })
    }

    /// Removes what can no longer be approved; how many that were.
    pub(crate) fn collect_pending(&mut self) -> usize {
        let clock = self.clock;
        let ended = self
            .pending
            .iter()
            .filter(|pending| pending.has_ended(clock));
        let ended: Vec<PendingId> = ended.map(|pending| pending.id).collect();
        ended.iter().for_each(|id| self.remove_pending(*id));
        ended.len()
    }

    fn perform(&mut self, action: &PendingAction, by: &str) -> Result<Applied, Refusal> {
        match action {
            PendingAction::Revoke(revoke) => self.revoke(revoke, by),
            PendingAction::Lift(lift) => self.lift(lift, by),
            PendingAction::RevokeKey(id) => self.change_key(&KeyCommand::Revoke(*id)),
        }
    }

    fn check_ask(&self, action: &PendingAction) -> Result<(), Refusal> {
        if let PendingAction::Revoke(revoke) = action
            && revoke.targets.len() > PENDING_TARGETS_MAX
        {
            let message = format!(
                "{} targets, at most {PENDING_TARGETS_MAX} wait for approval together; ask for them in parts",
                revoke.targets.len()
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        if self.pending.waiting.len() >= PENDING_MAX {
            let message = format!(
                "{PENDING_MAX} actions wait for approval, the most that can; approve or cancel some of them first"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        Ok(())
    }

    fn same_pending(&self, action: &PendingAction) -> Option<&Pending> {
        let clock = self.clock;
        self.pending
            .iter()
            .find(|pending| pending.action == *action && !pending.has_ended(clock))
    }

    fn live_pending(&self, id: PendingId) -> Result<&Pending, Refusal> {
        let Some(pending) = self.pending.find(id) else {
            let message = format!(
                "{id} does not wait for approval: it was done, cancelled, or ended; list the approvals to see which wait"
            );
            return Err(Refusal::new(RefusalCode::NotFound, message));
        };
        if pending.has_ended(self.clock) {
            let message = format!("{id} waited for too long; ask for it again");
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        Ok(pending)
    }

    fn put_pending(&mut self, pending: Pending) {
        self.pending.waiting.insert(pending.id, Arc::new(pending));
    }

    fn remove_pending(&mut self, id: PendingId) {
        self.pending.waiting.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_action_has_one_name() {
        assert_eq!("ap_17".parse(), Ok(PendingId(17)));
        for text in ["", "ap_", "17", "ap_017", "ap_+1", "AP_1", "ap_1 "] {
            assert!(text.parse::<PendingId>().is_err(), "{text}");
        }
    }
}
