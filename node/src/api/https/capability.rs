//! Capabilities and contexts over HTTPS: what the newest generation asks for.
//!
//! | path | asks for |
//! |---|---|
//! | `POST /request_capability` | a capability, and the context that its holder has from then on |
//! | `POST /activate_capability` | this authority's word for somebody else's latent capability |
//! | `POST /spend_capability` | whether it may be used now; a single use is used up by asking |
//! | `POST /request_context` | a session |
//! | `POST /extend_context` | the next version of its context |

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::pools::Standing;
use super::shared::Shared;
use super::work::Admitted;
use crate::issuer::{self, AuthorizationRequest, Caller, Growth, Issued, Use, UseId};
use crate::problem::{Problem, ProblemBody};
use crate::request::RequestContext;

/// What a capability is about, in one dimension.
#[derive(Deserialize, ToSchema)]
pub(super) struct DesignationBody {
    label: String,
    value: String,
}

/// What the holder of a key must say that it is about.
#[derive(Deserialize, ToSchema)]
pub(super) struct AttestedBody {
    label: String,
    value: String,
    /// `ed25519/HEX` or `secp256r1/HEX`.
    public_key: String,
}

/// Asks for a capability.
#[derive(Deserialize, ToSchema)]
pub(super) struct CapabilityRequest {
    resource: String,
    operation: String,
    /// What the verifier must show of its request.
    #[serde(default)]
    designations: Vec<DesignationBody>,
    /// What others must say of it.
    #[serde(default)]
    attested: Vec<AttestedBody>,
    /// The one verifier that it is for.
    #[serde(default)]
    anchor: Option<String>,
    /// Inert until the holder of this key activates it; `authority`: until `/activate_capability` does.
    #[serde(default)]
    activator_key: Option<String>,
    /// The latest context of the caller's session.
    #[serde(default)]
    context: Option<String>,
    /// The realm whose member the caller must be.
    #[serde(default)]
    domain: Option<String>,
    /// Seconds; a wish.
    #[serde(default)]
    duration: Option<u64>,
}

/// A capability.
#[derive(Serialize, ToSchema)]
pub(super) struct CapabilityAnswer {
    response_msg: &'static str,
    token: String,
    /// Seconds.
    expires_in: u64,
    /// It is good once: `/spend_capability` uses it up.
    single_use: bool,
    /// The context of the session from now on; the one that was sent is not accepted any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
}

/// A capability for an operation on a resource, bound to what the policy requires and the caller names.
#[utoipa::path(post, path = "/request_capability", tag = "capability",
    request_body = CapabilityRequest,
    security(("client_certificate" = []), ("identity_token" = [])),
    responses(
        (status = 200, body = CapabilityAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn request_capability(
    State(shared): State<Shared>,
    context: RequestContext,
    caller: Caller,
    Body(request): Body<CapabilityRequest>,
) -> Result<Json<CapabilityAnswer>, Problem> {
    let request = issuer::CapabilityRequest::from(request);
    let admitted = shared.admit(&context, Standing::of(&caller))?;
    if request.context.is_some() {
        // An old version must not pass for the latest at a node that has not heard of the next.
        shared.ledger.catch_up().await?;
    }
    let capability = admitted
        .work("capability", move |issuer, context| {
            issuer.capability(context, &caller, &request)
        })
        .await?;
    // Agreed on before the capability leaves: its holder must not be able to say that it never saw anything.
    let context = match capability.growth {
        Some(growth) => Some(grow(&shared, &admitted, &context, growth).await?.token),
        None => None,
    };
    Ok(Json(CapabilityAnswer {
        response_msg: "capability issued",
        token: capability.issued.token,
        expires_in: capability.issued.expires_in,
        single_use: capability.single_use,
        context,
    }))
}

impl From<CapabilityRequest> for issuer::CapabilityRequest {
    fn from(request: CapabilityRequest) -> Self {
        let designations = request.designations.into_iter();
        let attested = request.attested.into_iter();
        Self {
            authorization: AuthorizationRequest {
                resource: request.resource,
                operation: request.operation,
                domain: request.domain,
            },
            designations: designations.map(|one| (one.label, one.value)).collect(),
            attested: attested
                .map(|one| (one.label, one.value, one.public_key))
                .collect(),
            anchor: request.anchor,
            activator_key: request.activator_key,
            context: request.context,
            duration: request.duration,
        }
    }
}

/// Agrees on a step, and mints its context. The seat is kept: what was agreed on must not be refused for want of one.
async fn grow(
    shared: &Shared,
    admitted: &Admitted,
    context: &RequestContext,
    growth: Growth,
) -> Result<Issued, Problem> {
    let version = shared
        .ledger
        .step(context, growth.step.clone(), growth.request)
        .await?;
    admitted
        .work("context", move |issuer, context| {
            issuer.grown_context(context, &growth, version)
        })
        .await
}

/// Asks this authority to activate a capability.
#[derive(Deserialize, ToSchema)]
pub(super) struct ActivateRequest {
    /// Latent, and waiting for this authority.
    token: String,
    resource: String,
    operation: String,
}

/// An activated capability.
#[derive(Serialize, ToSchema)]
pub(super) struct ActivateAnswer {
    response_msg: &'static str,
    token: String,
}

/// Activates somebody else's capability for what the caller itself may do.
#[utoipa::path(post, path = "/activate_capability", tag = "capability",
    request_body = ActivateRequest,
    security(("client_certificate" = []), ("identity_token" = [])),
    responses(
        (status = 200, body = ActivateAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn activate_capability(
    State(shared): State<Shared>,
    context: RequestContext,
    caller: Caller,
    Body(request): Body<ActivateRequest>,
) -> Result<Json<ActivateAnswer>, Problem> {
    let authorization = AuthorizationRequest {
        resource: request.resource,
        operation: request.operation,
        domain: None,
    };
    let token = shared
        .admit(&context, Standing::of(&caller))?
        .work("capability", move |issuer, context| {
            issuer.activated(context, &caller, &request.token, &authorization)
        })
        .await?;
    Ok(Json(ActivateAnswer {
        response_msg: "capability activated",
        token,
    }))
}

/// Asks to use a capability.
#[derive(Deserialize, ToSchema)]
pub(super) struct SpendRequest {
    token: String,
    resource: String,
    operation: String,
    /// Who uses it; whoever holds it, when it is left out.
    #[serde(default)]
    subject: Option<String>,
    /// What the use is about.
    #[serde(default)]
    designations: Vec<DesignationBody>,
    /// Names this use: 32 random hexadecimal digits, kept secret. Whoever lost the answer asks again with the same ones, at any node, and
    /// hears what it would have heard.
    #[serde(default)]
    request_id: Option<String>,
}

/// It may be used, this once.
#[derive(Serialize, ToSchema)]
pub(super) struct SpendAnswer {
    response_msg: &'static str,
    /// Single uses that were used up; 0 for a capability that is good more than once.
    spent: usize,
}

/// May the capability be used now? A capability that is good once is used up by this, for the whole cluster.
///
/// Whoever asks acts only after a 200. A 503 with `outcome_unknown` is no yes: ask again with the same `request_id`, and
/// without one a new capability is needed, because the use may be counted.
#[utoipa::path(post, path = "/spend_capability", tag = "capability",
    request_body = SpendRequest,
    responses(
        (status = 200, description = "It may, this once", body = SpendAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Nobody can say", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn spend_capability(
    State(shared): State<Shared>,
    context: RequestContext,
    Body(request): Body<SpendRequest>,
) -> Result<Json<SpendAnswer>, Problem> {
    let use_id = request
        .request_id
        .as_deref()
        .map(UseId::parse)
        .transpose()?;
    let designations = request.designations.into_iter();
    let wanted = Use {
        subject: request.subject,
        resource: request.resource,
        operation: request.operation,
        designations: designations.map(|one| (one.label, one.value)).collect(),
    };
    let spends = shared
        .admit(&context, Standing::Question)?
        .work("spend", move |issuer, context| {
            issuer.to_spend(context, &request.token, &wanted)
        })
        .await?;
    let spent = spends.len();
    let use_id = use_id.unwrap_or_else(UseId::random);
    shared.ledger.spend(&context, spends, &use_id).await?;
    Ok(Json(SpendAnswer {
        response_msg: "the capability may be used, this once",
        spent,
    }))
}

/// Asks for a session.
#[derive(Deserialize, ToSchema)]
pub(super) struct ContextRequest {
    /// Seconds; a wish.
    #[serde(default)]
    duration: Option<u64>,
}

/// A context: the only one of its session that is accepted.
#[derive(Serialize, ToSchema)]
pub(super) struct ContextAnswer {
    response_msg: &'static str,
    token: String,
    /// Seconds.
    expires_in: u64,
    /// Whose session.
    subject: String,
}

impl ContextAnswer {
    fn new(response_msg: &'static str, issued: Issued) -> Self {
        Self {
            response_msg,
            token: issued.token,
            expires_in: issued.expires_in,
            subject: issued.identity,
        }
    }
}

/// A session of the caller's, exposed to nothing yet.
#[utoipa::path(post, path = "/request_context", tag = "capability",
    request_body = ContextRequest,
    security(("client_certificate" = []), ("identity_token" = [])),
    responses(
        (status = 200, body = ContextAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn request_context(
    State(shared): State<Shared>,
    context: RequestContext,
    caller: Caller,
    Body(request): Body<ContextRequest>,
) -> Result<Json<ContextAnswer>, Problem> {
    let admitted = shared.admit(&context, Standing::of(&caller))?;
    let growth = admitted
        .work("context", move |issuer, context| {
            issuer.begun_context(context, &caller, request.duration)
        })
        .await?;
    let issued = grow(&shared, &admitted, &context, growth).await?;
    Ok(Json(ContextAnswer::new("session begun", issued)))
}

/// Asks for the next version of a context.
#[derive(Deserialize, ToSchema)]
pub(super) struct ExtendRequest {
    /// The latest of the session.
    context: String,
    /// What the session was exposed to: labels, at least one of them new.
    exposures: Vec<String>,
}

/// The next version of the caller's context, with these exposures more. The one before is not accepted any more.
#[utoipa::path(post, path = "/extend_context", tag = "capability",
    request_body = ExtendRequest,
    security(("client_certificate" = []), ("identity_token" = [])),
    responses(
        (status = 200, body = ContextAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Ask another node", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn extend_context(
    State(shared): State<Shared>,
    context: RequestContext,
    caller: Caller,
    Body(request): Body<ExtendRequest>,
) -> Result<Json<ContextAnswer>, Problem> {
    let admitted = shared.admit(&context, Standing::of(&caller))?;
    shared.ledger.catch_up().await?;
    let growth = admitted
        .work("context", move |issuer, context| {
            issuer.extended_context(context, &caller, &request.context, &request.exposures)
        })
        .await?;
    let issued = grow(&shared, &admitted, &context, growth).await?;
    Ok(Json(ContextAnswer::new("context extended", issued)))
}
