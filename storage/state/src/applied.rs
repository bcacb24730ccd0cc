//! Answers of the state machine. They are remembered for retries and travel in the log's format, so their shapes and
//! numbers are stable.

use std::time::Duration;

use hessra_revocation::{KeyState, Revision, UnixMillis};

use crate::command::PendingId;
use crate::refusal::Refusal;

/// Outcome of one command, equal on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Outcome of a Raft entry without a command.
    Nothing,
    /// Cluster was initialized.
    Initialized {
        /// Last revision that the initialization made.
        revision: Revision,
    },
    /// Targets were revoked; in the order of the targets.
    Revoked(Vec<Revoked>),
    /// Revocation was lifted.
    Lifted {
        /// Revision of the lift.
        revision: Revision,
        /// True when it was lifted before; `revision` is that lift's.
        already: bool,
    },
    /// Removal of what an operator has revoked begins: collections remove it in parts.
    Undoing {
        /// Number of the operator's revocations that are remembered: no more are removed.
        at_most: u64,
    },
    /// Policy stands.
    PolicyApplied {
        /// Revision of the policy that stands now.
        revision: Revision,
    },
    /// Key has this state now.
    KeyChanged {
        /// Id of the key.
        id: u32,
        /// State of the key.
        state: KeyState,
        /// Revision at which it got this state.
        revision: Revision,
    },
    /// Keys have other envelopes.
    Rewrapped {
        /// Number of keys.
        keys: u64,
    },
    /// Action waits: nothing is done until another operator approves it.
    Pending {
        /// Name of the pending action.
        id: PendingId,
        /// Clock of the state until which it can be approved.
        until: UnixMillis,
        /// The same action waited before; `id` is that one's.
        already: bool,
    },
    /// Pending action was cancelled.
    Cancelled {
        /// Name of the pending action.
        id: PendingId,
    },
    /// Change of the members is permitted: the leader makes it.
    MembersPermitted,
    /// Facet was used, by this request and no other.
    Spent,
    /// Context of the session has this version now.
    ContextAt(u64),
    /// Head of an audit chain is known now.
    Witnessed,
    /// Start of a node is known now.
    StartRecorded,
    /// Audit chains of a node may begin anew.
    AuditLossAccepted {
        /// Number of them.
        chains: u64,
    },
    /// Clock was set back.
    ClockSetBack {
        /// Time by which it was ahead.
        by: Duration,
    },
    /// Ended entries were removed: locks, retired keys, pending actions, spent facets, sessions.
    Collected {
        /// Number of them. [`crate::limits::COLLECTED_MAX`] means that there may be more.
        removed: u64,
    },
    /// State machine has this version.
    VersionRaised(u32),
    /// Command was refused and changed nothing.
    Refused(Refusal),
}

/// Answer about one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Revision of the rule that stands.
    pub revision: Revision,
    /// An equal or stronger rule stood; `revision` is that rule's.
    pub already: bool,
}
