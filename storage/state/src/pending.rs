//! Pending actions: asked for by one operator, to be approved by another.
//!
//! ```text
//! ask ──▶ pending ──approve, by somebody else, in time──▶ done, in the same step
//!            ├──cancel──▶ gone
//!            ├──the asker loses the right, or is revoked──▶ gone
//!            ├──another policy stands than the one it was made from──▶ gone
//!            └──a day passes──▶ can no longer be approved; a collection removes it
//! ```
//! The policy decides who may ask and who may approve; it was asked before. Decided here, on every node alike: that the
//! approval is in time, that the two operators differ in name, certificate and key, and that the action can still be done.

use std::sync::Arc;

use hessra_revocation::{Identity, Revision, UnixMillis};
use imbl::OrdMap;

use crate::author::Author;
use crate::command::{PendingAction, PendingId};
use crate::limits::{
    PENDING_AGE_MILLIS_MAX, PENDING_MAX, PENDING_POLICIES_MAX, PENDING_TARGETS_MAX,
};
use crate::refusal::{Refusal, RefusalCode};

/// Action that waits for a second person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Name of the pending action.
    pub id: PendingId,
    /// Action that will be done.
    pub action: PendingAction,
    /// Operator who asked.
    pub by: String,
    /// SHA-256 of the certificate with which it was asked for.
    pub certificate: [u8; 32],
    /// SHA-256 of the public key with which it was asked for. Zeros, as the certificate is: a node has asked.
    pub key: [u8; 32],
    /// Digest of the action, as the asker signed it; the approver signs the same. Zeros: a node has asked.
    pub digest: [u8; 32],
    /// Time of asking, on the state's clock.
    pub at: UnixMillis,
}

impl Pending {
    /// True when a node has asked, for a commit of a followed repository.
    #[must_use]
    pub fn is_of_node(&self) -> bool {
        self.certificate == [0; 32]
    }

    /// True when the asker is also this author: by name, however it is spelled, by certificate, or by key. One certificate is
    /// one person, whatever the names in it.
    #[must_use]
    pub fn is_asked_by(&self, by: &str, author: &Author) -> bool {
        let is_same_name = spelled(&self.by) == spelled(by);
        let is_same_signer = author.proof().is_some_and(|proof| {
            let signer = proof.signer();
            signer.fingerprint() == self.certificate || signer.key_digest() == self.key
        });
        is_same_name || is_same_signer
    }

    /// Clock of the state until which it can be approved.
    #[must_use]
    pub fn until(&self) -> UnixMillis {
        UnixMillis(self.at.0.saturating_add(PENDING_AGE_MILLIS_MAX))
    }

    fn is_policy(&self) -> bool {
        matches!(self.action, PendingAction::ApplyPolicy { .. })
    }

    /// True when it can no longer be approved.
    #[must_use]
    pub fn has_ended(&self, clock: UnixMillis) -> bool {
        self.until() < clock
    }
}

/// Path of a name: `uri:` in front of it is a spelling of the same.
fn spelled(name: &str) -> String {
    Identity::parse_spelled(name).map_or_else(|_| name.to_owned(), |name| name.path().to_owned())
}

/// All pending actions. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pendings {
    waiting: OrdMap<PendingId, Arc<Pending>>,
    /// Number of the next one: a name is never used twice.
    next: u64,
}

impl Pendings {
    /// Pending actions, oldest first, also those that have ended and were not collected.
    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.waiting.values().map(Arc::as_ref)
    }

    /// Pending action of that name.
    #[must_use]
    pub fn find(&self, id: PendingId) -> Option<&Pending> {
        self.waiting.get(&id).map(Arc::as_ref)
    }

    /// Number of the next pending action.
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
    pub(crate) fn add(
        &mut self,
        action: PendingAction,
        (by, author): (&str, &Author),
        at: UnixMillis,
    ) -> Arc<Pending> {
        let proof = author.proof();
        let pending = Arc::new(Pending {
            id: PendingId(self.next),
            action,
            by: by.to_owned(),
            certificate: proof.map_or([0; 32], |proof| proof.signer().fingerprint()),
            key: proof.map_or([0; 32], |proof| proof.signer().key_digest()),
            digest: author.signed(),
            at,
        });
        self.next += 1;
        self.waiting.insert(pending.id, Arc::clone(&pending));
        pending
    }

    pub(crate) fn remove(&mut self, id: PendingId) {
        self.waiting.remove(&id);
    }

    /// Removes the actions that `has_ended` says, and returns their number.
    pub(crate) fn end(&mut self, has_ended: impl Fn(&Pending) -> bool) -> usize {
        let ended = self.iter().filter(|pending| has_ended(pending));
        let ended: Vec<PendingId> = ended.map(|pending| pending.id).collect();
        ended.iter().for_each(|id| self.remove(*id));
        ended.len()
    }

    /// Removes the policies that were made from another revision than the one that stands now: none can be applied any more.
    pub(crate) fn policy_stands(&mut self, revision: Revision) {
        self.end(|pending| {
            matches!(&pending.action, PendingAction::ApplyPolicy { based_on, .. } if *based_on != revision)
        });
    }

    /// Removes what a node has asked for: it follows one branch, and asks for its newest commit.
    pub(crate) fn supersede(&mut self) {
        self.end(Pending::is_of_node);
    }

    /// Removes the actions that can no longer be approved, and returns their number.
    pub(crate) fn collect(&mut self, settled: UnixMillis) -> usize {
        self.end(|pending| pending.has_ended(settled))
    }

    /// Gives actions that were asked for later than `clock` that time.
    pub(crate) fn none_after(&mut self, clock: UnixMillis) {
        let late = self.iter().filter(|pending| pending.at > clock);
        let late: Vec<Pending> = late.cloned().collect();
        for pending in late {
            let pending = Pending {
                at: clock,
                ..pending
            };
            self.waiting.insert(pending.id, Arc::new(pending));
        }
    }

    /// Refuses an action when too many wait, or when it is too long for its approver to read.
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
        let policies = self.iter().filter(|pending| pending.is_policy()).count();
        if matches!(action, PendingAction::ApplyPolicy { .. }) && policies >= PENDING_POLICIES_MAX {
            let message = format!(
                "{PENDING_POLICIES_MAX} policies wait for approval, the most that can; approve or cancel one of them first"
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

    /// Equal action that can still be approved.
    pub(crate) fn same(&self, action: &PendingAction, clock: UnixMillis) -> Option<&Pending> {
        self.iter()
            .find(|pending| pending.action == *action && !pending.has_ended(clock))
    }

    /// Action of that name, if it can still be approved.
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

/// Error of stored pending actions that are not those of one state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoredPendingsError {
    /// Name that was not given yet, or time after the state's clock.
    #[error("pending action {0} is from the future")]
    Future(PendingId),
    /// Name that two have.
    #[error("pending action {0} is there twice")]
    Twice(PendingId),
    /// More or fewer than there were, or than there may be.
    #[error("{found} actions are pending, {expected} are expected and {PENDING_MAX} allowed")]
    Count {
        /// Number of stored actions.
        found: usize,
        /// Number in the meta record.
        expected: u64,
    },
}
