//! Identity tokens over HTTPS.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Body, Certificate};
use super::pools::Standing;
use super::shared::Shared;
use crate::issuer::{self, Caller, Issued};
use crate::problem::{Problem, ProblemBody};
use crate::request::RequestContext;

/// Asks for an identity token.
#[derive(Deserialize, ToSchema)]
pub(super) struct IdentityRequest {
    /// Nothing, the identity of the certificate, or a wished lifetime in seconds as digits.
    #[serde(default)]
    identifier: Option<String>,
}

/// An identity token.
#[derive(Serialize, ToSchema)]
pub(super) struct IdentityAnswer {
    response_msg: &'static str,
    /// Biscuit, padded URL-safe base64.
    token: String,
    /// Seconds.
    expires_in: u64,
    /// As the policy spells it.
    identity: String,
}

impl IdentityAnswer {
    fn new(response_msg: &'static str, issued: Issued) -> Self {
        Self {
            response_msg,
            token: issued.token,
            expires_in: issued.expires_in,
            identity: issued.identity,
        }
    }
}

/// An identity token for the client that the certificate names.
#[utoipa::path(post, path = "/request_identity_token", tag = "identity",
    request_body = IdentityRequest,
    security(("client_certificate" = [])),
    responses(
        (status = 200, body = IdentityAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn request_identity_token(
    State(shared): State<Shared>,
    context: RequestContext,
    Certificate(certificate): Certificate,
    Body(request): Body<IdentityRequest>,
) -> Result<Json<IdentityAnswer>, Problem> {
    let issued = shared
        .admit(&context, Standing::Certificate)?
        .work("identity", move |issuer, context| {
            issuer.identity_token(context, certificate.as_ref(), request.identifier.as_deref())
        })
        .await?;
    Ok(Json(IdentityAnswer::new("identity token issued", issued)))
}

/// Asks for a fresh token in the place of one that still lives.
#[derive(Deserialize, ToSchema)]
pub(super) struct RefreshRequest {
    /// As it was issued: not delegated, not limited.
    current_token: String,
    /// Nothing, or whose token it is.
    #[serde(default)]
    identifier: Option<String>,
}

/// A fresh identity token, for nothing but the one that it replaces.
#[utoipa::path(post, path = "/refresh_identity_token", tag = "identity",
    request_body = RefreshRequest,
    responses(
        (status = 200, body = IdentityAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn refresh_identity_token(
    State(shared): State<Shared>,
    context: RequestContext,
    Certificate(certificate): Certificate,
    Body(request): Body<RefreshRequest>,
) -> Result<Json<IdentityAnswer>, Problem> {
    let refresh = issuer::RefreshRequest {
        certificate,
        current_token: request.current_token,
        identifier: request.identifier,
    };
    let issued = shared
        .admit(&context, Standing::Bearer)?
        .work("refresh", move |issuer, context| {
            issuer.refreshed_token(context, &refresh)
        })
        .await?;
    Ok(Json(IdentityAnswer::new(
        "identity token refreshed",
        issued,
    )))
}

/// Asks for an identity token for a member of the caller's realm.
#[derive(Deserialize, ToSchema)]
pub(super) struct MintRequest {
    /// Whose identity; below the caller's own.
    subject: String,
    /// Seconds; a wish.
    #[serde(default)]
    duration: Option<u64>,
}

/// An identity token for a member of the caller's realm, good only there.
#[utoipa::path(post, path = "/mint_identity_token", tag = "identity",
    request_body = MintRequest,
    security(("client_certificate" = []), ("identity_token" = [])),
    responses(
        (status = 200, body = IdentityAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn mint_identity_token(
    State(shared): State<Shared>,
    context: RequestContext,
    caller: Caller,
    Body(request): Body<MintRequest>,
) -> Result<Json<IdentityAnswer>, Problem> {
    let issued = shared
        .admit(&context, Standing::of(&caller))?
        .work("mint", move |issuer, context| {
            issuer.minted_identity(context, &caller, &request.subject, request.duration)
        })
        .await?;
    Ok(Json(IdentityAnswer::new("identity token minted", issued)))
}
