//! Paths that are open to anyone: keys, the CA, whether this node serves, and what it can be asked.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use hessra_revocation::KeyPurpose;

use super::shared::{Shared, not_found};
use crate::issuer::PublicKeyPem;
use crate::keys::jwks::JwkSet;
use crate::problem::{Problem, ProblemBody};

/// The keys of the authority.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicKeyAnswer {
    response_msg: &'static str,
    /// The key that signs tokens now: one PEM block, as published clients take it.
    public_key: String,
    /// All keys that sign or have signed tokens.
    keys: Vec<KeyAnswer>,
    /// All keys of the revocation feed.
    feed_keys: Vec<KeyAnswer>,
}

/// One public key.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    /// As tokens name it.
    id: u32,
    /// `prepared`, `active`, `retired` or `revoked`.
    state: &'static str,
    /// PEM.
    public_key: String,
}

/// The public keys of the authority.
#[utoipa::path(get, path = "/public_key", tag = "open", responses(
    (status = 200, body = PublicKeyAnswer),
    (status = 503, description = "No keys yet", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(super) async fn public_key(
    State(shared): State<Shared>,
) -> Result<Json<PublicKeyAnswer>, Problem> {
    let (active, keys) = shared.issuer.public_keys()?;
    Ok(Json(PublicKeyAnswer {
        response_msg: "public key",
        public_key: active,
        keys: of_purpose(&keys, KeyPurpose::Token),
        feed_keys: of_purpose(&keys, KeyPurpose::Feed),
    }))
}

fn of_purpose(keys: &[PublicKeyPem], purpose: KeyPurpose) -> Vec<KeyAnswer> {
    let keys = keys.iter().filter(|key| key.purpose == purpose);
    keys.map(|key| KeyAnswer {
        id: key.id,
        state: key.state.word(),
        public_key: key.pem.clone(),
    })
    .collect()
}

/// The CA of the public port.
#[derive(Serialize, ToSchema)]
pub(super) struct CaAnswer {
    response_msg: &'static str,
    /// PEM; may be a chain.
    ca_cert_pem: String,
}

/// The CA that clients need to trust this port.
#[utoipa::path(get, path = "/ca_cert", tag = "open", responses(
    (status = 200, body = CaAnswer),
    (status = 404, description = "Not served here", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(super) async fn ca_cert(State(shared): State<Shared>) -> Response {
    match shared.server_ca.as_deref() {
        Some(ca_cert_pem) => Json(CaAnswer {
            response_msg: "CA certificate",
            ca_cert_pem: ca_cert_pem.to_owned(),
        })
        .into_response(),
        None => not_found().await.into_response(),
    }
}

/// Does this node serve?
#[derive(Serialize, ToSchema)]
pub(super) struct HealthAnswer {
    /// `ok` or `unavailable`.
    status: &'static str,
    version: &'static str,
}

/// Would this node issue a token now?
#[utoipa::path(get, path = "/health", tag = "open", responses(
    (status = 200, body = HealthAnswer),
    (status = 503, description = "It issues nothing now", body = HealthAnswer),
))]
pub(super) async fn health(State(shared): State<Shared>) -> (StatusCode, Json<HealthAnswer>) {
    let version = env!("CARGO_PKG_VERSION");
    let (code, status) = match shared.issuer.serving() {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (code, Json(HealthAnswer { status, version }))
}

/// The key set of RFC 7517. Any origin may read it: it is public.
pub(super) async fn jwks(State(shared): State<Shared>) -> Result<Json<JwkSet>, Problem> {
    Ok(Json(shared.issuer.jwks()?))
}

/// The document of these paths; not in itself.
pub(super) async fn openapi_json(State(shared): State<Shared>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], shared.document).into_response()
}
