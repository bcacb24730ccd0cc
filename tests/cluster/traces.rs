//! Traces: one revoke is one trace, from the responder's command line to the acknowledgement of every verifier.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use hessra_sdk_rust::{Credentials, Readiness, Verifier};
use hessra_tests::{Cluster, Layout, until};
use opentelemetry::global;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(30);
const LEAF: &str = "urn:hessra:alice:agent";

/// A span, and who sent it: `hessra`, `node 2`, `verifier`.
#[derive(Clone, Debug)]
struct Received {
    from: String,
    span: Span,
}

impl Received {
    fn name(&self) -> &str {
        &self.span.name
    }

    fn millis(&self) -> f64 {
        (self.span.end_time_unix_nano - self.span.start_time_unix_nano) as f64 / 1e6
    }
}

/// An OpenTelemetry collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Received>>>);

impl Collector {
    fn start(runtime: &Runtime) -> (Self, SocketAddr) {
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let incoming = TcpListenerStream::new(listener);
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        (collector, address)
    }

    /// Spans of one trace so far.
    fn trace(&self, id: &str) -> Vec<Received> {
        let received = self.0.lock().expect("no test panics with it");
        let of_trace = |one: &&Received| HEXLOWER.encode(&one.span.trace_id) == id;
        received.iter().filter(of_trace).cloned().collect()
    }

    fn all(&self) -> Vec<Received> {
        self.0.lock().expect("no test panics with it").clone()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut received = self.0.lock().expect("no test panics with it");
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let attribute = |key: &str| {
                let found = attributes.iter().find(|attribute| attribute.key == key)?;
                match &found.value.as_ref()?.value {
                    Some(Value::StringValue(text)) => Some(text.clone()),
                    _ => None,
                }
            };
            let from = match attribute("hessra.node") {
                Some(node) => format!("node {node}"),
                None => attribute("service.name").unwrap_or_default(),
            };
            let spans = resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            received.extend(spans.map(|span| Received {
                from: from.clone(),
                span,
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Spans as a tree, each below its parent.
fn tree(spans: &[Received]) -> String {
    let mut below: BTreeMap<&[u8], Vec<&Received>> = BTreeMap::new();
    for one in spans {
        below.entry(&one.span.parent_span_id).or_default().push(one);
    }
    let mut text = String::new();
    draw(&below, &[], 0, &mut text);
    text
}

fn draw(below: &BTreeMap<&[u8], Vec<&Received>>, parent: &[u8], depth: usize, text: &mut String) {
    let mut children = below.get(parent).cloned().unwrap_or_default();
    children.sort_by_key(|one| one.span.start_time_unix_nano);
    for one in children {
        let _ = writeln!(
            text,
            "{:depth$}{} [{}] {:.2} ms",
            "",
            one.name(),
            one.from,
            one.millis(),
            depth = depth * 2
        );
        draw(below, &one.span.span_id, depth + 1, text);
    }
}

/// Sends the spans of this process to a collector: what a service with a verifier does.
fn send_own_spans(address: SocketAddr) -> SdkTracerProvider {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{address}"))
        .build()
        .expect("an exporter");
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(
            Resource::builder_empty()
                .with_service_name("verifier")
                .build(),
        )
        .build();
    global::set_tracer_provider(provider.clone());
    provider
}

fn follow(cluster: &Cluster, id: &str, node: u64) -> Verifier {
    let file = |name: &str| cluster.directory().join(name).display().to_string();
    let credentials =
        Credentials::files(file("clients/verifier.crt"), file("clients/verifier.key"));
    Verifier::builder()
        .servers([cluster.node(node).public.clone()])
        .and_then(|builder| builder.ca_file(file("ca.crt")))
        .expect("the CA can be read")
        .credentials(credentials.expect("the files can be read"))
        .id(id)
        .expect("an id")
        .connect()
        .expect("it starts")
}

fn traced(collector: SocketAddr, name: &'static str) -> Layout {
    Layout::new(name).set("telemetry", "otlp_endpoint", format!("http://{collector}"))
}

#[test]
fn one_revoke_is_one_trace_from_the_command_line_to_the_acknowledgement_of_each_verifier() {
    let runtime = Runtime::new().expect("a runtime");
    let (collector, address) = Collector::start(&runtime);
    let cluster = traced(address, "traces").start();
    let follower = cluster.follower();
    let _entered = runtime.enter();
    let provider = send_own_spans(address);
    let verifiers = [
        follow(&cluster, "traced-1", 1),
        follow(&cluster, "traced-2", 2),
    ];
    until("the verifiers are fresh", PATIENCE, || {
        let fresh = |verifier: &Verifier| {
            matches!(verifier.subscribe().borrow().readiness, Readiness::Fresh)
        };
        verifiers.iter().all(fresh).then_some(())
    });
    // The operator talks to a follower, which forwards.
    let request = "0af7651916cd43dd8448eb211c80319c";
    let operator = cluster
        .operator()
        .with("HESSRA_SERVER", &cluster.node(follower).public)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"));
    let arguments = [
        "revoke",
        "--subtree",
        LEAF,
        "--yes",
        "-v",
        "--wait",
        "verifiers",
        "--request-id",
        request,
    ];
    let finished = operator.run(arguments).done();
    assert!(
        finished.stderr().contains(&format!("trace {request}")),
        "{}",
        finished.stderr()
    );

    let wanted = [
        ("hessra revoke", 1),
        ("hessra.v1.Authority/Revoke", 1),
        ("hessra.change", 1),
        ("hessra.queue", 1),
        ("hessra.forward", 1),
        ("hessra.commit", 1),
        ("hessra.append", 2),
        ("hessra.flush", 3),
        ("hessra.apply", 3),
        ("hessra.publish", 2),
        ("hessra.deliver", 2),
        ("hessra.verifier.apply", 2),
    ];
    let count =
        |spans: &[Received], name: &str| spans.iter().filter(|one| one.name() == name).count();
    let spans = until("the collector has the whole trace", PATIENCE, || {
        provider.force_flush().expect("the collector is there");
        let spans = collector.trace(request);
        let has = |(name, times): &(&str, usize)| count(&spans, name) >= *times;
        wanted.iter().all(has).then_some(spans)
    });
    println!("{}", tree(&spans));
    for (name, times) in wanted {
        assert_eq!(count(&spans, name), times, "{name} in\n{}", tree(&spans));
    }
    let drawn = tree(&spans).lines().count();
    assert_eq!(
        drawn,
        spans.len(),
        "every span is below the command line's:\n{}",
        tree(&spans)
    );
    let of = |name: &str| {
        spans
            .iter()
            .filter(|one| one.name() == name)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(of("hessra.forward")[0].from, format!("node {follower}"));
    assert_eq!(
        of("hessra.commit")[0].from,
        format!("node {}", cluster.leader())
    );
    for applied in of("hessra.verifier.apply") {
        let delivery = of("hessra.deliver");
        let parent = delivery
            .iter()
            .find(|one| one.span.span_id == applied.span.parent_span_id);
        let parent = parent.expect("the delivery that the node closed");
        assert!(parent.span.start_time_unix_nano <= applied.span.start_time_unix_nano);
        assert!(applied.span.end_time_unix_nano <= parent.span.end_time_unix_nano);
    }
    runtime.block_on(async {
        for verifier in verifiers {
            verifier.shutdown().await;
        }
    });
}

#[test]
fn a_refusal_is_traced_although_nobody_asked_for_it() {
    let runtime = Runtime::new().expect("a runtime");
    let (collector, address) = Collector::start(&runtime);
    let cluster = traced(address, "traces_refusal")
        .set("telemetry", "traces_per_mille", 0)
        .start();
    let refused = cluster.person("verifier").run(["keys", "list"]);
    assert_ne!(refused.code(), 0);
    cluster.operator().run(["keys", "list"]).done();
    until("the refusal is there", PATIENCE, || {
        let spans = collector.all();
        let listed: Vec<_> = spans
            .iter()
            .filter(|one| one.name().contains("List"))
            .collect();
        assert!(
            listed.len() <= 1,
            "a request that was answered was not to be traced: {listed:?}"
        );
        (listed.len() == 1).then_some(())
    });
}

#[test]
fn a_collector_that_is_gone_costs_spans_and_nothing_else() {
    // Bound and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let cluster = traced(address, "traces_silent").start();
    for number in 0..20 {
        let name = format!("urn:hessra:alice:agent{number}");
        cluster
            .operator()
            .run(["revoke", &name, "--yes", "--force", "--wait", "commit"])
            .done();
    }
    let leader = cluster.leader();
    until("the lost spans are counted", PATIENCE, || {
        let label = ["outcome=\"lost\""];
        let lost = cluster.metric_with(leader, "hessra_telemetry_spans_total", &label);
        (lost > 0.0).then_some(())
    });
    assert!(
        cluster.tail(leader).contains("spans could not be sent"),
        "{}",
        cluster.tail(leader)
    );
}
