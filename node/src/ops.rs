//! The operations listener: `/livez`, `/readyz`, `/metrics`, on a loopback address, without TLS.
//!
//! *Live* means that the process answers; a supervisor restarts it when it does not. *Ready* means that it can do its
//! work now; a load balancer leaves it out when it cannot, and it is not restarted for that. The reason is in the
//! answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hessra_proto::NodeState;
use http::{StatusCode, header};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Collected;

/// Reason for which a node is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct NotReady {
    /// State of the node, never [`NodeState::Ready`]. Its stable word is in the answer.
    #[serde(serialize_with = "word")]
    pub reason: NodeState,
    /// Sentence for people: what it means and what to do.
    pub message: String,
}

fn word<S: serde::Serializer>(state: &NodeState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

/// Something that is wrong although the node is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Warning {
    /// Stable word, as in `hessra status`.
    pub code: String,
    /// Sentence for people: what it means and what to do.
    pub message: String,
}

/// Answer to `/readyz`: reasons not to be ready, none when it is, and warnings.
pub type ReadinessAnswer = (Vec<NotReady>, Vec<Warning>);

/// Question that every `/readyz` asks.
pub type Readiness = Arc<dyn Fn() -> ReadinessAnswer + Send + Sync>;

/// The operations listener, bound.
pub struct Operations {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Clone)]
struct Shared {
    readiness: Readiness,
    collected: Collected,
}

impl Operations {
    /// Listens on a loopback address.
    ///
    /// # Errors
    /// The address is taken, or is not a loopback address.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let sentence = format!(
                "`{address}` is not a loopback address: set listen.operations to 127.0.0.1:PORT"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
        })
    }

    /// The address in use: tells the port that was asked for as 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`.
    pub async fn serve(self, readiness: Readiness, collected: Collected, stop: CancellationToken) {
        let router = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(Shared {
                readiness,
                collected,
            });
        let served =
            axum::serve(self.listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "operations listener ended");
        }
    }
}

#[derive(Serialize)]
struct ReadyAnswer {
    ready: bool,
    reasons: Vec<NotReady>,
    /// What is wrong although the node is ready.
    warnings: Vec<Warning>,
}

async fn ready(State(shared): State<Shared>) -> Response {
    let (reasons, warnings) = (shared.readiness)();
    let ready = reasons.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(ReadyAnswer {
            ready,
            reasons,
            warnings,
        }),
    )
        .into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.collected.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
