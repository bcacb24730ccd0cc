//! Logs, traces, and the one table of metrics.
//!
//! Every instrument of a node is a row of the table at the end of this file: field, kind, name, unit, description and,
//! for a histogram, its buckets. The struct that code records into, the instruments themselves and `docs/metrics.md` are
//! made from it, so a metric that is not in the table does not exist. A label never carries a subject, a token id, a
//! revocation id, an address or a verifier id: those are unbounded, and some are secrets.

mod traces;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Arc;

use hessra_consensus::Measurement;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime as WallTime;

use crate::config::{Log, LogFormat};

pub use traces::{Answered, HTTP_STATUS, RPC_STATUS, RequestSpan, Traces};

/// Filter for libraries. They speak of their own affairs at `info`, and are heard at `warn` unless the filter names
/// them.
const QUIET: &str = "openraft=warn,sled=warn,hyper=warn,h2=warn,rustls=warn,tonic=warn,tower=warn";
/// Environment variable that wins over the configuration.
const LOG_VARIABLE: &str = "HESSRA_LOG";

/// Error of telemetry that does not start, or cannot be collected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum TelemetryError {
    #[error("`{filter}` is no log filter: {reason}. Write `info` or `info,hessra_consensus=debug`")]
    Filter { filter: String, reason: String },
    #[error("`telemetry.otlp_endpoint` is `{endpoint}`: {reason}")]
    Collector { endpoint: String, reason: String },
    #[error("metrics cannot be collected: {0}")]
    Metrics(String),
}

/// Starts log lines on stderr, once per process.
///
/// # Errors
/// The filter is none.
pub fn start_logs(log: &Log) -> Result<(), TelemetryError> {
    let chosen = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| log.level.clone());
    // `info` alone means the product's own lines; a filter with a target is taken as it is.
    let filter = if chosen.contains('=') {
        chosen.clone()
    } else {
        format!("{chosen},{QUIET}")
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| TelemetryError::Filter {
        filter: chosen,
        reason: error.to_string(),
    })?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(WallTime);
    // A second start in one process (tests) keeps the first.
    let _ = match (log.format, terminal) {
        (LogFormat::Json, _) | (LogFormat::Auto, false) => {
            builder.json().flatten_event(true).try_init()
        }
        (LogFormat::Text, _) | (LogFormat::Auto, true) => builder
            .with_ansi(terminal && std::env::var_os("NO_COLOR").is_none())
            .try_init(),
    };
    Ok(())
}

/// The collected metrics of one node.
#[derive(Clone, Debug)]
pub struct Collected {
    registry: Registry,
    // Dropped, it would stop collecting.
    _provider: SdkMeterProvider,
}

impl Collected {
    /// Makes the instruments of a node, and what collects them.
    ///
    /// # Errors
    /// The exporter refused.
    pub fn start() -> Result<(Self, Arc<Metrics>), TelemetryError> {
        let failed = |error: &dyn std::fmt::Display| TelemetryError::Metrics(error.to_string());
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()
            .map_err(|error| failed(&error))?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let metrics = Metrics::new(&provider.meter("hessra"));
        let collected = Self {
            registry,
            _provider: provider,
        };
        Ok((collected, Arc::new(metrics)))
    }

    /// Metrics in the Prometheus text format.
    ///
    /// # Errors
    /// The encoder refused.
    pub fn text(&self) -> Result<String, TelemetryError> {
        let mut families = self.registry.gather();
        // Every instrument is of one scope: a label that says so on every line says nothing.
        for metric in families
            .iter_mut()
            .flat_map(|family| family.mut_metric().iter_mut())
        {
            let mut labels = metric.take_label();
            labels.retain(|label| !label.name().starts_with("otel_scope_"));
            metric.set_label(labels);
        }
        TextEncoder::new()
            .encode_to_string(&families)
            .map_err(|error| TelemetryError::Metrics(error.to_string()))
    }
}

/// Text of `docs/metrics.md`, made from the table.
#[must_use]
pub fn metrics_page() -> String {
    let mut page = String::from(
        "# Metrics of a node\n\n\
         Made from the table in `node/src/telemetry.rs`; a test keeps it so. Served at `/metrics` of the operations\n\
         listener, where a counter ends in `_total` and a unit is part of the name (`hessra_commit_duration_seconds`).\n\n\
         | name | kind | unit | what it says |\n|---|---|---|---|\n",
    );
    for row in TABLE {
        let _ = writeln!(
            page,
            "| `{}` | {} | `{}` | {} |",
            row.name, row.kind, row.unit, row.description
        );
    }
    page
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Instrument {
    pub name: &'static str,
    pub kind: &'static str,
    /// Unit in UCUM.
    pub unit: &'static str,
    pub description: &'static str,
    pub buckets: &'static [f64],
}

macro_rules! instrument_type {
    (counter) => { Counter<u64> };
    (gauge) => { Gauge<u64> };
    (histogram) => { Histogram<f64> };
}

macro_rules! instrument_build {
    (counter, $meter:ident, $name:literal, $unit:literal, $description:literal, $buckets:expr) => {
        $meter
            .u64_counter($name)
            .with_unit($unit)
            .with_description($description)
            .build()
    };
    (gauge, $meter:ident, $name:literal, $unit:literal, $description:literal, $buckets:expr) => {
        $meter
            .u64_gauge($name)
            .with_unit($unit)
            .with_description($description)
            .build()
    };
    (histogram, $meter:ident, $name:literal, $unit:literal, $description:literal, $buckets:expr) => {
        $meter
            .f64_histogram($name)
            .with_unit($unit)
            .with_description($description)
            .with_boundaries($buckets.to_vec())
            .build()
    };
}

macro_rules! instruments {
    ($($field:ident: $kind:ident $name:literal, $unit:literal, $buckets:expr, $description:literal;)+) => {
        /// All instruments of a node, by field.
        #[derive(Debug)]
        pub struct Metrics { $(#[doc = $description] pub $field: instrument_type!($kind),)+ }

        impl Metrics {
            /// Instruments of a meter.
            #[must_use]
            pub fn new(meter: &Meter) -> Self {
                Self { $($field: instrument_build!($kind, meter, $name, $unit, $description, $buckets),)+ }
            }
        }

        /// The table.
        pub const TABLE: &[Instrument] = &[$(Instrument {
            name: $name, kind: stringify!($kind), unit: $unit, description: $description, buckets: $buckets,
        },)+];
    };
}

/// Buckets of an instrument that is no histogram.
const NONE: &[f64] = &[];
/// Buckets of times. A commit on one machine takes 1 ms, over an ocean 200 ms; above 5 s the cluster is ill.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Buckets of things counted per batch.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

instruments! {
    authentications: counter "hessra.authentication.attempts", "{attempt}", NONE, "Callers identified or not, by `method` (certificate, bearer, none) and `outcome`.";
    tokens_issued: counter "hessra.tokens.issued", "{token}", NONE, "Tokens minted, by `kind` (identity, authorization).";
    decisions: counter "hessra.decisions", "{decision}", NONE, "Token requests decided, by `outcome` (issued, denied, unavailable) and `reason`.";
    issue_duration: histogram "hessra.issue.duration", "s", SECONDS, "Time to answer a token request, by `kind`.";
    requests_limited: counter "hessra.requests.limited", "{request}", NONE, "Token requests refused because one asked too often, `by` identity, subject of a token, or address.";
    requests_shed: counter "hessra.requests.shed", "{request}", NONE, "Token requests refused because as many were worked on, by `pool` (certificate, bearer, question).";
    connections: gauge "hessra.connections", "{connection}", NONE, "Open connections, by `port` (public, peer) and `standing` (unproved, proved, kept).";
    connections_refused: counter "hessra.connections.refused", "{connection}", NONE, "Connections closed before a request, by `port` and `reason` (too_fast, pushed_out, handshake, timeout, not_admitted, full).";
    connections_ended: counter "hessra.connections.ended", "{connection}", NONE, "Connections that this node ended, by `port` and `reason` (idle, aged, closing, lingering, stalled, taken_back, certificate_ended, not_trusted).";
    requests_refused: counter "hessra.requests.refused", "{request}", NONE, "Requests refused before they were looked at, by `reason` (places, bytes, late, too_large).";
    condition: gauge "hessra.condition", "{condition}", NONE, "1 while something is wrong with this node, or as far as it can see, by `code`: as in `/readyz`, `hessra status` and `hessra doctor`.";
    certificate_expiry: gauge "hessra.certificate.expiry", "s", NONE, "Unix time at which this node's certificate ends, by `port`.";
    certificate_reloads: counter "hessra.certificate.reloads", "{reload}", NONE, "Certificates read anew, by `outcome`.";
    keys: gauge "hessra.keys", "{key}", NONE, "Keys of the state, by `purpose` and `state`.";
    key_age: gauge "hessra.key.age", "s", NONE, "Time since the active key began to sign, by `purpose`.";
    policy_revision: gauge "hessra.policy.revision", "{revision}", NONE, "Feed revision of the policy in force.";
    policy_drift: gauge "hessra.policy.drift", "1", NONE, "1 while the policy in force is not that of the followed repository's newest commit.";
    policy_git_looks: counter "hessra.policy.git.looks", "{look}", NONE, "Looks at the followed repository, by `outcome` (in_sync, applied, left_to_leader, drift, failed).";
    policy_git_synced: gauge "hessra.policy.git.synced", "s", NONE, "Unix time of the last look at the followed repository that succeeded.";
    revocations: gauge "hessra.revocations", "{revocation}", NONE, "Revocations that are remembered; the cluster takes 4,000,000, and half of them is an alarm.";
    revocations_committed: counter "hessra.revocations.committed", "{revocation}", NONE, "Revocations that a quorum made durable through this node, by `scope`.";
    rules: gauge "hessra.revocation.rules", "{rule}", NONE, "Rules in force.";
    revision: gauge "hessra.revision", "{revision}", NONE, "Feed revision that this node has applied.";
    commit_duration: histogram "hessra.commit.duration", "s", SECONDS, "From taking a write to its commit and application on this node.";
    proposals_queued: gauge "hessra.proposals.queued", "{command}", NONE, "Commands waiting to be proposed, by `queue` (revocations, others).";
    proposals_refused: counter "hessra.proposals.refused", "{command}", NONE, "Commands refused because the queue was full, by `queue`.";
    proposal_size: histogram "hessra.proposal.size", "{command}", SIZES, "Commands coalesced into one log entry.";
    propagation_duration: histogram "hessra.propagation.duration", "s", SECONDS, "From publishing a revision to a verifier's acknowledgement.";
    feed_subscribers: gauge "hessra.feed.subscribers", "{verifier}", NONE, "Verifiers connected to this node.";
    feed_guests: gauge "hessra.feed.guests", "{stream}", NONE, "Streams that the policy ties to no verifier: served and not counted.";
    feed_unread: gauge "hessra.feed.unread", "By", NONE, "Bytes that streams were given and have not taken.";
    feed_turned_away: counter "hessra.feed.turned_away", "{stream}", NONE, "Streams for which there was no seat.";
    feed_stale: gauge "hessra.feed.stale", "{verifier}", NONE, "Enrolled verifiers that do not hold the newest revision in time.";
    feed_bytes: counter "hessra.feed.bytes", "By", NONE, "Bytes of feed frames handed to streams.";
    feed_snapshots: counter "hessra.feed.snapshots", "{snapshot}", NONE, "Snapshots begun for verifiers, by `mode` (full, buckets).";
    feed_resets: counter "hessra.feed.resets", "{reset}", NONE, "Streams told to resume, by `reason`.";
    feed_loss_alarms: counter "hessra.feed.loss_alarms", "{alarm}", NONE, "Verifiers that hold a revision which a quorum of the members does not have: acknowledged changes are lost. Never zero without an incident.";
    feed_fork_alarms: counter "hessra.feed.fork_alarms", "{alarm}", NONE, "Verifiers that hold another history at an equal revision. Never zero without an incident.";
    audit_events: counter "hessra.audit.events", "{record}", NONE, "Audit records made durable, by `event`.";
    audit_write_failures: counter "hessra.audit.write_failures", "{record}", NONE, "Audit records that could not be written, by `reason` (full, disk, late, stopping); what they were for was refused.";
    audit_queue: gauge "hessra.audit.queue", "{record}", NONE, "Requests that wait for their audit record, by `chain`.";
    audit_batch: histogram "hessra.audit.batch.size", "{record}", SIZES, "Audit records that shared one sync.";
    audit_write_duration: histogram "hessra.audit.write.duration", "s", SECONDS, "Writing and syncing one batch of audit records.";
    refused_leaders: counter "hessra.leader.refused", "{time}", NONE, "Times that this node gave leadership up, because a quorum refused an entry whose author is not proved to them: the nodes have different `tls.client_ca`.";
    unproved_commands: counter "hessra.commands.unproved", "{command}", NONE, "Commands brought without the proof of their author, by the `node` that brought them. Never zero without an incident.";
    replica_alarms: counter "hessra.replica.alarms", "{alarm}", NONE, "Members found to hold another state than this node at an equal revision. Never zero without an incident.";
    feed_heartbeats: counter "hessra.feed.heartbeats", "{heartbeat}", NONE, "Heartbeats given, by `outcome` (sent, unconfirmed).";
    confirmation_duration: histogram "hessra.confirmation.duration", "s", SECONDS, "Time to confirm the quorum for a linearizable read or a heartbeat.";
    raft_is_leader: gauge "hessra.raft.is_leader", "1", NONE, "1 on the leader.";
    raft_has_leader: gauge "hessra.raft.has_leader", "1", NONE, "1 while this node knows a leader.";
    raft_term: gauge "hessra.raft.term", "{term}", NONE, "Current term.";
    raft_last_index: gauge "hessra.raft.last_index", "{entry}", NONE, "Last log index on this node.";
    raft_applied_index: gauge "hessra.raft.applied_index", "{entry}", NONE, "Log index that this node has applied.";
    raft_snapshot_index: gauge "hessra.raft.snapshot_index", "{entry}", NONE, "Log index of the newest snapshot.";
    raft_leader_changes: counter "hessra.raft.leader_changes", "{change}", NONE, "Leaders that this node has seen come.";
    raft_peer_lag: gauge "hessra.raft.peer_lag", "{entry}", NONE, "Entries a member is behind, by `peer` (node id); on the leader.";
    raft_append_duration: histogram "hessra.raft.append.duration", "s", SECONDS, "Sending entries to one peer until its answer.";
    store_size: gauge "hessra.store.size", "By", NONE, "Bytes of the data directory's store.";
    store_free: gauge "hessra.store.free", "By", NONE, "Bytes free on the file system of the data directory.";
    telemetry_spans: counter "hessra.telemetry.spans", "{span}", NONE, "Spans for the collector, by `outcome` (sent, lost).";
    process_memory: gauge "hessra.process.memory", "By", NONE, "Resident memory.";
    process_descriptors: gauge "hessra.process.descriptors", "{descriptor}", NONE, "Open file descriptors.";
    process_start: gauge "hessra.process.start", "s", NONE, "Unix time at which this process started.";
}

impl Metrics {
    /// Instruments that record nothing: for tests and benches of a part of a node.
    #[must_use]
    pub fn unrecorded() -> Arc<Self> {
        use opentelemetry::metrics::MeterProvider as _;
        let provider = opentelemetry::metrics::noop::NoopMeterProvider::new();
        Arc::new(Self::new(&provider.meter("hessra")))
    }

    /// Records a figure of consensus.
    pub fn record(&self, measurement: Measurement) {
        let word = |name, value: &'static str| KeyValue::new(name, value);
        match measurement {
            Measurement::ProposalsQueued(lane, waiting) => self
                .proposals_queued
                .record(waiting as u64, &[word("queue", lane.word())]),
            Measurement::ProposalRefused(lane) => {
                self.proposals_refused.add(1, &[word("queue", lane.word())])
            }
            Measurement::ProposalSize(commands) => self.proposal_size.record(commands as f64, &[]),
            // Counted as batches and by openraft's own indexes.
            Measurement::EntryProposed(_) => {}
            Measurement::CommitTook(took) => {
                self.commit_duration.record(took.as_secs_f64(), &[]);
            }
            Measurement::ConfirmationTook(took) => {
                self.confirmation_duration.record(took.as_secs_f64(), &[]);
            }
            Measurement::AppendTook(took) => {
                self.raft_append_duration.record(took.as_secs_f64(), &[]);
            }
            Measurement::Heartbeat(outcome) => self
                .feed_heartbeats
                .add(1, &[word("outcome", outcome.word())]),
            Measurement::Published(revision) => self.revision.record(revision, &[]),
            Measurement::FeedBytes(bytes) => self.feed_bytes.add(bytes as u64, &[]),
            Measurement::FeedSnapshot(mode) => {
                self.feed_snapshots.add(1, &[word("mode", mode.word())]);
            }
            Measurement::FeedReset(reason) => {
                self.feed_resets.add(1, &[word("reason", reason.as_str())])
            }
            Measurement::FeedForkAlarm => self.feed_fork_alarms.add(1, &[]),
            Measurement::FeedLossAlarm => self.feed_loss_alarms.add(1, &[]),
            Measurement::StoodBack => self.refused_leaders.add(1, &[]),
            Measurement::Unproved { sender } => self
                .unproved_commands
                .add(1, &[KeyValue::new("node", sender.to_string())]),
            Measurement::ReplicaAlarm => self.replica_alarms.add(1, &[]),
            Measurement::PropagationTook(took) => {
                self.propagation_duration.record(took.as_secs_f64(), &[]);
            }
            Measurement::Subscribers(count) => self.feed_subscribers.record(count as u64, &[]),
            Measurement::Guests(count) => self.feed_guests.record(count as u64, &[]),
            Measurement::UnreadBytes(bytes) => self.feed_unread.record(bytes as u64, &[]),
            Measurement::FeedTurnedAway => self.feed_turned_away.add(1, &[]),
            Measurement::StaleSubscribers(count) => self.feed_stale.record(count as u64, &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

    #[test]
    fn the_page_of_metrics_says_what_the_table_says() {
        if std::env::var_os("HESSRA_UPDATE").is_some() {
            std::fs::write(PAGE, metrics_page()).unwrap();
        }
        let page = std::fs::read_to_string(PAGE).unwrap();
        assert!(
            page == metrics_page(),
            "docs/metrics.md is old: run the test with HESSRA_UPDATE=1"
        );
    }

    #[test]
    fn names_are_dotted_and_unique_and_every_row_describes_itself() {
        let mut names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
        for row in TABLE {
            assert!(
                row.name.starts_with("hessra.") && row.description.ends_with('.'),
                "{row:?}"
            );
            assert_eq!(row.kind == "histogram", !row.buckets.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn what_is_recorded_is_served_under_its_prometheus_name() {
        let (collected, metrics) = Collected::start().unwrap();
        metrics.commit_duration.record(0.003, &[]);
        metrics
            .tokens_issued
            .add(2, &[opentelemetry::KeyValue::new("kind", "identity")]);
        let text = collected.text().unwrap();
        assert!(
            text.contains("hessra_commit_duration_seconds_bucket{le=\"0.005\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("hessra_tokens_issued_total{kind=\"identity\"} 2"),
            "{text}"
        );
    }
}
