//! Reading a request: its JSON body, its bearer token, its caller.

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::api::metered::{BodyRefused, Refused};
use crate::issuer::{Caller, nobody};
use crate::problem::{Kind, Problem};
use crate::tls::PeerCertificate;

/// A JSON body. Unknown fields are ignored: newer clients may send more.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Problem::new(Kind::TooLarge, "too_large", "the body is too large")
                } else if let Some(refused) = BodyRefused::of(&rejection) {
                    body_refused(refused)
                } else {
                    Problem::new(Kind::Invalid, "malformed", "the body did not arrive whole")
                }
            })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            Problem::new(
                Kind::Invalid,
                "malformed",
                format!("the body is not the JSON object expected: {error}"),
            )
        })
    }
}

fn body_refused(refused: &BodyRefused) -> Problem {
    let (kind, reason) = match refused.reason {
        Refused::TooLarge => (Kind::TooLarge, "too_large"),
        Refused::Late => (Kind::Timeout, "timeout"),
        Refused::NoRoom => (Kind::TooMany, "overloaded"),
    };
    Problem::new(kind, reason, refused.to_string())
}

/// The certificate of the connection, when there is one.
pub(super) struct Certificate(pub(super) Option<PeerCertificate>);

impl<S: Send + Sync> FromRequestParts<S> for Certificate {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        // Put there by the listener, for every request of the connection.
        Ok(Self(parts.extensions.get::<PeerCertificate>().cloned()))
    }
}

/// The caller: the certificate of the connection and the token of the header. One that shows neither is refused before its body
/// is read.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(Certificate(certificate)) = Certificate::from_request_parts(parts, state).await;
        let bearer = bearer(&parts.headers)?;
        if certificate.is_none() && bearer.is_none() {
            return Err(nobody());
        }
        Ok(Self {
            certificate,
            bearer,
        })
    }
}

/// The token after `Bearer `, when there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let malformed = || {
        let sentence = "the Authorization header is not `Bearer ` and an identity token";
        Problem::new(Kind::Unauthenticated, "malformed", sentence)
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // Two headers are two callers: a choice between them would be wrong half of the time.
    if values.next().is_some() {
        return Err(malformed());
    }
    let text = HeaderValue::to_str(value).map_err(|_| malformed())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(malformed());
    }
    Ok(Some(token.to_owned()))
}
