//! Refusals as clients of the HTTPS port read them.
//!
//! One JSON object serves two readers: the members of RFC 9457 (`type`, `title`, `status`, `detail`) with our `reason`,
//! and `response_msg` with `token: null`, which published clients print. Sentences come from a fixed set of reasons and
//! the caller's own input; internals never reach them.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// A refusal: what kind, a stable word for machines, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
#[allow(missing_docs)]
pub struct Problem {
    pub kind: Kind,
    /// Stable word: `revoked`, `expired`, `unknown_client`, …
    pub reason: &'static str,
    pub sentence: String,
}

/// Kind of a refusal: what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Send something that can be read: 400.
    Malformed,
    /// Send something else: 422.
    Invalid,
    /// Say who you are: 401.
    Unauthenticated,
    /// Ask for another right: 403.
    Denied,
    /// Look elsewhere: 404.
    NotFound,
    /// Use another method: 405.
    Method,
    /// Take longer, or send less: 408.
    Timeout,
    /// Send less: 413.
    TooLarge,
    /// Come back later: 429.
    TooMany,
    /// Ask another node, or come back later: 503.
    Unavailable,
}

/// Time after which a caller is told to come back: after an election, or when a second's allowance is new.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Denied => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Method => StatusCode::METHOD_NOT_ALLOWED,
            Kind::Timeout => StatusCode::REQUEST_TIMEOUT,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Problem {
    /// A refusal.
    #[must_use]
    pub fn new(kind: Kind, reason: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            reason,
            sentence: sentence.into(),
        }
    }
}

/// A refusal as a client reads it: RFC 9457, and what published clients print.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemBody {
    /// `about:blank`: `reason` tells them apart.
    r#type: &'static str,
    /// The words of the status.
    title: String,
    status: u16,
    /// A sentence for people.
    detail: String,
    /// A stable word for machines.
    reason: &'static str,
    /// As `detail`.
    response_msg: String,
    /// Always null.
    #[schema(value_type = Option<String>)]
    token: Option<()>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let body = ProblemBody {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.sentence.clone(),
            reason: self.reason,
            response_msg: self.sentence.clone(),
            token: None,
        };
        let mut response = (status, Json(body)).into_response();
        // The audit's layer reads it.
        response.extensions_mut().insert(self.clone());
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self.kind {
            Kind::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::TooMany | Kind::Unavailable => {
                headers.insert(
                    header::RETRY_AFTER,
                    HeaderValue::from(RETRY_AFTER.as_secs()),
                );
            }
            _ => {}
        }
        response
    }
}
