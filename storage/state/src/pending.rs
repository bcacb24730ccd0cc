//! What one operator asked for and another must approve.
//!
//! ```text
//! ask ──▶ pending ──approve, by somebody else, in time──▶ done, in the same step
//!            ├──cancel──▶ gone
//!            └──a day passes──▶ can no longer be approved; a collection removes it
//! ```
//! Who may ask and who may approve is the policy's business and was decided before. What is decided here, on every node
//! alike: that it is in time, that the two are not the same, and that what was asked can still be done.

use std::sync::Arc;

use hessra_revocation::UnixMillis;
use imbl::OrdMap;

use crate::command::{PendingAction, PendingId};
use crate::limits::{PENDING_AGE_MILLIS_MAX, PENDING_MAX, PENDING_TARGETS_MAX};
use crate::refusal::{Refusal, RefusalCode};

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

    /// Rebuilds the pending actions from stored ones. `next`: number of the next one; `count`: how many there were;
    /// `clock`: the state's.
    ///
    /// # Errors
    /// [`StoredPendingsError`]: a name twice or from the future, or another number than there were.
    pub(crate) fn rebuild(
        stored: Vec<Pending>,
        next: u64,
        count: u64,
        clock: UnixMillis,
    ) -> Result<Self, StoredPendingsError> {
        let mut pendings = Self {
            next,
            ..Self::default()
        };
        for pending in stored {
            let id = pending.id;
            if id.0 >= next || pending.at > clock {
                return Err(StoredPendingsError::Future(id));
            }
            if pendings.waiting.insert(id, Arc::new(pending)).is_some() {
                return Err(StoredPendingsError::Twice(id));
            }
        }
        let found = pendings.waiting.len();
        if found as u64 != count || found > PENDING_MAX {
            return Err(StoredPendingsError::Count {
                found,
                expected: count,
            });
        }
        Ok(pendings)
    }

    /// Adds an action under a new name.
    pub(crate) fn add(&mut self, action: PendingAction, by: &str, at: UnixMillis) -> Arc<Pending> {
        let pending = Arc::new(Pending {
            id: PendingId(self.next),
            action,
            by: by.to_owned(),
            at,
        });
        self.next += 1;
        self.waiting.insert(pending.id, Arc::clone(&pending));
        pending
    }

    pub(crate) fn remove(&mut self, id: PendingId) {
        self.waiting.remove(&id);
    }

    /// Removes the actions that can no longer be approved; how many that were.
    pub(crate) fn collect(&mut self, clock: UnixMillis) -> usize {
        let ended = self.iter().filter(|pending| pending.has_ended(clock));
        let ended: Vec<PendingId> = ended.map(|pending| pending.id).collect();
        ended.iter().for_each(|id| self.remove(*id));
        ended.len()
    }

    /// Is there room for one more action, and is it short enough to be read by the one who approves?
    pub(crate) fn check_room(&self, action: &PendingAction) -> Result<(), Refusal> {
        if let PendingAction::Revoke(revoke) = action
            && revoke.targets.len() > PENDING_TARGETS_MAX
        {
            let message = format!(
                "{} targets, at most {PENDING_TARGETS_MAX} wait for approval together; ask for them in parts",
                revoke.targets.len()
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        if self.waiting.len() >= PENDING_MAX {
            let message = format!(
                "{PENDING_MAX} actions wait for approval, the most that can; approve or cancel some of them first"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        Ok(())
    }

    /// The same action, if it can still be approved.
    pub(crate) fn same(&self, action: &PendingAction, clock: UnixMillis) -> Option<&Pending> {
        self.iter()
            .find(|pending| pending.action == *action && !pending.has_ended(clock))
    }

    /// The action of that name, if it can still be approved.
    pub(crate) fn live(&self, id: PendingId, clock: UnixMillis) -> Result<&Pending, Refusal> {
        let Some(pending) = self.find(id) else {
            let message = format!(
                "{id} does not wait for approval: it was done, cancelled, or ended; list the approvals to see which wait"
            );
            return Err(Refusal::new(RefusalCode::NotFound, message));
        };
        if pending.has_ended(clock) {
            let message = format!("{id} waited for too long; ask for it again");
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        Ok(pending)
    }
}

/// Why stored pending actions are not those of one state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoredPendingsError {
    /// Its name was not given yet, or it is later than the state's clock.
    #[error("pending action {0} is from the future")]
    Future(PendingId),
    /// Two have one name.
    #[error("pending action {0} is there twice")]
    Twice(PendingId),
    /// More or fewer than there were, or than there may be.
    #[error("{found} actions are pending, {expected} are expected and {PENDING_MAX} allowed")]
    Count {
        /// Stored.
        found: usize,
        /// As the meta record says.
        expected: u64,
    },
}
