//! Service that admits requests with a valid token, and none whose token was revoked.
//!
//! ```sh
//! . DIR/env                       # of `hessra-node dev`: addresses of the cluster, and its CA
//! cargo run -p hessra-sdk-rust --example axum_service
//! TOKEN=$(hessra authorize request --resource api --operation read --token-only)
//! curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/orders
//! ```
//!
//! | answer | when |
//! |---|---|
//! | 200 | the token grants `read` on `api`, and nothing in it is revoked |
//! | 401 | there is no token |
//! | 403 | the answer is no |
//! | 503 | the answer cannot be told: what this service knows is too old |
//!
//! `GET` needs `read` on the resource, everything else `write`. Configuration: `HESSRA_SERVER`, `HESSRA_CA`, and
//! optionally `HESSRA_PORT`, `LISTEN`, `RESOURCE`, `HESSRA_VERIFIER_ID`, `HESSRA_STATE_DIR`.

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hessra_sdk_rust::{Request, Verdict, Verifier};

#[derive(Clone)]
struct Guard {
    verifier: Verifier,
    resource: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let verifier = verifier()?;
    let guard = Guard {
        verifier: verifier.clone(),
        resource: setting("RESOURCE").unwrap_or_else(|| "api".into()),
    };
    let orders = get(|| async { "three orders\n" }).post(|| async { "one order more\n" });
    let service = Router::new()
        .route("/orders", orders)
        .layer(from_fn_with_state(guard, authorize));

    let listen = setting("LISTEN").unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, service)
        .with_graceful_shutdown(stopped())
        .await?;
    verifier.shutdown().await;
    Ok(())
}

/// Authorizes a request, which is all that a service needs: no network, no waiting.
async fn authorize(State(guard): State<Guard>, request: HttpRequest, next: Next) -> Response {
    let Some(token) = bearer(&request) else {
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer")],
            "a token is needed\n",
        )
            .into_response();
    };
    match guard.verifier.check(token, &guard.wanted(request.method())) {
        Verdict::Allow(_) => next.run(request).await,
        Verdict::Deny(reason) => {
            (StatusCode::FORBIDDEN, format!("no: {}\n", reason.code())).into_response()
        }
        Verdict::Unknown(why) => {
            let retry = [(header::RETRY_AFTER, "1")];
            (
                StatusCode::SERVICE_UNAVAILABLE,
                retry,
                format!("cannot tell: {}\n", why.code()),
            )
                .into_response()
        }
    }
}

impl Guard {
    fn wanted(&self, method: &Method) -> Request {
        let operation = if *method == Method::GET {
            "read"
        } else {
            "write"
        };
        Request::capability(self.resource.clone(), operation)
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

fn verifier() -> Result<Verifier, Box<dyn std::error::Error>> {
    let server =
        setting("HESSRA_SERVER").ok_or("set HESSRA_SERVER to HOST:PORT of one or more nodes")?;
    let ca = setting("HESSRA_CA").ok_or("set HESSRA_CA to the file of the cluster's authority")?;
    let port = setting("HESSRA_PORT")
        .unwrap_or_else(|| "443".into())
        .parse()?;
    let mut builder = Verifier::builder()
        .default_port(port)
        .servers([server])?
        .ca_file(ca)?;
    if let Some(id) = setting("HESSRA_VERIFIER_ID") {
        builder = builder.id(&id)?;
    }
    if let Some(directory) = setting("HESSRA_STATE_DIR") {
        builder = builder.state_dir(directory);
    }
    Ok(builder.connect()?)
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn stopped() {
    // Without a signal handler the service ends at once, which is also an end.
    let _ = tokio::signal::ctrl_c().await;
}
