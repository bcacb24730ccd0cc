//! Span of a command that changes something, for an OpenTelemetry collector.
//!
//! The trace is that of the request id, with or without a collector: nodes and verifiers add to it. With a collector in
//! `OTEL_EXPORTER_OTLP_ENDPOINT` (gRPC, as the specification of the OpenTelemetry exporters has it) the command adds itself.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use hessra_sdk_rust::RequestId;
use hessra_sdk_rust::trace::{Root, span_id};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};

use crate::clock;
use crate::output::Console;

/// Time that the collector has: a person waits.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
const ENDPOINT: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// Command whose trace has begun.
pub(crate) struct CommandTrace {
    name: &'static str,
    request: RequestId,
    began: SystemTime,
}

impl CommandTrace {
    /// Begins the trace of a command, and names it with `--verbose`.
    pub(crate) fn begin(console: Console, name: &'static str, request: RequestId) -> Self {
        console.detail(&format!("trace {request}"));
        Self {
            name,
            request,
            began: clock::system(),
        }
    }

    /// Sends the span, if there is a collector. One that does not answer costs a second, and is said with `--verbose`.
    pub(crate) async fn end(self, console: Console, failure: Option<&str>) {
        let set = ENDPOINT.iter().find_map(|name| std::env::var(name).ok());
        let Some(endpoint) = set.filter(|endpoint| !endpoint.is_empty()) else {
            return;
        };
        let sent = tokio::time::timeout(SEND_TIMEOUT, self.send(&endpoint, failure)).await;
        let outcome = sent.unwrap_or_else(|_| Err("it did not answer within 1 s".to_owned()));
        if let Err(reason) = outcome {
            console.detail(&format!("no span was sent to {endpoint}: {reason}"));
        }
    }

    async fn send(self, endpoint: &str, failure: Option<&str>) -> Result<(), String> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(SEND_TIMEOUT)
            .build();
        let mut exporter = exporter.map_err(|error| error.to_string())?;
        let resource = Resource::builder_empty().with_service_name("hessra");
        exporter.set_resource(&resource.build());
        let trace = self.request.0;
        let own = SpanContext::new(
            TraceId::from_bytes(trace),
            SpanId::from_bytes(span_id(&trace, Root::Client)),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        let span = SpanData {
            span_context: own,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Client,
            name: Cow::Borrowed(self.name),
            start_time: self.began,
            end_time: clock::system(),
            attributes: vec![KeyValue::new("hessra.request", self.request.to_string())],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: failure.map_or(Status::Unset, |reason| Status::error(reason.to_owned())),
            instrumentation_scope: InstrumentationScope::builder("hessra").build(),
        };
        let sent = exporter.export(vec![span]).await;
        sent.map_err(|error| error.to_string())
    }
}
