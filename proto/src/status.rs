//! Failure of a request, said the same way everywhere.
//!
//! One enum gives the `reason` of the command line's JSON errors, of gRPC's `ErrorInfo` and of HTTP problem bodies,
//! with the exit code, the gRPC code and the HTTP status that go with it:
//!
//! ```
//! use hessra_proto::status::{Failure, Reason};
//! let failure = Failure::new(Reason::NoLeader, "no leader is known").hint("try again in a second");
//! assert_eq!(failure.reason.as_str(), "no_leader");
//! assert_eq!(failure.reason.exit_code(), 8);
//! assert!(failure.retryable);
//! ```
//!
//! A [`Failure`] may be read by strangers; context for operators belongs into the log and is never put here.

use std::fmt;
use std::time::Duration;

/// Domain of every `google.rpc.ErrorInfo` of ours.
pub const DOMAIN: &str = "hessra";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, exit $exit:literal, http $http:literal, $retry:literal;)*) => {
        /// Kind of a failure. Numbers and strings are stable: they are wire format and other languages' constants.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable string: `not_permitted`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Exit code of the command line, as `hessra help exit-codes` lists them.
            #[must_use]
            pub fn exit_code(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }

            /// HTTP status of the same failure.
            #[must_use]
            pub fn http_status(self) -> u16 {
                match self { $(Self::$name => $http,)* }
            }

            /// True when the same request, with the same request id, may succeed a little later or at another node.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }
        }
    };
}

reasons! {
    /// Failure without a class.
    Internal = 1, "internal", exit 1, http 500, false;
    /// Request that no node can serve, because it is wrong.
    InvalidArgument = 2, "invalid_argument", exit 2, http 400, false;
    /// Question that was answered: no.
    Denied = 3, "denied", exit 3, http 403, false;
    /// Caller that is not known: no certificate, or one that names nobody.
    Unauthenticated = 4, "unauthenticated", exit 4, http 401, false;
    /// Caller that is known, and may not.
    NotPermitted = 5, "not_permitted", exit 5, http 403, false;
    /// Name or id that nothing has.
    NotFound = 6, "not_found", exit 6, http 404, false;
    /// Something else is already there, or the state that the request was based on is gone.
    Conflict = 7, "conflict", exit 7, http 409, false;
    /// The change would leave the cluster without a quorum.
    QuorumLost = 8, "quorum_lost", exit 7, http 409, false;
    /// Request that no node can serve now.
    Unavailable = 9, "unavailable", exit 8, http 503, true;
    /// No leader is known: an election is going on, or a quorum is missing.
    NoLeader = 10, "no_leader", exit 8, http 503, true;
    /// Deadline that passed; a write may or may not have happened.
    Deadline = 11, "deadline", exit 8, http 504, true;
    /// Limit on size, rate or number that was met.
    Limit = 12, "limit", exit 8, http 429, true;
    /// Committed, but not confirmed everywhere that was asked for; or a part of the cluster is down.
    Degraded = 13, "degraded", exit 9, http 200, false;
    /// Answer that cannot be told: the knowledge is too old.
    Stale = 14, "stale", exit 10, http 503, true;
    /// Request for something that this version does not know.
    Unsupported = 15, "unsupported", exit 1, http 501, false;
    /// Request that the person stopped.
    Interrupted = 16, "interrupted", exit 130, http 499, false;
    /// Node that was removed from the cluster, and speaks as if it were a member.
    Removed = 17, "removed", exit 5, http 403, false;
    /// Node whose store is not the one that the members know.
    Disowned = 18, "disowned", exit 5, http 403, false;
    /// Node whose clock is off: another one can serve the request.
    ClockOff = 19, "clock_off", exit 8, http 503, true;
}

impl Reason {
    /// Reason of a stable string; `None` for one of a newer node.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
    }

    /// The stable number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Failure as a stranger may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Kind of the failure.
    pub reason: Reason,
    /// Message: one line, lower case, user input in backticks.
    pub message: String,
    /// Next step for the reader; empty when there is none.
    pub hint: String,
    /// True when the same request may succeed later or elsewhere. From the reason unless set otherwise.
    pub retryable: bool,
    /// Time to wait before trying again, when the node knows.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Failure without a hint, retryable when its reason is.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            reason,
            message,
            hint: String::new(),
            retryable: reason.retryable(),
            retry_after: None,
        }
    }

    /// Sets the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Overrides the reason's answer about trying again.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Sets the time to wait before trying again, which makes it retryable.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self.retryable = true;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, ". {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(feature = "grpc")]
mod grpc {
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt};

    use super::{DOMAIN, Duration, Failure, Reason};

    impl Reason {
        /// gRPC code of the failure, for proxies and foreign clients.
        #[must_use]
        pub fn code(self) -> Code {
            match self {
                Self::Internal => Code::Internal,
                Self::InvalidArgument => Code::InvalidArgument,
                // Precondition rather than `Aborted`: generic clients retry the latter, and these need a person.
                Self::Denied | Self::Conflict | Self::QuorumLost | Self::Degraded => {
                    Code::FailedPrecondition
                }
                Self::Unauthenticated => Code::Unauthenticated,
                Self::NotPermitted | Self::Removed | Self::Disowned => Code::PermissionDenied,
                Self::NotFound => Code::NotFound,
                Self::Unavailable | Self::NoLeader | Self::Stale | Self::ClockOff => {
                    Code::Unavailable
                }
                Self::Deadline => Code::DeadlineExceeded,
                Self::Limit => Code::ResourceExhausted,
                Self::Unsupported => Code::Unimplemented,
                Self::Interrupted => Code::Cancelled,
            }
        }

        /// Best reading of a code that came without our details: from a proxy, the transport, or a newer node.
        #[must_use]
        pub fn of_code(code: Code) -> Self {
            match code {
                Code::InvalidArgument | Code::OutOfRange => Self::InvalidArgument,
                Code::Unauthenticated => Self::Unauthenticated,
                Code::PermissionDenied => Self::NotPermitted,
                Code::NotFound => Self::NotFound,
                Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Self::Conflict,
                Code::Unavailable => Self::Unavailable,
                // tonic reports a deadline that passed on its own side as a call that was cancelled.
                Code::DeadlineExceeded | Code::Cancelled => Self::Deadline,
                Code::ResourceExhausted => Self::Limit,
                Code::Unimplemented => Self::Unsupported,
                Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
            }
        }
    }

    impl From<&Status> for Reason {
        fn from(status: &Status) -> Self {
            let info = status
                .get_details_error_info()
                .filter(|info| info.domain == DOMAIN);
            let said = info.and_then(|info| Self::parse(&info.reason));
            match said {
                Some(said) => said,
                None if is_of_connection(status) => Self::Unavailable,
                None => Self::of_code(status.code()),
            }
        }
    }

    impl From<Failure> for Status {
        fn from(failure: Failure) -> Self {
            let facts = [
                ("hint".to_owned(), failure.hint),
                ("retryable".to_owned(), failure.retryable.to_string()),
            ];
            let mut details = ErrorDetails::new();
            details.set_error_info(failure.reason.as_str(), DOMAIN, facts);
            if let Some(delay) = failure.retry_after {
                details.set_retry_info(Some(delay));
            }
            Self::with_error_details(failure.reason.code(), failure.message, details)
        }
    }

    impl From<&Status> for Failure {
        fn from(status: &Status) -> Self {
            let reason = Reason::from(status);
            let details = status.get_error_details();
            let ours = details.error_info().filter(|info| info.domain == DOMAIN);
            let fact = |name: &str| ours.and_then(|info| info.metadata.get(name));
            let (message, hint) = match ours {
                None => without_details(reason, status),
                Some(_) => (
                    status.message().to_owned(),
                    fact("hint").cloned().unwrap_or_default(),
                ),
            };
            Self {
                reason,
                message,
                hint,
                retryable: fact("retryable").map_or(reason.retryable(), |text| text == "true"),
                retry_after: details
                    .retry_info()
                    .and_then(|info| info.retry_delay)
                    .map(bounded),
            }
        }
    }

    /// Sentence and next step for a status that no node of this version has made: from the transport, a proxy, or another
    /// program. Its own text is of a library, and says little to who reads it alone.
    fn without_details(reason: Reason, status: &Status) -> (String, String) {
        let (message, hint) = match reason {
            _ if is_of_connection(status) => (
                format!(
                    "the connection ended before the answer ({})",
                    root_of(status)
                ),
                "Ask again: a write with the same request id has one effect.",
            ),
            Reason::Deadline => (
                "no answer came in time".to_owned(),
                "Ask again, or give more time; `hessra status` shows which nodes answer.",
            ),
            Reason::Unsupported => (
                "the server does not know this request".to_owned(),
                "Upgrade it, or check that the address is that of a Hessra node.",
            ),
            _ => (
                match status.message() {
                    "" => format!("the server answered `{:?}` without a word", status.code()),
                    said => format!("the server, or a proxy before it, answered: {said}"),
                },
                "Check the address, and what stands between this computer and the node.",
            ),
        };
        (message, hint.to_owned())
    }

    /// The innermost cause: the outer ones say "transport error".
    fn root_of(status: &Status) -> String {
        let mut cause: &dyn std::error::Error = status;
        while let Some(next) = cause.source() {
            cause = next;
        }
        cause.to_string()
    }

    /// True for the end of a connection, as tonic reports it: no server has said this, and `Internal` or `Unknown` is what
    /// tonic makes of most errors of HTTP/2.
    fn is_of_connection(status: &Status) -> bool {
        let is_vague = matches!(status.code(), Code::Internal | Code::Unknown);
        is_vague && std::error::Error::source(status).is_some()
    }

    /// Cuts a delay named by a peer to one minute, so that no peer parks a client for ever.
    fn bounded(delay: Duration) -> Duration {
        delay.min(Duration::from_secs(60))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_failure_crosses_the_wire_unchanged() {
            for reason in Reason::ALL {
                let failure = Failure::new(*reason, "`x` is wrong")
                    .hint("use `y`")
                    .retry_after(Duration::from_secs(2));
                assert_eq!(Failure::from(&Status::from(failure.clone())), failure);
            }
        }

        #[test]
        fn a_status_of_somebody_else_gets_the_reason_of_its_code() {
            let status = Status::permission_denied("proxy says no");
            assert_eq!(Reason::from(&status), Reason::NotPermitted);
            assert!(!Failure::from(&status).retryable);
        }

        #[test]
        fn what_a_library_says_is_said_in_a_sentence_with_what_to_do() {
            let late = Failure::from(&Status::cancelled("Timeout expired"));
            assert_eq!(late.reason, Reason::Deadline);
            assert_eq!(late.message, "no answer came in time");
            let unknown = Failure::from(&Status::unimplemented(""));
            assert_eq!(unknown.message, "the server does not know this request");
            let proxy = Failure::from(&Status::permission_denied("proxy says no"));
            assert!(proxy.message.ends_with("answered: proxy says no"));
            let silent = Failure::from(&Status::internal(""));
            assert!(silent.message.contains("`Internal`"), "{silent}");
            for failure in [late, unknown, proxy, silent] {
                assert!(!failure.hint.is_empty(), "{failure}");
            }
        }

        #[test]
        fn a_connection_that_ended_is_worth_another_try_and_what_a_server_says_is_not() {
            let ended: Box<dyn std::error::Error + Send + Sync> = "goodbye".into();
            let status = Status::from_error(ended);
            assert_eq!(status.code(), Code::Unknown);
            let failure = Failure::from(&status);
            assert_eq!(failure.reason, Reason::Unavailable);
            assert!(failure.retryable && failure.message.contains("goodbye"));
            let said = Failure::from(&Status::internal("it broke"));
            assert_eq!((said.reason, said.retryable), (Reason::Internal, false));
        }

        #[test]
        fn a_reason_of_a_newer_node_falls_back_to_its_code() {
            let mut details = ErrorDetails::new();
            details.set_error_info("not_invented_yet", DOMAIN, std::collections::HashMap::new());
            let status = Status::with_error_details(Code::Unavailable, "later", details);
            assert_eq!(Reason::from(&status), Reason::Unavailable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_string_and_numbers_are_dense() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
            assert_eq!(usize::from(reason.number()), index + 1);
        }
    }

    #[test]
    fn a_failure_reads_as_one_line_that_ends_with_what_to_do() {
        let failure = Failure::new(Reason::NotFound, "no revocation `rv_7`")
            .hint("See `hessra revocations list`.");
        assert_eq!(
            failure.to_string(),
            "no revocation `rv_7`. See `hessra revocations list`."
        );
    }
}
