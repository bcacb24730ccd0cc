//! What clients ask over HTTPS: the paths, bodies and habits of the published clients.
//!
//! | path | asks for | who asks |
//! |---|---|---|
//! | `GET /public_key` | the key that signs tokens now, and all that verify | anyone |
//! | `GET /ca_cert` | the CA of this port | anyone |
//! | `GET /health` | does this node serve? | anyone |
//! | `POST /request_identity_token` | an identity token | a client certificate |
//! | `POST /request_token` | an authorization token | a client certificate or `Authorization: Bearer` identity token |
//!
//! This file turns requests into questions for [`Issuer`] and answers into JSON; it decides nothing. A request costs a
//! bounded amount: body, time, and how many are worked on at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use opentelemetry::KeyValue;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use hessra_revocation::KeyPurpose;

use super::problem::{Kind, Problem};
use super::tls::PeerCertificate;
use crate::audit::{Auditor, trail, witness};
use crate::issuer::{Caller, Issued, Issuer};
use crate::keys::jwks::JwkSet;
use crate::telemetry::metrics;

/// Reading a body of 64 KiB and minting take milliseconds; this bounds who sends a byte a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What requests may cost, and what there is to say beside tokens.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct HttpsSettings {
    pub body_bytes_max: usize,
    /// Token requests worked on at once.
    pub requests_at_once_max: usize,
    /// PEM that clients need to trust this port; `None`: not served.
    pub server_ca: Option<String>,
}

#[derive(Clone)]
struct Shared {
    issuer: Arc<Issuer>,
    places: Arc<Semaphore>,
    /// Minting is computation: as much of it at a time as there are processors, and consensus is not kept waiting.
    processors: Arc<Semaphore>,
    server_ca: Option<Arc<str>>,
}

/// The HTTPS routes of the public port.
pub fn router(issuer: Arc<Issuer>, auditor: Auditor, settings: HttpsSettings) -> Router {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shared = Shared {
        issuer,
        places: Arc::new(Semaphore::new(settings.requests_at_once_max)),
        processors: Arc::new(Semaphore::new(processors)),
        server_ca: settings.server_ca.map(Into::into),
    };
    Router::new()
        .route("/public_key", get(public_key))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/ca_cert", get(ca_cert))
        .route("/health", get(health))
        .route("/request_identity_token", post(request_identity_token))
        .route("/request_token", post(request_token))
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::Method, "method", "this path takes another method")
        })
        .layer(DefaultBodyLimit::max(settings.body_bytes_max))
        .layer(from_fn_with_state(auditor, witness::https))
        .layer(from_fn(within_time))
        .with_state(shared)
}

/// For everything that is no path of this port.
pub async fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "not_found", "there is nothing at this path")
}

async fn within_time(request: Request, next: Next) -> Response {
    let late = || {
        Problem::new(
            Kind::Timeout,
            "timeout",
            "the request took too long to arrive",
        )
        .into_response()
    };
    timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| late())
}

#[derive(Serialize)]
struct PublicKeyAnswer {
    response_msg: &'static str,
    public_key: String,
    keys: Vec<KeyAnswer>,
    feed_keys: Vec<KeyAnswer>,
}

#[derive(Serialize)]
struct KeyAnswer {
    id: u32,
    state: &'static str,
    public_key: String,
}

async fn public_key(State(shared): State<Shared>) -> Result<Json<PublicKeyAnswer>, Problem> {
    let (active, keys) = shared.issuer.public_keys()?;
    let of = |purpose| {
        let keys = keys.iter().filter(|key| key.purpose == purpose);
        keys.map(|key| KeyAnswer {
            id: key.id,
            state: key.state.word(),
            public_key: key.pem.clone(),
        })
        .collect()
    };
    let (token_keys, feed_keys) = (of(KeyPurpose::Token), of(KeyPurpose::Feed));
    Ok(Json(PublicKeyAnswer {
        response_msg: "public key",
        public_key: active,
        keys: token_keys,
        feed_keys,
    }))
}

/// RFC 7517. Any origin may read it: it is public.
async fn jwks(State(shared): State<Shared>) -> Result<Json<JwkSet>, Problem> {
    Ok(Json(shared.issuer.jwks()?))
}

#[derive(Serialize)]
struct CaAnswer<'a> {
    response_msg: &'static str,
    ca_cert_pem: &'a str,
}

async fn ca_cert(State(shared): State<Shared>) -> Response {
    match shared.server_ca.as_deref() {
        Some(ca_cert_pem) => Json(CaAnswer {
            response_msg: "CA certificate",
            ca_cert_pem,
        })
        .into_response(),
        None => not_found().await.into_response(),
    }
}

#[derive(Serialize)]
struct HealthAnswer {
    status: &'static str,
    version: &'static str,
}

async fn health(State(shared): State<Shared>) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    match shared.issuer.serving() {
        Ok(()) => Json(HealthAnswer {
            status: "ok",
            version,
        })
        .into_response(),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(HealthAnswer {
                status: "unavailable",
                version,
            }),
        )
            .into_response(),
    }
}

#[derive(Deserialize)]
struct IdentityRequest {
    #[serde(default)]
    identifier: Option<String>,
}

#[derive(Serialize)]
struct IdentityAnswer {
    response_msg: &'static str,
    token: String,
    expires_in: u64,
    identity: String,
}

async fn request_identity_token(
    State(shared): State<Shared>,
    certificate: Option<Extension<PeerCertificate>>,
    Body(request): Body<IdentityRequest>,
) -> Result<Json<IdentityAnswer>, Problem> {
    let certificate = certificate.map(|Extension(certificate)| certificate);
    let issued = shared
        .work("identity", move |issuer| {
            issuer.identity_token(certificate.as_ref(), request.identifier.as_deref())
        })
        .await?;
    let Issued {
        token,
        expires_in,
        identity,
    } = issued;
    Ok(Json(IdentityAnswer {
        response_msg: "identity token issued",
        token,
        expires_in,
        identity,
    }))
}

#[derive(Deserialize)]
struct TokenRequest {
    resource: String,
    operation: String,
    #[serde(default)]
    domain: Option<String>,
}

#[derive(Serialize)]
struct TokenAnswer {
    response_msg: &'static str,
    token: String,
    expires_in: u64,
}

async fn request_token(
    State(shared): State<Shared>,
    certificate: Option<Extension<PeerCertificate>>,
    headers: HeaderMap,
    Body(request): Body<TokenRequest>,
) -> Result<Json<TokenAnswer>, Problem> {
    let certificate = certificate.map(|Extension(certificate)| certificate);
    let caller = Caller {
        certificate,
        bearer: bearer(&headers)?,
    };
    if request.domain.is_some() {
        let sentence =
            "tokens of a domain are not yet available in this version: leave `domain` out";
        return Err(Problem::new(Kind::NotAvailable, "not_available", sentence));
    }
    let issued = shared
        .work("authorization", move |issuer| {
            issuer.authorization_token(&caller, &request.resource, &request.operation)
        })
        .await?;
    Ok(Json(TokenAnswer {
        response_msg: "token issued",
        token: issued.token,
        expires_in: issued.expires_in,
    }))
}

impl Shared {
    /// Runs a question to the issuer beside the tasks that must not wait.
    async fn work<T: Send + 'static>(
        &self,
        kind: &'static str,
        question: impl FnOnce(&Issuer) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let too_many = |_| {
            Problem::new(
                Kind::TooMany,
                "overloaded",
                "this node has too many requests: try again soon",
            )
        };
        let _place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(too_many)?;
        let stopping = || {
            Problem::new(
                Kind::Unavailable,
                "stopping",
                "this node is stopping: ask another one",
            )
        };
        let processor = Arc::clone(&self.processors)
            .acquire_owned()
            .await
            .map_err(|_| stopping())?;
        let issuer = Arc::clone(&self.issuer);
        let begun = Instant::now();
        trail::note(|noted| noted.kind = Some(kind));
        let trail = trail::current();
        let answer = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when the caller has gone.
            let _processor = processor;
            trail.within(|| question(&issuer))
        });
        let answer = answer.await.map_err(|_| stopping())?;
        let kind = KeyValue::new("kind", kind);
        metrics()
            .issue_duration
            .record(begun.elapsed().as_secs_f64(), &[kind]);
        answer
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
    // Two headers are two callers: whoever chose one of them would be wrong half of the time.
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

/// A JSON body. Unknown fields are ignored: newer clients may send more.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Problem::new(Kind::TooLarge, "too_large", "the body is too large")
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
