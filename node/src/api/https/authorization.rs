//! Authorization tokens over HTTPS.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::pools::Standing;
use super::shared::Shared;
use crate::issuer::{self, AuthorizationRequest, Caller, Pending};
use crate::problem::{Problem, ProblemBody};
use crate::request::RequestContext;

/// Asks for an authorization token.
#[derive(Deserialize, ToSchema)]
pub(super) struct TokenRequest {
    resource: String,
    operation: String,
    /// The realm whose member the caller must be.
    #[serde(default)]
    domain: Option<String>,
}

/// An authorization token.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenAnswer {
    response_msg: &'static str,
    /// Biscuit, padded URL-safe base64.
    token: String,
    /// Seconds.
    expires_in: u64,
    /// Who must sign before it is usable; none for most resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pending_signoffs: Vec<SignoffAnswer>,
}

/// A party that must still sign.
#[derive(Serialize, ToSchema)]
pub(super) struct SignoffAnswer {
    component: String,
    /// `host:port`, or a URL; asked at `/sign_token`.
    authorization_service: String,
    public_key: String,
}

impl From<Pending> for SignoffAnswer {
    fn from(pending: Pending) -> Self {
        Self {
            component: pending.component,
            authorization_service: pending.authorization_service,
            public_key: pending.public_key,
        }
    }
}

/// An authorization token for an operation on a resource.
#[utoipa::path(post, path = "/request_token", tag = "authorization",
    request_body = TokenRequest,
    security(("client_certificate" = []), ("identity_token" = [])),
    responses(
        (status = 200, body = TokenAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn request_token(
    State(shared): State<Shared>,
    context: RequestContext,
    caller: Caller,
    Body(request): Body<TokenRequest>,
) -> Result<Json<TokenAnswer>, Problem> {
    let authorization = AuthorizationRequest {
        resource: request.resource,
        operation: request.operation,
        domain: request.domain,
    };
    let (issued, pending) = shared
        .admit(&context, Standing::of(&caller))?
        .work("authorization", move |issuer, context| {
            issuer.authorization_token(context, &caller, &authorization)
        })
        .await?;
    Ok(Json(TokenAnswer {
        response_msg: "token issued",
        token: issued.token,
        expires_in: issued.expires_in,
        pending_signoffs: pending.into_iter().map(SignoffAnswer::from).collect(),
    }))
}

/// Asks this authority to sign as a party.
#[derive(Deserialize, ToSchema)]
pub(super) struct SignRequest {
    token: String,
    resource: String,
    operation: String,
}

/// A token with one signature more.
#[derive(Serialize, ToSchema)]
pub(super) struct SignAnswer {
    response_msg: &'static str,
    signed_token: String,
}

/// Signs a multi-party token, when this authority is one of its parties.
#[utoipa::path(post, path = "/sign_token", tag = "authorization",
    request_body = SignRequest,
    security(("client_certificate" = []), ("identity_token" = [])),
    responses(
        (status = 200, body = SignAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn sign_token(
    State(shared): State<Shared>,
    context: RequestContext,
    caller: Caller,
    Body(request): Body<SignRequest>,
) -> Result<Json<SignAnswer>, Problem> {
    let authorization = AuthorizationRequest {
        resource: request.resource,
        operation: request.operation,
        domain: None,
    };
    let signed_token = shared
        .admit(&context, Standing::of(&caller))?
        .work("authorization", move |issuer, context| {
            issuer.signed_off(context, &caller, &request.token, &authorization)
        })
        .await?;
    Ok(Json(SignAnswer {
        response_msg: "token signed",
        signed_token,
    }))
}

/// Asks for a stub: a token for somebody else, of no use until it is bound to a prefix.
#[derive(Deserialize, ToSchema)]
pub(super) struct StubRequest {
    /// For whom.
    target_identity: String,
    resource: String,
    operation: String,
    /// Whoever binds it: `ed25519/HEX` or `secp256r1/HEX`.
    prefix_attenuator_key: String,
    /// Seconds; a wish.
    #[serde(default)]
    duration: Option<u64>,
}

/// A stub.
#[derive(Serialize, ToSchema)]
pub(super) struct StubAnswer {
    response_msg: &'static str,
    token: String,
    /// Seconds.
    expires_in: u64,
    target_identity: String,
    prefix_attenuator_key: String,
}

/// A stub for an identity that the policy lets the caller ask for.
#[utoipa::path(post, path = "/request_stub", tag = "authorization",
    request_body = StubRequest,
    security(("client_certificate" = []), ("identity_token" = [])),
    responses(
        (status = 200, body = StubAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn request_stub(
    State(shared): State<Shared>,
    context: RequestContext,
    caller: Caller,
    Body(request): Body<StubRequest>,
) -> Result<Json<StubAnswer>, Problem> {
    let prefix_attenuator_key = request.prefix_attenuator_key.clone();
    let stub = issuer::StubRequest {
        target_identity: request.target_identity,
        resource: request.resource,
        operation: request.operation,
        prefix_attenuator_key: request.prefix_attenuator_key,
        duration: request.duration,
    };
    let issued = shared
        .admit(&context, Standing::of(&caller))?
        .work("authorization", move |issuer, context| {
            issuer.stub(context, &caller, &stub)
        })
        .await?;
    Ok(Json(StubAnswer {
        response_msg: "stub issued",
        token: issued.token,
        expires_in: issued.expires_in,
        target_identity: issued.identity,
        prefix_attenuator_key,
    }))
}
