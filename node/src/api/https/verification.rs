//! Verification of tokens, for clients that hold no key.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::pools::Standing;
use super::shared::Shared;
use crate::issuer::{ChainClaim, Claim};
use crate::problem::{Problem, ProblemBody};
use crate::request::RequestContext;

/// Asks about an authorization token.
#[derive(Deserialize, ToSchema)]
pub(super) struct VerifyRequest {
    token: String,
    subject: String,
    resource: String,
    operation: String,
}

/// Yes.
#[derive(Serialize, ToSchema)]
pub(super) struct VerifyAnswer {
    response_msg: &'static str,
}

/// Does the token permit the operation on the resource to the subject, now and with every revocation asked that was
/// acknowledged before the request? A node that cannot confirm that with a quorum answers 503.
#[utoipa::path(post, path = "/verify_token", tag = "verification",
    request_body = VerifyRequest,
    responses(
        (status = 200, description = "It does", body = VerifyAnswer),
        (status = 400, description = "Not a token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "Not a good one", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "A good one, but not for this", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn verify_token(
    State(shared): State<Shared>,
    context: RequestContext,
    Body(request): Body<VerifyRequest>,
) -> Result<Json<VerifyAnswer>, Problem> {
    let claim = Claim {
        subject: request.subject,
        resource: request.resource,
        operation: request.operation,
    };
    let admitted = shared.admit(&context, Standing::Question)?;
    shared.ledger.catch_up().await?;
    admitted
        .work("verify", move |issuer, context| {
            issuer.verify_token(context, &request.token, &claim)
        })
        .await?;
    Ok(Json(VerifyAnswer {
        response_msg: "the token is valid",
    }))
}

/// Asks about a token of a service chain.
#[derive(Deserialize, ToSchema)]
pub(super) struct VerifyChainRequest {
    token: String,
    subject: String,
    resource: String,
    /// The one that the token grants, when it is left out.
    #[serde(default)]
    operation: Option<String>,
    /// The service that asks: those before it must have attested; all of them, when it is left out.
    #[serde(default)]
    component: Option<String>,
}

/// Have the services before this one attested the token, in their order?
#[utoipa::path(post, path = "/verify_service_chain_token", tag = "verification",
    request_body = VerifyChainRequest,
    responses(
        (status = 200, description = "They have", body = VerifyAnswer),
        (status = 400, description = "Not a token, or no chain", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "Not a good one", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "A good one, but not for this", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such resource", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn verify_service_chain_token(
    State(shared): State<Shared>,
    context: RequestContext,
    Body(request): Body<VerifyChainRequest>,
) -> Result<Json<VerifyAnswer>, Problem> {
    let claim = ChainClaim {
        subject: request.subject,
        resource: request.resource,
        operation: request.operation,
        component: request.component,
    };
    let admitted = shared.admit(&context, Standing::Question)?;
    shared.ledger.catch_up().await?;
    admitted
        .work("verify", move |issuer, context| {
            issuer.verify_chain(context, &request.token, &claim)
        })
        .await?;
    Ok(Json(VerifyAnswer {
        response_msg: "the token is valid",
    }))
}
