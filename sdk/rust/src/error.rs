//! Error of this crate, the only one: a kind that programs act on, a sentence and a hint that people read.

use std::fmt;
use std::path::Path;
use std::time::Duration;

pub use hessra_proto::status::Reason;

use hessra_proto::convert::ConvertError;
use hessra_proto::status::Failure;
use hessra_revocation::IdentityError;

/// Error of an operation that could not be done. Nothing secret is ever in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// Reason of the error, with stable string, number and exit code.
    pub reason: Reason,
    /// Message that says what happened: one line, lower case, user input in backticks.
    pub message: String,
    /// Hint that says what to do about it; empty when there is nothing to do.
    pub hint: String,
    /// True when the same request may succeed a little later or at another server.
    pub retryable: bool,
    /// Time to wait before that, when the server named one.
    pub retry_after: Option<Duration>,
    /// Server that answered or was asked, as `HOST:PORT`.
    pub server: Option<String>,
    /// True when the message names that server itself.
    pub server_in_message: bool,
    /// Cause that a program can act on.
    pub local: Option<LocalCause>,
}

/// Causes that a program can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalCause {
    /// State directory of the verifier that another process holds.
    StateDirectoryInUse,
    /// Policy that demands of this client a token limited to the request.
    JustInTimeRequired,
}

impl ClientError {
    /// An error without a hint, retryable when its reason is.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Failure::new(reason, message).into()
    }

    /// Sets the hint, which says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Names the server that was asked.
    #[must_use]
    pub fn at(mut self, server: impl fmt::Display) -> Self {
        self.server = Some(server.to_string());
        self
    }

    /// Says that the message names the server that was asked.
    pub(crate) fn naming_server(mut self) -> Self {
        self.server_in_message = true;
        self
    }

    /// Exit code of a program that ends with this error, as `hessra help exit-codes` lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.reason.exit_code()
    }

    pub(crate) fn file(action: &str, path: &Path, error: &std::io::Error) -> Self {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => Reason::NotFound,
            std::io::ErrorKind::PermissionDenied => Reason::NotPermitted,
            _ => Reason::Internal,
        };
        Self::new(
            reason,
            format!("cannot {action} `{}`: {error}", path.display()),
        )
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidArgument, message)
    }

    /// True for a failure before anything was sent, and for a refusal by a node that says it did nothing: a second
    /// attempt cannot repeat an effect.
    pub(crate) fn had_no_effect(&self) -> bool {
        matches!(self.reason, Reason::NoLeader | Reason::Limit)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(server) = &self.server {
            write!(f, " ({server})")?;
        }
        if !self.hint.is_empty() {
            write!(f, ". {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ClientError {}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        Self {
            reason: failure.reason,
            message: failure.message,
            hint: failure.hint,
            retryable: failure.retryable,
            retry_after: failure.retry_after,
            server: None,
            server_in_message: false,
            local: None,
        }
    }
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Failure::from(&status).into()
    }
}

impl From<ConvertError> for ClientError {
    fn from(error: ConvertError) -> Self {
        Self::new(
            Reason::Internal,
            format!("the server sent what this version does not understand: {error}"),
        )
        .hint("Upgrade, or check that the address is that of a Hessra node.")
    }
}

impl From<IdentityError> for ClientError {
    fn from(error: IdentityError) -> Self {
        Self::invalid(error.to_string())
    }
}
