//! What the state machine answers. Answers are remembered for retries and travel in the log's format, so their shapes
//! and numbers are stable.

use hessra_revocation::{KeyState, Revision, UnixMillis};

use crate::pending::PendingId;

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

/// Why a command had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: lower case, ends with what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::Invalid, message)
    }
}

/// The kinds of refusal. Numbers are stable: they are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RefusalCode {
    /// The cluster has not begun.
    NotInitialized = 1,
    /// The cluster has begun already.
    AlreadyInitialized = 2,
    /// The command contradicts itself or the state.
    Invalid = 3,
    /// What it names does not exist.
    NotFound = 4,
    /// Somebody else was first: read again, decide again.
    Conflict = 5,
    /// This revocation cannot be undone.
    NotLiftable = 6,
    /// The key's state does not allow it.
    KeyState = 7,
    /// Too much or too long.
    Limit = 8,
    /// Who asked for it cannot be the one who approves it.
    SecondPerson = 40,
    /// It may be used once, and was.
    AlreadySpent = 70,
    /// Not the latest version of the session's context.
    ContextOutdated = 71,
}
