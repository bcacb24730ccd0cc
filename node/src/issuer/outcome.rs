//! Counts and logs every outcome of every request for a token.

use opentelemetry::KeyValue;
use tracing::info;

use super::{Caller, Issuer};
use crate::problem::{Kind, Problem};

/// The word for how a caller proved its identity.
pub(super) fn method(certificate: bool, bearer: bool) -> &'static str {
    match (bearer, certificate) {
        (true, _) => "bearer",
        (false, true) => "certificate",
        (false, false) => "none",
    }
}

impl Caller {
    /// The word of [`method`] for this caller.
    pub(super) fn method(&self) -> &'static str {
        method(self.certificate.is_some(), self.bearer.is_some())
    }
}

fn label(name: &'static str, value: &'static str) -> KeyValue {
    KeyValue::new(name, value)
}

impl Issuer {
    /// Counts the outcome of a request for a token, and gives it back.
    pub(super) fn counted<T>(
        &self,
        kind: &'static str,
        method: &'static str,
        outcome: Result<T, Problem>,
    ) -> Result<T, Problem> {
        let metrics = &self.parts.metrics;
        let known = !matches!(&outcome, Err(problem) if problem.kind == Kind::Unauthenticated);
        let authentication = if known { "identified" } else { "refused" };
        metrics.authentications.add(
            1,
            &[label("method", method), label("outcome", authentication)],
        );
        let (decision, reason) = match &outcome {
            Ok(_) => {
                metrics.tokens_issued.add(1, &[label("kind", kind)]);
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
        self.decided(decision, reason);
        outcome
    }

    /// Counts the answer to a question about a token, and gives it back.
    pub(super) fn answered<T>(&self, outcome: Result<T, Problem>) -> Result<T, Problem> {
        match &outcome {
            Ok(_) => self.decided("valid", "ok"),
            Err(problem) if problem.kind == Kind::Unavailable => {
                self.decided("unavailable", problem.reason);
            }
            Err(problem) => self.decided("invalid", problem.reason),
        }
        outcome
    }

    fn decided(&self, outcome: &'static str, reason: &'static str) {
        self.parts
            .metrics
            .decisions
            .add(1, &[label("outcome", outcome), label("reason", reason)]);
    }
}
