//! What the state machine answers. Answers are remembered for retries and travel in the log's format, so their shapes
//! and numbers are stable.

use hessra_revocation::{KeyState, Revision, UnixMillis};

use crate::command::PendingId;
use crate::refusal::Refusal;

/// The outcome of one command, equal on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// A Raft entry without a command.
    Nothing,
    /// The cluster began.
    Initialized {
        /// The last revision that the initialization made.
        revision: Revision,
    },
    /// In the order of the targets.
    Revoked(Vec<Revoked>),
    /// A revocation was lifted.
    Lifted {
        /// The revision of the lift.
        revision: Revision,
        /// Somebody had lifted it before; `revision` is that lift's.
        already: bool,
    },
    /// The policy stands.
    PolicyApplied {
        /// The revision of the policy that stands now.
        revision: Revision,
    },
    /// A key has this state now.
    KeyChanged {
        /// Which key.
        id: u32,
        /// Its state.
        state: KeyState,
        /// The revision at which it got this state.
        revision: Revision,
    },
    /// Keys have other envelopes.
    Rewrapped {
        /// How many.
        keys: u64,
    },
    /// Nothing is done yet: another operator must approve it.
    Pending {
        /// Its name.
        id: PendingId,
        /// The state's clock until which it can be approved.
        until: UnixMillis,
        /// The same was asked before; `id` is that one's.
        already: bool,
    },
    /// A pending action will not be done.
    Cancelled {
        /// Its name.
        id: PendingId,
    },
    /// The facet was used, by this request and no other.
    Spent,
    /// The context of the session has this version now.
    ContextAt(u64),
    /// What had ended was removed: locks, retired keys, pending actions, spent facets, sessions.
    Collected {
        /// How many. [`crate::limits::COLLECTED_MAX`] means that there may be more.
        removed: u64,
    },
    /// The state machine has this version.
    VersionRaised(u32),
    /// Nothing changed, and why.
    Refused(Refusal),
}

/// One target's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The revision of the rule that stands.
    pub revision: Revision,
    /// An equal or stronger rule stood; `revision` is that rule's.
    pub already: bool,
}
