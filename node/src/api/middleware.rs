//! The middleware around the gRPC services and the HTTPS paths: no answer leaves without its record.
//!
//! | answer | record |
//! |---|---|
//! | a token, or the refusal of one | `identity.*`, `authz.*` |
//! | HTTPS 401 or 403 before anything was decided (a malformed header, no proof) | `access.denied` |
//! | gRPC `UNAUTHENTICATED` or `PERMISSION_DENIED` | `access.denied` |
//! | 429, and requests that could not be decided (malformed, too large, late) | none: counted |
//!
//! The request runs on a task of its own: a caller that hangs up, or a time that runs out, takes no record away from what is
//! committed afterwards. A 429 has no record because it is what protects the disk from a flood. The answer waits for the disk; when the record
//! cannot be written, the answer is taken back and becomes *ask another node*.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use hessra_audit::{Actor, Event, Outcome, Record};
use hessra_consensus::audit::AuditError;
use hessra_proto::status::{Failure, Reason};
use http::{HeaderMap, StatusCode};
use opentelemetry::trace::FutureExt as _;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::audit::Auditor;
use crate::problem::{Kind, Problem};
use crate::request::{Noted, RequestContext};
use crate::telemetry::{Answered, HTTP_STATUS, RPC_STATUS, Traces};
use crate::tls::{CallerAddress, PeerCertificate};

/// Middleware around the HTTPS paths.
pub(super) async fn https(
    State((auditor, traces)): State<(Auditor, Traces)>,
    request: Request,
    next: Next,
) -> Response {
    let witnessed = seen_through(async move {
        let (noted, response) = answered(request, next, &traces, over_https).await;
        let Some(record) = decided(&auditor, noted, &response) else {
            return response;
        };
        match auditor.write(record).await {
            Ok(()) => response,
            Err(error) => unrecorded(&error).into_response(),
        }
    });
    witnessed.await.unwrap_or_else(|| broken().into_response())
}

/// Middleware around the gRPC services.
pub(super) async fn grpc(
    State((auditor, traces)): State<(Auditor, Traces)>,
    request: Request,
    next: Next,
) -> Response {
    let witnessed = seen_through(async move {
        let (noted, response) = answered(request, next, &traces, over_grpc).await;
        let Some(record) = denied(&auditor, noted, &response) else {
            return response;
        };
        match auditor.write(record).await {
            Ok(()) => response,
            Err(error) => Status::from(Failure::from(error)).into_http(),
        }
    });
    let internal = || Status::internal("this node could not answer: ask another one").into_http();
    witnessed.await.unwrap_or_else(internal)
}

/// Runs a request with its record to its end, also when its caller is gone: what it has begun may be committed. `None` when
/// the code failed.
async fn seen_through(
    witness: impl Future<Output = Response> + Send + 'static,
) -> Option<Response> {
    // No time runs out around this: each step of a request has its own end.
    let witnessed = tokio::spawn(witness).await;
    witnessed
        .inspect_err(|error| tracing::error!(%error, "a request was not answered"))
        .ok()
}

fn broken() -> Problem {
    let sentence = "this node could not answer: ask another one";
    Problem::new(Kind::Unavailable, "internal", sentence)
}

/// Answers with a context, and says what was noted in it.
async fn answered(
    mut request: Request,
    next: Next,
    traces: &Traces,
    outcome: fn(&Response) -> Answered,
) -> (Noted, Response) {
    let span = traces.request(request.headers(), request.uri().path(), Instant::now());
    let mut notes = first_notes(&request);
    if let Some(span) = &span {
        notes.trace_id = span.trace_id();
    }
    let context = RequestContext::new(notes);
    request.extensions_mut().insert(context.clone());
    let response = match &span {
        Some(span) => next.run(request).with_context(span.context()).await,
        None => next.run(request).await,
    };
    if let Some(span) = span {
        traces.answered(span, &outcome(&response));
    }
    (context.noted(), response)
}

fn over_https(response: &Response) -> Answered {
    let status = response.status();
    Answered {
        attribute: HTTP_STATUS,
        code: status.as_u16().to_string(),
        is_refusal: matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
        is_failure: status.is_server_error(),
    }
}

fn over_grpc(response: &Response) -> Answered {
    let status = Status::from_header_map(response.headers());
    let code = status.map_or(Code::Ok, |status| status.code());
    Answered {
        attribute: RPC_STATUS,
        code: format!("{code:?}"),
        is_refusal: matches!(code, Code::Unauthenticated | Code::PermissionDenied),
        is_failure: matches!(code, Code::Internal | Code::Unavailable | Code::DataLoss),
    }
}

fn first_notes(request: &Request) -> Noted {
    let extensions = request.extensions();
    let certificate = extensions.get::<PeerCertificate>();
    let actor = Actor {
        subject: String::new(),
        auth: if certificate.is_some() {
            "mtls"
        } else {
            "none"
        }
        .to_owned(),
        cert_fp: certificate.map_or_else(String::new, |shown| HEXLOWER.encode(&shown.sha256)),
        ip: extensions
            .get::<CallerAddress>()
            .map_or_else(String::new, |address| address.0.ip().to_string()),
    };
    Noted {
        actor,
        address: extensions
            .get::<CallerAddress>()
            .map(|address| address.0.ip()),
        api: request.uri().path().to_owned(),
        trace_id: trace_id(request.headers()),
        ..Noted::default()
    }
}

/// The second part of `traceparent` (W3C Trace Context §3.2).
fn trace_id(headers: &HeaderMap) -> String {
    let header = headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok());
    let id = header.and_then(|text| text.split('-').nth(1));
    let is_id = |id: &&str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    id.filter(is_id).unwrap_or_default().to_owned()
}

/// The record of an HTTPS answer, when it is one that has a record.
fn decided(auditor: &Auditor, noted: Noted, response: &Response) -> Option<Record> {
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let problem = response.extensions().get::<Problem>();
    let outcome = match problem.map(|problem| problem.kind) {
        None => Outcome::Success,
        Some(Kind::Unavailable) => Outcome::Failure,
        Some(_) => Outcome::Denied,
    };
    let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let event = match noted.kind {
        Some(kind) if ANSWERS.contains(&kind) => return None,
        Some(kind) => event_of(kind, outcome),
        None if refused => Event::AccessDenied,
        None => return None,
    };
    let mut record = auditor.record(event, outcome);
    (record.action, record.target.r#type) = match noted.kind {
        Some(kind) => (verb(kind).to_owned(), token_of(kind).to_owned()),
        None => ("request".to_owned(), "path".to_owned()),
    };
    if let Some(problem) = problem {
        record.reason = problem.reason.to_owned();
        record.message.clone_from(&problem.sentence);
    }
    Some(filled(record, noted))
}

/// Kinds that issue nothing: asking whether a token is good is what every verifier does, and none of them records it.
const ANSWERS: &[&str] = &["verify"];
/// Kinds whose token says who somebody is; all others say what somebody may do.
const IDENTITY_KINDS: &[&str] = &["identity", "refresh", "mint"];

fn token_of(kind: &str) -> &'static str {
    if IDENTITY_KINDS.contains(&kind) {
        "identity_token"
    } else {
        "authorization_token"
    }
}

/// Verb for a kind: `issue`, unless the kind is itself what is done.
fn verb(kind: &'static str) -> &'static str {
    match kind {
        "identity" | "authorization" => "issue",
        other => other,
    }
}

fn event_of(kind: &str, outcome: Outcome) -> Event {
    match (IDENTITY_KINDS.contains(&kind), outcome) {
        (true, Outcome::Success) => Event::IdentityIssued,
        (true, _) => Event::IdentityRefused,
        (false, Outcome::Success) => Event::AuthzIssued,
        (false, _) => Event::AuthzDenied,
    }
}

/// The record of a gRPC answer that says no.
fn denied(auditor: &Auditor, noted: Noted, response: &Response) -> Option<Record> {
    let status = Status::from_header_map(response.headers())?;
    if !matches!(
        status.code(),
        Code::Unauthenticated | Code::PermissionDenied
    ) {
        return None;
    }
    let mut record = auditor.record(Event::AccessDenied, Outcome::Denied);
    record.action = noted.api.rsplit('/').next().unwrap_or_default().to_owned();
    record.target.r#type = "method".to_owned();
    record.reason = Reason::from(&status).as_str().to_owned();
    record.message = status.message().to_owned();
    Some(filled(record, noted))
}

fn filled(mut record: Record, mut noted: Noted) -> Record {
    if noted.target.r#type.is_empty() {
        noted.target.r#type.clone_from(&record.target.r#type);
    }
    noted.fill(&mut record);
    record
}

fn unrecorded(error: &AuditError) -> Problem {
    tracing::warn!(%error, "an answer was taken back: it has no audit record");
    Problem::new(
        Kind::Unavailable,
        "audit_unavailable",
        "this node cannot record what it decides, so it decides nothing: ask another node",
    )
}
