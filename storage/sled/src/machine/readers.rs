//! Views of the state machine for readers: the published state, and answers on request.

use std::sync::Arc;

use hessra_state::{Applied, Frozen, Judge, RequestId, Stamped, State};

use super::recent::RecentEntry;
use crate::{LogId, StoredMembership};

/// State after an applied batch. To see what changed, compare revisions with [`State::history`].
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Entry up to which it was applied; none before the first.
    pub applied: Option<LogId>,
    /// Last membership among the applied entries.
    pub membership: StoredMembership,
    /// State, for readers.
    pub state: Arc<State>,
}

/// Whole state machine, for a snapshot.
#[derive(Clone, Debug)]
pub struct MachineImage {
    /// Entry up to which it is applied; none before the first.
    pub applied: Option<LogId>,
    /// Last membership among the applied entries.
    pub membership: StoredMembership,
    /// Frozen machine, with the answers for retries.
    pub machine: Frozen,
}

/// Reader of the unpublished part of the state machine.
pub trait Remembered: Send + Sync {
    /// Answers to the requests, in their order, while they are remembered.
    fn answers(&self, requests: &mut dyn Iterator<Item = RequestId>) -> Vec<Option<Applied>>;

    /// Judge that says what the authors of commands may.
    fn judge(&self) -> Arc<dyn Judge>;

    /// State as it will be once these commands are applied too. Nothing is changed.
    fn foresee(&self, commands: &mut dyn Iterator<Item = &Stamped>) -> State;

    /// Whole state machine as of the newest applied batch.
    fn image(&self) -> MachineImage;

    /// Entries after a log index in which operators changed something: those that were applied lately.
    fn recent(&self, after: u64) -> Vec<Arc<RecentEntry>>;
}
