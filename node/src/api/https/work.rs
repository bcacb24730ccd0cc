//! Runs questions to the issuer beside the tasks that must not wait, and not too many at once.
//!
//! ```text
//! request ─ often from this address? ─ a seat in its pool ─ a processor of the pool ─▶ issuer
//!                   429                        429                   429
//! ```
//! All of it is asked before anything about the request is judged.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use tokio::time::{Instant, timeout};

use super::pools::{Seat, Standing};
use super::shared::Shared;
use crate::issuer::Issuer;
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;

/// Longest wait for a processor: a client that waited for longer has given up.
const PROCESSOR_WAIT: Duration = Duration::from_secs(5);

/// A request that is admitted, and has its seat.
pub(super) struct Admitted {
    shared: Shared,
    context: RequestContext,
    seat: Seat,
}

impl Shared {
    /// Admits a request.
    ///
    /// # Errors
    /// Its address asks too often, or there is no seat for it.
    pub(super) fn admit(
        &self,
        context: &RequestContext,
        standing: Standing,
    ) -> Result<Admitted, Problem> {
        let address = context.address();
        if standing != Standing::Certificate {
            self.issuer.allows(address)?;
        }
        let seat = self.pools.seat(standing, address).inspect_err(|_| {
            let pool = KeyValue::new("pool", standing.word());
            self.metrics.requests_shed.add(1, &[pool]);
        });
        Ok(Admitted {
            shared: self.clone(),
            context: context.clone(),
            seat: seat?,
        })
    }
}

impl Admitted {
    /// Runs a question to the issuer on a thread for computation.
    ///
    /// # Errors
    /// As the issuer answers; or all processors are taken for too long.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        kind: &'static str,
        question: impl FnOnce(&Issuer, &RequestContext) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let begun = Instant::now();
        let waited = timeout(PROCESSOR_WAIT, self.seat.processors().acquire_owned()).await;
        let processor = match waited {
            Ok(processor) => processor.map_err(|_| stopping())?,
            Err(_) => return Err(too_busy()),
        };
        let issuer = Arc::clone(&self.shared.issuer);
        // A question about a token decides nothing: it is counted, and has no record.
        if kind != "verify" {
            self.context.note(|noted| noted.kind = Some(kind));
        }
        let context = self.context.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when the caller has gone.
            let _processor = processor;
            question(&issuer, &context)
        });
        let answer = answer.await.map_err(|_| stopping())?;
        let kind = KeyValue::new("kind", kind);
        let took = begun.elapsed().as_secs_f64();
        self.shared.metrics.issue_duration.record(took, &[kind]);
        answer
    }
}

fn too_busy() -> Problem {
    let sentence = "this node has too many requests: try again soon";
    Problem::new(Kind::TooMany, "overloaded", sentence)
}

fn stopping() -> Problem {
    let sentence = "this node is stopping: ask another one";
    Problem::new(Kind::Unavailable, "stopping", sentence)
}
