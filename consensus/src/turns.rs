//! Turns of changes of the members, and of the commands that permit them.
//!
//! A membership is explained by the last permission before it in the log (`membership/explained.rs`): with another one between
//! the two, no member would acknowledge it, and nothing after it. So a leader takes a change only while no permission is
//! on its way into the log, and a permission only while no change is being made.

use std::sync::Arc;

use hessra_state::{Command, PendingAction, State};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Turns at the leader. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<RwLock<()>>);

/// One change of the members, or of the leader. Others wait while it lives.
pub(crate) type ChangeTurn = OwnedRwLockWriteGuard<()>;

/// Permission on its way into the log.
pub(crate) type PermissionTurn = OwnedRwLockReadGuard<()>;

impl Turns {
    /// Waits until no other change is being made, and no permission is on its way.
    pub(crate) async fn change(&self) -> ChangeTurn {
        Arc::clone(&self.0).write_owned().await
    }

    /// As [`Self::change`]; `None` = one would have to wait.
    pub(crate) fn try_change(&self) -> Option<ChangeTurn> {
        Arc::clone(&self.0).try_write_owned().ok()
    }

    /// Returns when no change is being made or waits. Another one may begin at once.
    pub(crate) async fn no_change(&self) {
        drop(self.0.read().await);
    }

    /// `None` = a change is being made, or waits.
    pub(crate) fn try_permission(&self) -> Option<PermissionTurn> {
        Arc::clone(&self.0).try_read_owned().ok()
    }
}

/// True for a command that may permit a change of the members, as far as this state tells.
pub(crate) fn may_permit(command: &Command, state: &State) -> bool {
    match command {
        Command::Members(_) => true,
        // What is asked for may be on its way into the log too.
        Command::Approve(approval) => state
            .pending()
            .find(approval.id)
            .is_none_or(|pending| matches!(pending.action, PendingAction::Members(_))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_change_and_a_permission_exclude_each_other_and_permissions_do_not() {
        let turns = Turns::default();
        let permissions = [turns.try_permission(), turns.try_permission()];
        assert!(permissions.iter().all(Option::is_some));
        assert!(turns.try_change().is_none());
        let mut waiting = Box::pin(turns.change());
        assert!((&mut waiting).now_or_never().is_none());
        assert!(
            turns.try_permission().is_none(),
            "permissions without end do not keep a change waiting"
        );
        drop(permissions);
        let change = waiting.await;
        assert!(turns.try_permission().is_none() && turns.try_change().is_none());
        drop(change);
        turns.no_change().await;
        assert!(turns.try_permission().is_some());
    }
}
