//! Exit codes, in one place: what a script may conclude from the end of a command.
//!
//! The codes are a contract: `hessra help exit-codes`, the tests and the reasons of the server hang on the numbers.
//! `No` (3) is an answer, not a fault: the question was understood and the answer is no.

/// Exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or the answer is yes.
    Done = 0,
    /// Failed for a reason that has no code of its own.
    Failed = 1,
    /// Usage: the command line, a file or the environment cannot be understood.
    Usage = 2,
    /// No: the answer is no.
    No = 3,
    /// Not authenticated: the caller is not known.
    NotAuthenticated = 4,
    /// Not permitted: the caller is known, but has no right to it.
    NotPermitted = 5,
    /// Not found: the named thing does not exist.
    NotFound = 6,
    /// Conflict: a precondition does not hold.
    Conflict = 7,
    /// Unavailable: no server could answer in time.
    Unavailable = 8,
    /// Unconfirmed: durable, but not yet everywhere, or not said where it was to be said; or working with less than everything.
    Unconfirmed = 9,
    /// Cannot tell: knowledge is missing or too old for an answer.
    CannotTell = 10,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// Codes in order, all of them.
    pub(crate) const ALL: [Self; 12] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::No,
        Self::NotAuthenticated,
        Self::NotPermitted,
        Self::NotFound,
        Self::Conflict,
        Self::Unavailable,
        Self::Unconfirmed,
        Self::CannotTell,
        Self::Interrupted,
    ];

    /// Number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The code with this number; numbers without a meaning are `Failed`.
    pub(crate) fn from_code(code: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|exit| exit.code() == code)
            .unwrap_or(Self::Failed)
    }

    /// Meaning of the code, in one line for people.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or the answer is yes",
            Self::Failed => "failed, unclassified",
            Self::Usage => {
                "usage: the command line, a file or the environment cannot be understood"
            }
            Self::No => {
                "the answer is no: invalid, expired, revoked, denied, chain broken, differs"
            }
            Self::NotAuthenticated => "not authenticated",
            Self::NotPermitted => "not permitted",
            Self::NotFound => "not found",
            Self::Conflict => "conflict or precondition: stale revision, quorum would be lost",
            Self::Unavailable => {
                "unavailable: no node, no leader, deadline; of a change, perhaps done (outcome_unknown)"
            }
            Self::Unconfirmed => {
                "committed, but not confirmed everywhere or its answer not printed; or degraded"
            }
            Self::CannotTell => {
                "cannot tell: the knowledge about revocations is missing or too old"
            }
            Self::Interrupted => "interrupted",
        }
    }
}

/// The table of `hessra help exit-codes`.
pub(crate) fn table() -> String {
    Exit::ALL
        .iter()
        .map(|exit| format!("{:>4}  {}\n", exit.code(), exit.meaning()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_published_numbers_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130]);
    }

    #[test]
    fn a_code_without_meaning_is_failed() {
        assert_eq!(Exit::from_code(77), Exit::Failed);
        assert_eq!(Exit::from_code(10), Exit::CannotTell);
    }

    #[test]
    fn the_table_has_one_line_for_each_code() {
        assert_eq!(table().lines().count(), Exit::ALL.len());
    }
}
