//! Error of this crate, the only one: a kind that programs act on, a sentence and a hint that people read.

use std::fmt;
use std::path::Path;
use std::time::Duration;

pub use hessra_proto::status::Reason;

use hessra_proto::convert::ConvertError;
use hessra_proto::status::Failure;
use hessra_revocation::IdentityError;

use crate::request_id::RequestId;
use crate::tls;

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
    /// True when the request was sent, and nothing says whether it was carried out.
    pub(crate) unanswered: bool,
    /// The write that failed.
    pub(crate) write: Option<Box<FailedWrite>>,
}

/// Write that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedWrite {
    id: RequestId,
    /// What was heard last of it.
    heard: String,
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
        let (why, hint) = match error.kind() {
            std::io::ErrorKind::NotFound => ("it is not there".to_owned(), "Check the path."),
            std::io::ErrorKind::PermissionDenied => (
                "no permission".to_owned(),
                "Check who may read and write it.",
            ),
            _ => (error.to_string(), "Look at the file and its folder."),
        };
        Self::new(
            reason,
            format!("cannot {action} `{}`: {why}", path.display()),
        )
        .hint(hint)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidArgument, message)
    }

    /// Id of the write that failed; `None`: the request changes nothing.
    #[must_use]
    pub fn request_id(&self) -> Option<RequestId> {
        self.write.as_ref().map(|write| write.id)
    }

    /// Id of a write that may have been carried out or not: ask for it again under this id
    /// ([`crate::Authority::under`]), and it has one effect and one answer. `None`: it was not carried out, or changes nothing.
    #[must_use]
    pub fn outcome_unknown(&self) -> Option<RequestId> {
        self.request_id().filter(|_| self.unanswered)
    }

    /// What was heard last of a write whose outcome is unknown; of any other failure, its message.
    #[must_use]
    pub fn heard(&self) -> &str {
        match &self.write {
            Some(write) => &write.heard,
            None => &self.message,
        }
    }

    /// Names the write that failed.
    pub(crate) fn of_write(mut self, id: RequestId) -> Self {
        let heard = self.message.clone();
        if self.unanswered {
            self.message =
                format!("the outcome of request {id} is unknown; the last that was heard: {heard}");
            self.hint = format!(
                "Ask again for the same under request id {id}: it has one effect, and the answer says which."
            );
            self.retryable = true;
        }
        self.write = Some(Box::new(FailedWrite { id, heard }));
        self
    }

    /// Says that the request was sent, and that nothing says whether it was carried out.
    pub(crate) fn unanswered(mut self) -> Self {
        self.unanswered = true;
        self
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
            unanswered: false,
            write: None,
        }
    }
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        // In TLS 1.3 a server looks at the certificate when the connection already stands for the client.
        match tls::certificate_refused(&status) {
            Some(refused) => Self::new(Reason::Unauthenticated, format!("the server {refused}"))
                .hint(refused.hint()),
            None => Failure::from(&status).into(),
        }
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
