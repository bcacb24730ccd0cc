//! Failure of a command, which does not end with `Done`: one sentence, what to do, and the exit code.
//!
//! As text: `error: SENTENCE` and `hint: WHAT TO DO` on stderr. As JSON, on stderr too, one object:
//!
//! ```json
//! {"error":{"reason":"not_permitted","message":"…","hint":"…","retryable":false,"exit_code":5,"request_id":null,"trace_id":null}}
//! ```
//!
//! `reason` is the string that gRPC and HTTP answers of a node carry; the CLI adds few of its own.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use hessra_sdk_rust::{ClientError, RequestId};
use serde_json::{Value, json};

use crate::exit::Exit;

/// Result of everything that a command does.
pub(crate) type Outcome<T = ()> = Result<T, CommandError>;

/// Error of a command that does not end with `Done`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CommandError {
    pub exit: Exit,
    pub reason: Cow<'static, str>,
    pub message: String,
    pub hint: Option<String>,
    pub retryable: bool,
    pub request_id: Option<String>,
    /// Id of the change of which nobody knows whether it was made.
    pub outcome_unknown: Option<RequestId>,
}

impl CommandError {
    pub(crate) fn new(
        exit: Exit,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let reason = reason.into();
        Self {
            exit,
            reason,
            message: message.into(),
            hint: None,
            retryable: false,
            request_id: None,
            outcome_unknown: None,
        }
    }

    /// Usage: the command line, a file or the environment cannot be understood.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// Answer no, for this reason.
    pub(crate) fn no(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Exit::No, reason, message)
    }

    /// Not found: the named thing does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, "not_found", message)
    }

    /// Unavailable: no server could answer; the same command may succeed later.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::new(Exit::Unavailable, "unavailable", message)
        }
    }

    /// Interrupted by Ctrl-C.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Exit::Interrupted, "interrupted", message)
    }

    /// File of ours that could not be used.
    pub(crate) fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::NotFound {
            Exit::NotFound
        } else {
            Exit::Failed
        };
        let reason = if exit == Exit::NotFound {
            "not_found"
        } else {
            "file"
        };
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "Check the path.",
            io::ErrorKind::PermissionDenied => "Check who may read and write it.",
            io::ErrorKind::StorageFull => "Make room, and run the command again.",
            _ => "Look at the file and its folder.",
        };
        Self::new(
            exit,
            reason,
            format!("cannot {doing} {}: {}", path.display(), in_words(error)),
        )
        .hint(hint)
    }

    /// Adds a hint: what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Change that may have been made or not, as no answer came.
    pub(crate) fn outcome_unknown(exit: Exit, id: RequestId, heard: &str) -> Self {
        Self {
            retryable: true,
            request_id: Some(id.to_string()),
            outcome_unknown: Some(id),
            ..Self::new(
                exit,
                "outcome_unknown",
                format!("outcome unknown: it may be done or not; {heard} (request {id})"),
            )
        }
        .again_with("")
    }

    /// Says with which options, beside the id, an unknown outcome is asked for: those that would mean something else by then.
    #[must_use]
    pub(crate) fn again_with(mut self, options: &str) -> Self {
        if let Some(id) = self.outcome_unknown {
            let and = if options.is_empty() { "" } else { " " };
            self.hint = Some(format!(
                "Run the same command again with `--request-id {id}{and}{options}`: it is done once, and the answer says what \
                 became of it."
            ));
        }
        self
    }

    /// Says what to look at after an unknown outcome of a command that makes several changes.
    #[must_use]
    pub(crate) fn look_at(mut self, hint: &str) -> Self {
        if self.outcome_unknown.is_some() {
            self.hint = Some(hint.to_owned());
        }
        self
    }

    /// The object of `-o json`.
    pub(crate) fn to_json(&self) -> Value {
        json!({"error": {
            "reason": self.reason,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "exit_code": self.exit.code(),
            "request_id": self.request_id,
            // The trace of a change is that of its request.
            "trace_id": self.request_id,
        }})
    }
}

/// What an error of the operating system means; its own words where none are better.
pub(crate) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission".to_owned(),
        io::ErrorKind::BrokenPipe => "who reads it has closed it".to_owned(),
        io::ErrorKind::StorageFull => "no room is left on its disk".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::ConnectionReset => "the other side has ended the connection".to_owned(),
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let exit = Exit::from_code(error.exit_code());
        let at = match &error.server {
            Some(server) if !error.server_in_message => format!(" ({server})"),
            _ => String::new(),
        };
        let message = format!("{}{at}", error.message);
        if let Some(id) = error.outcome_unknown() {
            return Self::outcome_unknown(exit, id, &format!("{}{at}", error.heard()));
        }
        let request_id = error.request_id().map(|id| id.to_string());
        let hint = Some(error.hint).filter(|hint| !hint.is_empty());
        Self {
            hint,
            retryable: error.retryable,
            request_id,
            ..Self::new(exit, error.reason.as_str(), message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_shape_is_the_published_one() {
        let failure = CommandError {
            request_id: Some("ab".to_owned()),
            ..CommandError::unavailable("no node answered").hint("start one")
        };
        let text = failure.to_json().to_string();
        let expected = json!({"error": {
            "reason": "unavailable", "message": "no node answered", "hint": "start one", "retryable": true,
            "exit_code": 8, "request_id": "ab", "trace_id": "ab",
        }});
        assert_eq!(text, expected.to_string());
    }

    #[test]
    fn an_unknown_outcome_names_the_request_and_how_to_ask_again() {
        let id = RequestId([0xab; 16]);
        let failure = CommandError::outcome_unknown(Exit::Unavailable, id, "no answer came");
        let hex = "ab".repeat(16);
        assert!(failure.message.contains(&hex) && failure.message.starts_with("outcome unknown"));
        assert_eq!(failure.to_json()["error"]["request_id"], hex.as_str());
        let hint = failure.clone().hint.expect("a hint");
        assert!(hint.contains(&format!("`--request-id {hex}`")), "{hint}");
        let hint = failure.again_with("--based-on 7").hint.expect("a hint");
        assert!(
            hint.contains(&format!("`--request-id {hex} --based-on 7`")),
            "{hint}"
        );
        let known = CommandError::no("x", "y").again_with("--based-on 7");
        assert_eq!(known.hint, None);
    }

    #[test]
    fn a_missing_file_is_not_found_and_another_fault_is_failed() {
        let path = Path::new("/x");
        assert_eq!(
            CommandError::file("read", path, &io::ErrorKind::NotFound.into()).exit,
            Exit::NotFound
        );
        let denied = CommandError::file("read", path, &io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.exit, Exit::Failed);
        assert_eq!(denied.message, "cannot read /x: no permission");
        assert!(denied.hint.is_some());
    }
}
