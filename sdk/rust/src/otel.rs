//! Spans of a verifier, for the OpenTelemetry SDK of the service that it is in (feature `otel`).
//!
//! A frame names the traces of the changes in it (`hessra_proto::trace`). The span `hessra.verifier.apply` of a verifier is a child of
//! the delivery that the node closes when it has the acknowledgement, so that one revoke is one trace, from the operator's terminal
//! to this service. The service's global tracer provider decides whether it goes anywhere.

use std::time::SystemTime;

use hessra_proto::trace::{NAMED_MAX, Root, span_id};
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, global};

/// Takes note that this verifier denies what the changes of a frame revoked: since `received`, the frame was read, verified, applied,
/// published to checks, and acknowledged.
pub(crate) fn applied(traces: &[Vec<u8>], verifier: &str, revision: u64, received: SystemTime) {
    let deliveries = traces.iter().take(NAMED_MAX);
    let mut deliveries = deliveries.filter_map(|trace| delivery(trace, verifier));
    let Some(first) = deliveries.next() else {
        return;
    };
    let tracer = global::tracer("hessra");
    let builder = tracer
        .span_builder("hessra.verifier.apply")
        .with_kind(SpanKind::Consumer)
        .with_start_time(received)
        .with_links(deliveries.map(Link::with_context).collect())
        .with_attributes([
            KeyValue::new("hessra.verifier", verifier.to_owned()),
            KeyValue::new(
                "hessra.revision",
                i64::try_from(revision).unwrap_or(i64::MAX),
            ),
        ]);
    let parent = Context::new().with_remote_span_context(first);
    tracer.build_with_context(builder, &parent).end();
}

/// Span of the delivery of a change to this verifier. `None`: the node named no trace.
fn delivery(trace: &[u8], verifier: &str) -> Option<SpanContext> {
    let trace = <[u8; 16]>::try_from(trace).ok()?;
    let span = span_id(&trace, Root::Delivery { verifier });
    let context = SpanContext::new(
        TraceId::from_bytes(trace),
        SpanId::from_bytes(span),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}
