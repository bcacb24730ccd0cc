//! Refusal: a command had no effect. A value like any answer, the same on every node.

/// Answer to a command that had no effect, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kind of the refusal, for programs.
    pub code: RefusalCode,
    /// Sentence for people: lower case, ends with what to do.
    pub message: String,
}

impl Refusal {
    /// Refusal with its sentence.
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

/// Kind of a refusal. Numbers are stable: they are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RefusalCode {
    /// Cluster has not begun.
    NotInitialized = 1,
    /// Cluster has begun already.
    AlreadyInitialized = 2,
    /// Command contradicts itself or the state.
    Invalid = 3,
    /// Named thing does not exist.
    NotFound = 4,
    /// Another change was first: read again, decide again.
    Conflict = 5,
    /// Revocation cannot be undone.
    NotLiftable = 6,
    /// State of the key does not allow it.
    KeyState = 7,
    /// Too much or too long.
    Limit = 8,
    /// Approver is the one who asked.
    SecondPerson = 40,
    /// Author may not, under the policy that stands.
    NotPermitted = 60,
    /// Facet may be used once, and was.
    AlreadySpent = 70,
    /// Context is not the latest version of the session's.
    ContextOutdated = 71,
    /// Its subject was revoked since it was judged.
    Revoked = 72,
    /// Head of an audit chain is not of the chain that was witnessed.
    Contradicted = 80,
    /// Store of a node is not the one that the members know.
    OtherStore = 82,
    /// Store of a node was set back to an older copy.
    SetBack = 83,
    /// Another process was started on a copy of a node's store.
    Doubled = 84,
}
