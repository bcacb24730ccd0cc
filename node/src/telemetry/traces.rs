//! Traces: spans of requests, and of the steps of a change, sent to an OpenTelemetry collector.
//!
//! The id of a change's request is the id of its trace, and the ids of the spans that others are children of are derived from it
//! (`hessra_proto::trace`): so the leader, every follower and every verifier add to one trace without a context that would have to
//! travel through the log. Spans are made when they end, with the ids that they had from their beginning: a refusal is
//! kept although nobody asked for it to be sampled.
//!
//! A collector that is slow, full or gone costs a bounded queue and no time of a request: what does not fit is dropped.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hessra_consensus::trace::{Stage, Step, TracedChange};
use hessra_proto::trace::{Root, span_id};
use http::HeaderMap;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
    TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, Sampler, SdkTracer,
    SdkTracerProvider, SpanData,
};
use tokio::time::Instant;

use super::{Metrics, TelemetryError};
use crate::config::{OtlpProtocol, Telemetry};
use crate::edge::Clock;

/// Spans that wait to be sent: a few MiB.
const QUEUE_MAX: usize = 4_096;
/// Spans of one message.
const BATCH_MAX: usize = 512;
/// Time between two messages.
const SEND_EVERY: Duration = Duration::from_millis(500);
/// Time that a message may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(3);
/// Time between two lines that say that spans cannot be sent.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Time for the last message of a node that stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Other changes that a span of several names.
const LINKS_MAX: usize = 64;

/// Traces of one node. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Traces(Option<Arc<Sender>>);

#[derive(Debug)]
struct Sender {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    clock: Clock,
    /// Of 1,000 traces that nobody asked for so many are kept.
    per_mille: u64,
}

/// Request whose answer is awaited.
#[derive(Debug)]
pub struct RequestSpan {
    own: SpanContext,
    parent: Option<SpanContext>,
    name: String,
    begun: Instant,
}

impl Traces {
    /// Traces that go nowhere.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts sending, if the settings name a collector. Must be called inside of a runtime.
    ///
    /// # Errors
    /// The collector's address is none that can be sent to.
    pub fn start(
        settings: &Telemetry,
        node: (&str, u64),
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, TelemetryError> {
        let endpoint = &settings.otlp_endpoint;
        if endpoint.is_empty() {
            return Ok(Self::off());
        }
        let refused = |reason: String| TelemetryError::Collector {
            endpoint: endpoint.clone(),
            reason,
        };
        check(endpoint).map_err(|reason| refused(reason.to_owned()))?;
        let exporter = match settings.otlp_protocol {
            OtlpProtocol::Grpc => SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(SEND_TIMEOUT)
                .build(),
            OtlpProtocol::Http => SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
                .with_timeout(SEND_TIMEOUT)
                .build(),
        };
        let exporter = exporter.map_err(|error| refused(error.to_string()))?;
        let counted = Counted {
            exporter,
            metrics: Arc::clone(metrics),
            endpoint: endpoint.clone(),
            clock,
            said: AtomicU64::new(0),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(counted)
            .with_batch_config(batches)
            .build();
        let (cluster, id) = node;
        let resource = Resource::builder_empty()
            .with_service_name("hessra-node")
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", format!("{cluster}/{id}")),
                KeyValue::new("hessra.cluster", cluster.to_owned()),
                KeyValue::new("hessra.node", id.to_string()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_id_generator(Ids::default())
            // Whether a span is kept is known when it ends, which is when it is made.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource)
            .build();
        Ok(Self(Some(Arc::new(Sender {
            tracer: provider.tracer("hessra"),
            provider,
            clock,
            per_mille: u64::from(settings.traces_per_mille),
        }))))
    }

    /// True when spans go somewhere.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// True when a change is traced: the same on every node with the same share.
    #[must_use]
    pub fn has(&self, change: &TracedChange) -> bool {
        let Some(sender) = &self.0 else {
            return false;
        };
        change.denies || sender.takes(&change.request.0)
    }

    /// Sends a step of changes, as a span in the trace of the first one, linked to the others.
    pub fn step(&self, step: &Step<'_>) {
        let Some(sender) = &self.0 else { return };
        let mut changes = step.changes.iter().filter(|change| self.has(change));
        let Some(first) = changes.next() else { return };
        let trace = first.request.0;
        let change = change_of(&trace);
        let links = changes.take(LINKS_MAX);
        let mut links: Vec<Link> = links
            .map(|other| Link::with_context(change_of(&other.request.0)))
            .collect();
        let (own, parent) = match step.stage {
            Stage::Changed { .. } => {
                let caller = Context::current().span().span_context().clone();
                let is_parent = caller.is_valid() && caller.trace_id() == change.trace_id();
                if caller.is_valid() && !is_parent {
                    links.push(Link::with_context(caller.clone()));
                }
                (Some(change.span_id()), is_parent.then_some(caller))
            }
            Stage::Delivered { verifier, .. } => {
                let id = span_id(&trace, Root::Delivery { verifier });
                (Some(SpanId::from_bytes(id)), Some(change))
            }
            _ => (None, Some(change)),
        };
        let kind = match step.stage {
            Stage::Forwarded { .. } => SpanKind::Client,
            Stage::Delivered { .. } => SpanKind::Producer,
            _ => SpanKind::Internal,
        };
        sender.send(Finished {
            name: step.stage.name().to_owned(),
            kind,
            trace: TraceId::from_bytes(trace),
            own,
            parent,
            links,
            attributes: attributes(&step.stage),
            took: step.took,
            status: Status::Unset,
        });
    }

    /// Begins the span of a request. `None`: nothing is traced.
    #[must_use]
    pub fn request(&self, headers: &HeaderMap, path: &str, begun: Instant) -> Option<RequestSpan> {
        let sender = self.0.as_ref()?;
        let parent = traceparent(headers);
        let random = RandomIdGenerator::default();
        let trace = parent
            .as_ref()
            .map_or_else(|| random.new_trace_id(), SpanContext::trace_id);
        let sampled = match &parent {
            Some(parent) => parent.is_sampled(),
            None => sender.takes(&trace.to_bytes()),
        };
        let flags = TraceFlags::default().with_sampled(sampled);
        let span = random.new_span_id();
        let own = SpanContext::new(trace, span, flags, true, TraceState::default());
        Some(RequestSpan {
            own,
            parent,
            name: path.trim_start_matches('/').to_owned(),
            begun,
        })
    }

    /// Sends the span of a request that was answered, if it is to be kept: it was asked for, was chosen, or is a refusal.
    pub fn answered(&self, request: RequestSpan, outcome: &Answered) {
        let Some(sender) = &self.0 else { return };
        if !request.own.is_sampled() && !outcome.is_refusal {
            return;
        }
        let status = match outcome.is_failure {
            true => Status::error(outcome.code.clone()),
            false => Status::Unset,
        };
        let mut attributes = vec![KeyValue::new(outcome.attribute, outcome.code.clone())];
        match outcome.attribute {
            RPC_STATUS => {
                attributes.push(KeyValue::new("rpc.system.name", "grpc"));
                attributes.push(KeyValue::new("rpc.method", request.name.clone()));
            }
            _ => attributes.push(KeyValue::new("url.path", format!("/{}", request.name))),
        }
        sender.send(Finished {
            name: request.name,
            kind: SpanKind::Server,
            trace: request.own.trace_id(),
            own: Some(request.own.span_id()),
            parent: request.parent,
            links: Vec::new(),
            attributes,
            took: (request.begun, Instant::now()),
            status,
        });
    }

    /// Sends what waits, for a moment, and ends.
    pub async fn close(&self) {
        let Some(sender) = self.0.clone() else { return };
        let closing = tokio::task::spawn_blocking(move || {
            // A collector that is gone has been said already.
            let _ = sender.provider.shutdown_with_timeout(CLOSE_TIMEOUT);
        });
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }
}

/// Attribute for the code of an answer over gRPC.
pub const RPC_STATUS: &str = "rpc.response.status_code";
/// Attribute for the code of an answer over HTTPS.
pub const HTTP_STATUS: &str = "http.response.status_code";

/// Answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Attribute of the code: [`RPC_STATUS`] or [`HTTP_STATUS`].
    pub attribute: &'static str,
    /// Code, as text.
    pub code: String,
    /// True when the caller was refused: such a request is always kept.
    pub is_refusal: bool,
    /// True when this node failed.
    pub is_failure: bool,
}

impl RequestSpan {
    /// Context in which the request is worked on.
    #[must_use]
    pub fn context(&self) -> Context {
        Context::new().with_remote_span_context(self.own.clone())
    }

    /// Id of the trace, in hexadecimal.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.own.trace_id().to_string()
    }
}

/// Span that is over.
struct Finished {
    name: String,
    kind: SpanKind,
    trace: TraceId,
    own: Option<SpanId>,
    parent: Option<SpanContext>,
    links: Vec<Link>,
    attributes: Vec<KeyValue>,
    took: (Instant, Instant),
    status: Status,
}

impl Sender {
    /// True for a trace that is kept although nobody asked for it: by its id, so that every node keeps the same ones.
    fn takes(&self, trace: &[u8; 16]) -> bool {
        let (_, low) = trace.split_at(8);
        let low = low
            .iter()
            .fold(0_u64, |low, byte| (low << 8) | u64::from(*byte));
        low % 1_000 < self.per_mille
    }

    fn send(&self, finished: Finished) {
        let (began, ended) = finished.took;
        let now = (Instant::now(), self.clock.system());
        let builder = self
            .tracer
            .span_builder(finished.name)
            .with_kind(finished.kind)
            .with_start_time(at(now, began))
            .with_attributes(finished.attributes)
            .with_links(finished.links);
        let parent = finished.parent.map(|parent| {
            let flags = TraceFlags::SAMPLED;
            let (trace, span) = (parent.trace_id(), parent.span_id());
            SpanContext::new(trace, span, flags, true, TraceState::default())
        });
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        NEXT.set((Some(finished.trace), finished.own));
        let mut span = self.tracer.build_with_context(builder, &context);
        NEXT.set((None, None));
        span.set_status(finished.status);
        span.end_with_timestamp(at(now, ended));
    }
}

/// Wall time of an instant that is not later than now.
fn at((now, wall): (Instant, SystemTime), instant: Instant) -> SystemTime {
    wall.checked_sub(now.saturating_duration_since(instant))
        .unwrap_or(wall)
}

/// Context of the span of a change.
fn change_of(trace: &[u8; 16]) -> SpanContext {
    let span = span_id(trace, Root::Change);
    let (trace, span) = (TraceId::from_bytes(*trace), SpanId::from_bytes(span));
    SpanContext::new(
        trace,
        span,
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    )
}

fn attributes(stage: &Stage<'_>) -> Vec<KeyValue> {
    let number = |name, value: u64| KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX));
    match *stage {
        Stage::Queued | Stage::Changed { index: None } => Vec::new(),
        Stage::Forwarded { leader } => vec![number("hessra.leader", leader)],
        Stage::Changed { index: Some(index) }
        | Stage::Committed { index }
        | Stage::Appended { index }
        | Stage::Flushed { index }
        | Stage::Applied { index } => vec![number("hessra.log.index", index)],
        Stage::Published { revision } => vec![number("hessra.revision", revision)],
        Stage::Delivered { revision, verifier } => vec![
            number("hessra.revision", revision),
            KeyValue::new("hessra.verifier", verifier.to_owned()),
        ],
    }
}

/// Parent that a caller names (W3C Trace Context §3.2).
fn traceparent(headers: &HeaderMap) -> Option<SpanContext> {
    let header = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = header.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex(version, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    if !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
        return None;
    }
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::default().with_sampled(sampled),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// Checks the address of a collector. Nothing here speaks TLS to one.
fn check(endpoint: &str) -> Result<(), &'static str> {
    let uri: http::Uri = endpoint.parse().map_err(|_| "it is no URL")?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) => Ok(()),
        _ => Err(
            "write `http://HOST:PORT`: a collector beside this node, which speaks TLS to the rest",
        ),
    }
}

thread_local! {
    /// Ids of the span that this thread makes next.
    static NEXT: Cell<(Option<TraceId>, Option<SpanId>)> = const { Cell::new((None, None)) };
}

/// Ids of spans: those that were chosen, or else random ones.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().0.unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().1.unwrap_or_else(|| self.0.new_span_id())
    }
}

/// Exporter that counts what it sent and what it could not send.
struct Counted {
    exporter: SpanExporter,
    metrics: Arc<Metrics>,
    endpoint: String,
    clock: Clock,
    /// Tick + 1 at which a failure was said last; 0 = never.
    said: AtomicU64,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.endpoint).finish()
    }
}

impl Counted {
    fn say(&self, error: &impl fmt::Display) {
        let now = self.clock.monotonic().0 + 1;
        let said = self.said.load(Ordering::Relaxed);
        let every = u64::try_from(SAY_EVERY.as_millis()).unwrap_or(u64::MAX);
        if said == 0 || now.saturating_sub(said) >= every {
            self.said.store(now, Ordering::Relaxed);
            tracing::warn!(endpoint = self.endpoint, %error, "spans could not be sent to the collector: they are lost, and nothing else is");
        }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let sent = self.exporter.export(batch).await;
        let outcome = match &sent {
            Ok(()) => "sent",
            Err(error) => {
                self.say(error);
                "lost"
            }
        };
        self.metrics
            .telemetry_spans
            .add(spans, &[KeyValue::new("outcome", outcome)]);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent_in(header: &str) -> Option<(String, bool)> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", header.parse().unwrap());
        traceparent(&headers).map(|parent| (parent.trace_id().to_string(), parent.is_sampled()))
    }

    #[test]
    fn a_parent_is_taken_as_the_specification_writes_it_and_nothing_else_is() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let good = format!("00-{trace}-{span}-01");
        assert_eq!(parent_in(&good), Some((trace.to_owned(), true)));
        let unsampled = format!("00-{trace}-{span}-00");
        assert_eq!(parent_in(&unsampled), Some((trace.to_owned(), false)));
        let later = format!("01-{trace}-{span}-01-more");
        assert_eq!(parent_in(&later), Some((trace.to_owned(), true)));
        for bad in [
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{trace}-{span}"),
            format!("00-{trace}x-{span}-01"),
            String::new(),
        ] {
            assert_eq!(parent_in(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_collector_is_named_by_a_url_without_tls() {
        for good in [
            "http://127.0.0.1:4317",
            "http://collector:4318",
            "http://[::1]:4317",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["https://127.0.0.1:4317", "collector:4317", "", "http://"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
