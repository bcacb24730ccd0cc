//! Load of one turn, and its cost: many clients, each with one request under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep_until};

use crate::cluster::Cluster;
use crate::failure::BenchError;
use crate::machine;
use crate::process::{Usage, own_usage};
use crate::writer::{Names, Writer};

/// Connections of all clients together, the same for both sides: two to every member.
const CONNECTIONS_MAX: usize = 6;
/// Longest latency that is recorded: a write that takes longer than a minute is counted as a minute.
const MICROSECONDS_MAX: u64 = 60_000_000;

/// Plan of one turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Clients, each with one request under way.
    pub clients: usize,
    /// Time of the warm-up, not measured.
    pub warm_up: Duration,
    /// Time measured.
    pub duration: Duration,
}

/// Result of one turn.
pub(crate) struct Turn {
    /// Latencies of the writes that ended while it was measured, in microseconds.
    pub latencies: Histogram<u64>,
    /// Seconds measured.
    pub seconds: f64,
    /// Writes that failed, warm-up included.
    pub failures: u64,
    /// Message of the first of them.
    pub failure: Option<String>,
    /// Every write that was answered, warm-up included.
    pub answered: u64,
    /// Usage, member by member, in their order; the clients last.
    pub usage: Vec<Usage>,
    /// Bytes that reached the disk meanwhile, of the whole machine; `None` where that cannot be told.
    pub disk: Option<u64>,
    /// Position of the leader.
    pub leader: usize,
}

/// Numbers of writes: every write of a run has its own.
#[derive(Clone)]
pub(crate) struct Numbers {
    names: Names,
    next: Arc<AtomicU64>,
}

impl Numbers {
    /// Numbers that start at 1.
    pub(crate) fn new(names: Names) -> Self {
        Self {
            names,
            next: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Number of the next write.
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Names that the writes give.
    pub(crate) fn names(&self) -> Names {
        self.names
    }
}

/// A histogram for latencies in microseconds, three significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROSECONDS_MAX, 3)
        .expect("one is below a minute, and three digits are allowed")
}

/// Microseconds of a duration, as the histogram records them.
pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros())
        .unwrap_or(u64::MAX)
        .clamp(1, MICROSECONDS_MAX)
}

impl Turn {
    /// Writes per second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }
}

/// Runs one turn.
///
/// # Errors
/// The cluster cannot be reached. Writes that fail are counted, not returned.
pub(crate) async fn run(
    cluster: &Cluster,
    plan: Plan,
    numbers: &Numbers,
) -> Result<Turn, BenchError> {
    let everyone: Vec<usize> = (0..cluster.members.len()).collect();
    let channels = cluster
        .channels(plan.clients.min(CONNECTIONS_MAX), &everyone)
        .await?;
    let writer = Writer::new(cluster, channels[0].clone()).await?;
    let begin = Instant::now() + plan.warm_up;
    let end = begin + plan.duration;
    let clients: Vec<_> = (0..plan.clients)
        .map(|client| {
            let writer = writer.over(channels[client % channels.len()].clone());
            tokio::spawn(Client::new(begin, end).run(writer, numbers.clone()))
        })
        .collect();
    sleep_until(begin).await;
    let disk = || machine::written(&cluster.directory);
    let (before, disk_before, began) = (usage(cluster), disk(), Instant::now());
    sleep_until(end).await;
    let (after, disk_after, seconds) = (usage(cluster), disk(), began.elapsed().as_secs_f64());
    let used = after
        .into_iter()
        .zip(before)
        .map(|(after, before)| after.since(before))
        .collect();
    let mut whole = Client::new(begin, end);
    for client in clients {
        whole.add(
            client
                .await
                .map_err(|error| BenchError::Tool(format!("a client ended: {error}")))?,
        );
    }
    Ok(Turn {
        latencies: whole.latencies,
        seconds,
        failures: whole.failures,
        failure: whole.failure,
        answered: whole.answered,
        usage: used,
        disk: disk_after
            .zip(disk_before)
            .map(|(after, before)| after.saturating_sub(before)),
        leader: cluster.leader(),
    })
}

fn usage(cluster: &Cluster) -> Vec<Usage> {
    let members = cluster.members.iter().map(|member| member.process.usage());
    members.chain([own_usage()]).collect()
}

struct Client {
    begin: Instant,
    end: Instant,
    latencies: Histogram<u64>,
    answered: u64,
    failures: u64,
    failure: Option<String>,
}

impl Client {
    fn new(begin: Instant, end: Instant) -> Self {
        Self {
            begin,
            end,
            latencies: histogram(),
            answered: 0,
            failures: 0,
            failure: None,
        }
    }

    async fn run(mut self, mut writer: Writer, numbers: Numbers) -> Self {
        /// Pause after a failure: a server that refuses at once must not be asked a million times a second.
        const PAUSE: Duration = Duration::from_millis(10);
        while Instant::now() < self.end {
            let asked = Instant::now();
            match writer.write(numbers.names(), numbers.next()).await {
                Ok(()) => self.answered(asked, Instant::now()),
                Err(status) => {
                    self.failures += 1;
                    self.failure.get_or_insert_with(|| {
                        format!("{:?}: {}", status.code(), status.message())
                    });
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self
    }

    fn answered(&mut self, asked: Instant, answered: Instant) {
        self.answered += 1;
        if self.begin <= answered && answered < self.end {
            self.latencies
                .saturating_record(microseconds(answered - asked));
        }
    }

    fn add(&mut self, other: Self) {
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
        self.answered += other.answered;
        self.failures += other.failures;
        self.failure = self.failure.take().or(other.failure);
    }
}
