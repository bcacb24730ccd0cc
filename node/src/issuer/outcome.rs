//! Every outcome of every request for a token, in one place: counted and told.

use opentelemetry::KeyValue;
use tracing::info;

use crate::api::problem::{Kind, Problem};
use crate::telemetry::metrics;

pub(super) fn method(certificate: bool, bearer: bool) -> &'static str {
    match (bearer, certificate) {
        (true, _) => "bearer",
        (false, true) => "certificate",
        (false, false) => "none",
    }
}

pub(super) fn record<T>(kind: &'static str, method: &'static str, outcome: &Result<T, Problem>) {
    let label = |key, value: &'static str| KeyValue::new(key, value);
    let known = !matches!(outcome, Err(problem) if problem.kind == Kind::Unauthenticated);
    let authentication = if known { "identified" } else { "refused" };
    metrics().authentications.add(
        1,
        &[label("method", method), label("outcome", authentication)],
    );
    let (decision, reason) = match outcome {
        Ok(_) => {
            metrics().tokens_issued.add(1, &[label("kind", kind)]);
            ("issued", "ok")
        }
        Err(problem) => {
            info!(kind, reason = problem.reason, message = %problem.sentence, "token refused");
            (
                if problem.kind == Kind::Unavailable {
                    "unavailable"
                } else {
                    "denied"
                },
                problem.reason,
            )
        }
    };
    metrics()
        .decisions
        .add(1, &[label("outcome", decision), label("reason", reason)]);
}

/// A question about a token was answered.
pub(super) fn verified<T>(outcome: &Result<T, Problem>) {
    let (decision, reason) = match outcome {
        Ok(_) => ("valid", "ok"),
        Err(problem) if problem.kind == Kind::Unavailable => ("unavailable", problem.reason),
        Err(problem) => ("invalid", problem.reason),
    };
    metrics().decisions.add(
        1,
        &[
            KeyValue::new("outcome", decision),
            KeyValue::new("reason", reason),
        ],
    );
}
