//! Refusal: why a command had no effect. A value like any answer, the same on every node.

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
