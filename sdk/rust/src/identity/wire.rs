//! Answers of servers by the published contract, and the meaning of their refusals.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::token::{IdentityToken, PendingSignoff};
use crate::{ClientError, LocalCause, Reason};

/// Largest answer that is accepted: none holds more than one token of 16 KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize)]
pub(super) struct IdentityAnswer {
    pub response_msg: String,
    pub token: Option<String>,
    pub expires_in: Option<u64>,
    pub identity: Option<String>,
}

impl IdentityAnswer {
    /// Identity token of the answer.
    ///
    /// # Errors
    /// `not_permitted` for a success without a token, which is how published servers refuse.
    pub(super) fn into_token(self) -> Result<IdentityToken, ClientError> {
        match (self.token, self.expires_in, self.identity) {
            (Some(token), Some(seconds), Some(identity)) => Ok(IdentityToken {
                token,
                identity,
                expires_in: Duration::from_secs(seconds),
            }),
            _ => Err(refused(self.response_msg)),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub response_msg: String,
    pub token: Option<String>,
    #[serde(default)]
    pub expires_in: Option<u64>,
    #[serde(default)]
    pub pending_signoffs: Option<Vec<PendingSignoff>>,
}

#[derive(Deserialize)]
pub(super) struct CaAnswer {
    pub ca_cert_pem: String,
}

#[derive(Deserialize)]
pub(super) struct RefusalAnswer {
    pub response_msg: String,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub hint: Option<String>,
}

/// Reads an answer, or the refusal that comes instead.
///
/// # Errors
/// As the server says, or when the answer is too long or not understood.
pub(super) async fn read<A: DeserializeOwned>(answer: reqwest::Response) -> Result<A, ClientError> {
    let status = answer.status();
    let retry_after = retry_after(&answer);
    let body = body(answer).await?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| not_ours(&error.to_string()));
    }
    let mut error = refusal(status, &body);
    if error.retryable {
        error.retry_after = retry_after;
    }
    Err(error)
}

fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let seconds = answer
        .headers()
        .get(reqwest::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body, refused as soon as it is too long.
async fn body(mut answer: reqwest::Response) -> Result<Vec<u8>, ClientError> {
    let broken = |error: reqwest::Error| {
        ClientError::new(
            Reason::Unavailable,
            format!("the answer broke off: {error}"),
        )
    };
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(not_ours("it is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn not_ours(why: &str) -> ClientError {
    ClientError::new(
        Reason::Internal,
        format!("the server's answer is not understood: {why}"),
    )
    .hint("Check that the address is that of a Hessra node.")
}

/// Error of an answer with a status other than success.
fn refusal(status: reqwest::StatusCode, body: &[u8]) -> ClientError {
    let said: Option<RefusalAnswer> = serde_json::from_slice(body).ok();
    let word = said.as_ref().and_then(|said| said.reason.clone());
    let reason = word
        .as_deref()
        .and_then(of_word)
        .unwrap_or_else(|| of_status(status));
    let plain = || format!("the server answered {status}");
    let (message, hint) =
        said.map_or_else(|| (plain(), None), |said| (said.response_msg, said.hint));
    ClientError {
        local: (word.as_deref() == Some("just_in_time_required"))
            .then_some(LocalCause::JustInTimeRequired),
        ..ClientError::new(reason, message).hint(hint.unwrap_or_default())
    }
}

/// Reason of the word by which a node names it. The verdict about a token is an answer, not a failure to ask.
fn of_word(word: &str) -> Option<Reason> {
    match word {
        "revoked" | "key_revoked" | "expired" => Some(Reason::Denied),
        _ => Reason::parse(word),
    }
}

fn of_status(status: reqwest::StatusCode) -> Reason {
    match status.as_u16() {
        400 | 405 | 413 | 422 | 431 => Reason::InvalidArgument,
        401 => Reason::Unauthenticated,
        403 => Reason::NotPermitted,
        404 => Reason::NotFound,
        409 => Reason::Conflict,
        429 => Reason::Limit,
        501 => Reason::Unsupported,
        502 | 503 => Reason::Unavailable,
        408 | 504 => Reason::Deadline,
        _ => Reason::Internal,
    }
}

/// Refusal by a success with a token of null, which is how published servers say no.
pub(super) fn refused(response_msg: String) -> ClientError {
    ClientError::new(Reason::NotPermitted, response_msg)
}
