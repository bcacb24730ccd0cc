//! Paths for clients over HTTPS, with the bodies and habits of the published clients.
//!
//! | path | asks for | who asks |
//! |---|---|---|
//! | `GET /public_key` | the key that signs tokens now, and all that verify | anyone |
//! | `GET /ca_cert` | the CA of this port | anyone |
//! | `GET /health` | whether this node serves | anyone |
//! | `GET /openapi.json` | this table for programs | anyone |
//! | `POST /request_identity_token` | an identity token | a client certificate |
//! | `POST /refresh_identity_token` | a fresh one in the place of one that lives | the holder of that one |
//! | `POST /mint_identity_token` | an identity token for a member of the caller's realm | a realm |
//! | `POST /request_token` | an authorization token | a client certificate or `Authorization: Bearer` identity token |
//! | `POST /sign_token` | this authority's signature as a party | as for `/request_token` |
//! | `POST /request_stub` | a token for somebody else, to be bound to a prefix | as for `/request_token` |
//! | `POST /verify_token`, `/verify_service_chain_token` | whether a token is good for that | anyone |
//! | see [`capability`] | capabilities, their uses, contexts | |
//!
//! These files turn requests into questions for [`Issuer`] and answers into JSON; they decide nothing. A request costs a
//! bounded amount: body, time, and how many are worked on at once. Each wait has its own end, and no time runs out around the
//! whole: an effect that is under way is seen through, and has its record. `docs/openapi.json` is made from the handlers.

mod authorization;
mod body;
mod capability;
mod document;
mod identity;
mod open;
mod pools;
mod shared;
mod verification;
mod work;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;

use super::middleware;
use crate::audit::Auditor;
use crate::issuer::{Issuer, Ledger};
use crate::problem::{Kind, Problem};
use crate::telemetry::{Metrics, Traces};

pub use document::openapi;
pub use shared::not_found;

use pools::Pools;
use shared::Shared;

/// Limits of requests, and what is served beside tokens.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct HttpsSettings {
    pub body_bytes_max: usize,
    /// Token requests worked on at once, of each pool.
    pub requests_at_once_max: usize,
    /// PEM that clients need to trust this port; `None`: not served.
    pub server_ca: Option<String>,
}

/// The HTTPS routes of the public port.
pub fn router(
    issuer: Arc<Issuer>,
    ledger: Ledger,
    auditor: Auditor,
    settings: HttpsSettings,
    (metrics, traces): (Arc<Metrics>, Traces),
) -> Router {
    let (routes, document) = document::routes().split_for_parts();
    let shared = Shared {
        issuer,
        ledger,
        pools: Pools::new(settings.requests_at_once_max),
        server_ca: settings.server_ca.map(Into::into),
        document: document::text(&document).into(),
        metrics,
    };
    routes
        .route("/openapi.json", get(open::openapi_json))
        .route("/.well-known/jwks.json", get(open::jwks))
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::Method, "method", "this path takes another method")
        })
        .layer(DefaultBodyLimit::max(settings.body_bytes_max))
        .layer(from_fn_with_state((auditor, traces), middleware::https))
        .with_state(shared)
}
