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

use hessra_sdk_rust::ClientError;
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
        Self::new(
            exit,
            reason,
            format!("cannot {doing} {}: {error}", path.display()),
        )
    }

    /// Adds a hint: what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the id under which a node knows the request.
    #[must_use]
    pub(crate) fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
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
            "trace_id": null,
        }})
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let exit = Exit::from_code(error.exit_code());
        let at = match error.server {
            Some(server) if !error.server_in_message => format!(" ({server})"),
            _ => String::new(),
        };
        let message = format!("{}{at}", error.message);
        let hint = Some(error.hint).filter(|hint| !hint.is_empty());
        Self {
            hint,
            retryable: error.retryable,
            ..Self::new(exit, error.reason.as_str(), message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_shape_is_the_published_one() {
        let failure = CommandError::unavailable("no node answered")
            .hint("start one")
            .request_id("ab");
        let text = failure.to_json().to_string();
        let expected = json!({"error": {
            "reason": "unavailable", "message": "no node answered", "hint": "start one", "retryable": true,
            "exit_code": 8, "request_id": "ab", "trace_id": null,
        }});
        assert_eq!(text, expected.to_string());
    }

    #[test]
    fn a_missing_file_is_not_found_and_another_fault_is_failed() {
        let path = Path::new("/x");
        assert_eq!(
            CommandError::file("read", path, &io::ErrorKind::NotFound.into()).exit,
            Exit::NotFound
        );
        assert_eq!(
            CommandError::file("read", path, &io::ErrorKind::PermissionDenied.into()).exit,
            Exit::Failed
        );
    }
}
