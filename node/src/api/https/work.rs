//! Where questions to the issuer are worked on: beside the tasks that must not wait, and not too many at once.

use std::sync::Arc;

use opentelemetry::KeyValue;
use tokio::time::Instant;

use super::Shared;
use crate::api::problem::{Kind, Problem};
use crate::audit::trail;
use crate::issuer::Issuer;
use crate::telemetry::metrics;

impl Shared {
    /// Runs a question to the issuer beside the tasks that must not wait.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        kind: &'static str,
        question: impl FnOnce(&Issuer) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let too_many = |_| {
            Problem::new(
                Kind::TooMany,
                "overloaded",
                "this node has too many requests: try again soon",
            )
        };
        let _place = Arc::clone(&self.places)
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
            trail::note(|noted| noted.kind = Some(kind));
        }
        let trail = trail::current();
        let answer = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when the caller has gone.
            let _processor = processor;
            trail.within(|| question(&issuer))
        });
        let answer = answer.await.map_err(|_| stopping())?;
        let kind = KeyValue::new("kind", kind);
        metrics()
            .issue_duration
            .record(begun.elapsed().as_secs_f64(), &[kind]);
        answer
    }
}
