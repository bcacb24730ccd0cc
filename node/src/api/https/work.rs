//! Runs questions to the issuer beside the tasks that must not wait, and not too many at once.

use std::sync::Arc;

use opentelemetry::KeyValue;
use tokio::time::Instant;

use super::shared::Shared;
use crate::issuer::Issuer;
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;

impl Shared {
    /// Runs a question to the issuer on a thread for computation.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        context: &RequestContext,
        kind: &'static str,
        question: impl FnOnce(&Issuer, &RequestContext) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let too_many = |_| {
            Problem::new(
                Kind::TooMany,
                "overloaded",
                "this node has too many requests: try again soon",
            )
        };
        let _permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(too_many)?;
        let stopping = || {
            Problem::new(
                Kind::Unavailable,
                "stopping",
                "this node is stopping: ask another one",
            )
        };
        let processor = Arc::clone(&self.processors)
            .acquire_owned()
            .await
            .map_err(|_| stopping())?;
        let issuer = Arc::clone(&self.issuer);
        let begun = Instant::now();
        // A question about a token decides nothing: it is counted, and has no record.
        if kind != "verify" {
            context.note(|noted| noted.kind = Some(kind));
        }
        let context = context.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when the caller has gone.
            let _processor = processor;
            question(&issuer, &context)
        });
        let answer = answer.await.map_err(|_| stopping())?;
        let kind = KeyValue::new("kind", kind);
        self.metrics
            .issue_duration
            .record(begun.elapsed().as_secs_f64(), &[kind]);
        answer
    }
}
