//! Views of the state machine for readers: what is published after each batch, and what is asked for.

use std::sync::Arc;

use hessra_state::{Applied, Frozen, RequestId, State};

use crate::{LogId, StoredMembership};

/// The state as it is after an applied batch. Readers that want to know what changed compare revisions with
/// [`State::history`].
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The entry up to which it was applied; none before the first.
    pub applied: Option<LogId>,
    /// The last membership among the applied entries.
    pub membership: StoredMembership,
    /// What readers see.
    pub state: Arc<State>,
}

/// The state machine as it is, for a snapshot.
#[derive(Clone, Debug)]
pub struct MachineImage {
    /// The entry up to which it is applied; none before the first.
    pub applied: Option<LogId>,
    /// The last membership among the applied entries.
    pub membership: StoredMembership,
    /// Everything.
    pub machine: Frozen,
}

/// What the state machine knows and does not publish.
pub trait Remembered: Send + Sync {
    /// What was answered to each of the requests, in their order, while it is remembered.
    fn answers(&self, requests: &mut dyn Iterator<Item = RequestId>) -> Vec<Option<Applied>>;

    /// Everything as of the newest applied batch.
    fn image(&self) -> MachineImage;

    /// The same as [`Self::image`], under its former name.
    fn moment(&self) -> MachineImage {
        self.image()
    }
}
