//! `bench revoke`: durable revokes, beside puts into etcd.
//!
//! Both clusters run all the time, three processes each, and take turns under the same clients. A turn of one side is
//! followed by one of the other with the same number of clients, and who goes first changes with every round. Turns for
//! strace and perf come last, so that they disturb no figure.

use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::{Cluster, Side, etcd, hessra};
use crate::failure::BenchError;
use crate::fsync::{self, Counting};
use crate::load::{self, Numbers, Plan, Turn};
use crate::machine;
use crate::profile::{self, Recording};
use crate::ratios::{Better, Ratios};
use crate::report::{Spread, Table, mebibytes, milliseconds, prose};

/// Options of one run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Numbers of clients, each a table.
    pub clients: Vec<usize>,
    /// Time measured in every turn.
    pub duration: Duration,
    /// Time of the warm-up, before the measured time.
    pub warm_up: Duration,
    /// Turns of each side.
    pub rounds: usize,
    /// True for a turn under perf.
    pub profile: bool,
    /// Side that is measured alone; both by default.
    pub only: Option<Side>,
    /// Directory for the data of both sides.
    pub directory: PathBuf,
}

/// All turns of one side under one number of clients.
struct Series<'a> {
    clients: usize,
    cluster: &'a Cluster,
    turns: Vec<Turn>,
    /// Commands, and entries below, of `hessra.proposal.size` while the turns ran.
    commands: f64,
    entries: f64,
}

/// Runs the benchmark and prints its tables.
///
/// # Errors
/// A cluster does not start.
pub(crate) async fn run(options: &Options, numbers: &Numbers) -> Result<Ratios, BenchError> {
    let clusters = start(options)?;
    println!(
        "# Durable revokes beside etcd puts\n\n{}",
        machine::description(&options.directory)
    );
    println!("load average before: {}", machine::load_average());
    let mut all = Vec::new();
    for clients in &options.clients {
        all.extend(series(options, &clusters, *clients, numbers).await?);
    }
    print_rates(&all);
    let ratios = print_ratios(&all);
    print_costs(&all);
    count_syncs(options, &clusters, numbers).await;
    follow_syncs(options, &clusters, numbers).await;
    if options.profile {
        print_profile(options, &clusters, numbers).await;
    }
    println!("\nload average after: {}", machine::load_average());
    Ok(ratios)
}

/// Starts the clusters, Hessra first. Without etcd the figures of one side are better than none.
fn start(options: &Options) -> Result<Vec<Cluster>, BenchError> {
    let below = |side: Side| {
        let path = options.directory.join(side.name());
        std::fs::create_dir_all(&path)
            .map(|()| path.clone())
            .map_err(|error| BenchError::file(&path, &error))
    };
    let mut clusters = Vec::new();
    if options.only != Some(Side::Etcd) {
        prose(format_args!("starting three hessra-node processes"));
        clusters.push(hessra::start(&below(Side::Hessra)?)?);
    }
    match etcd::version() {
        _ if options.only == Some(Side::Hessra) => {}
        Some(version) => {
            prose(format_args!("starting three etcd {version} processes"));
            clusters.push(etcd::start(&below(Side::Etcd)?)?);
        }
        None => println!(
            "skipped: etcd is not installed. To compare: {}\n",
            etcd::INSTALL
        ),
    }
    Ok(clusters)
}

async fn series<'a>(
    options: &Options,
    clusters: &'a [Cluster],
    clients: usize,
    numbers: &Numbers,
) -> Result<Vec<Series<'a>>, BenchError> {
    let mut all: Vec<Series<'a>> = clusters
        .iter()
        .map(|cluster| Series::new(clients, cluster))
        .collect();
    let plan = Plan {
        clients,
        warm_up: options.warm_up,
        duration: options.duration,
    };
    for round in 0..options.rounds {
        for position in 0..all.len() {
            let position = (position + round) % all.len();
            all[position].turn(plan, numbers).await?;
            let (side, rate) = (
                all[position].cluster.side,
                all[position].turns[round].rate(),
            );
            prose(format_args!(
                "{clients} clients, round {}: {side} {rate:.0}/s",
                round + 1
            ));
        }
    }
    Ok(all)
}

impl<'a> Series<'a> {
    fn new(clients: usize, cluster: &'a Cluster) -> Self {
        Self {
            clients,
            cluster,
            turns: Vec::new(),
            commands: 0.0,
            entries: 0.0,
        }
    }

    async fn turn(&mut self, plan: Plan, numbers: &Numbers) -> Result<(), BenchError> {
        let (commands, entries) = self.proposals();
        self.turns
            .push(load::run(self.cluster, plan, numbers).await?);
        let (commands_now, entries_now) = self.proposals();
        self.commands += commands_now - commands;
        self.entries += entries_now - entries;
        Ok(())
    }

    fn proposals(&self) -> (f64, f64) {
        let metric = |name| self.cluster.metric(name);
        (
            metric("hessra_proposal_size_sum"),
            metric("hessra_proposal_size_count"),
        )
    }

    fn rate(&self) -> Spread {
        Spread::of(self.turns.iter().map(Turn::rate))
    }

    /// Latency at a quantile, in milliseconds.
    fn quantile(&self, quantile: f64) -> Spread {
        Spread::of(
            self.turns
                .iter()
                .map(|turn| turn.latencies.value_at_quantile(quantile) as f64 / 1000.0),
        )
    }

    fn max(&self) -> u64 {
        self.turns
            .iter()
            .map(|turn| turn.latencies.max())
            .max()
            .unwrap_or_default()
    }

    fn failures(&self) -> String {
        let failures: u64 = self.turns.iter().map(|turn| turn.failures).sum();
        let said = self.turns.iter().find_map(|turn| turn.failure.as_deref());
        said.map_or_else(
            || failures.to_string(),
            |said| format!("{failures} ({said})"),
        )
    }

    fn writes(&self) -> f64 {
        self.turns
            .iter()
            .map(|turn| turn.latencies.len() as f64)
            .sum::<f64>()
            .max(1.0)
    }
}

fn print_rates(all: &[Series<'_>]) {
    let headings = [
        "clients, side",
        "writes/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "failed",
    ];
    let mut table = Table::new(&headings);
    for series in all {
        table.row([
            format!("{:>3} {}", series.clients, series.cluster.side),
            format!("{:.0}", series.rate()),
            format!("{:.2}", series.quantile(0.5)),
            format!("{:.2}", series.quantile(0.99)),
            milliseconds(series.max()),
            series.failures(),
        ]);
    }
    table.print("Rates and latencies: median of the rounds (smallest-largest)");
}

/// Prints ratios round by round, so that a machine that was busy for one round was so for both sides.
fn print_ratios(all: &[Series<'_>]) -> Ratios {
    let mut ratios = Ratios::default();
    let mut table = Table::new(&["clients", "writes/s", "p50", "p99"]);
    for pair in all
        .chunks_exact(2)
        .filter(|pair| pair[0].clients == pair[1].clients)
    {
        let ratio = |figure: &dyn Fn(&Turn) -> f64| {
            let rounds = pair[0].turns.iter().zip(&pair[1].turns);
            Spread::of(
                rounds.map(|(ours, theirs)| figure(ours) / figure(theirs).max(f64::MIN_POSITIVE)),
            )
        };
        let quantile =
            |quantile: f64| move |turn: &Turn| turn.latencies.value_at_quantile(quantile) as f64;
        let clients = pair[0].clients;
        let figures = [
            ("writes/s", ratio(&Turn::rate), Better::Higher),
            ("p50", ratio(&quantile(0.5)), Better::Lower),
            ("p99", ratio(&quantile(0.99)), Better::Lower),
        ];
        let shown = figures.map(|(_, ratio, _)| format!("{ratio:.2}"));
        table.row([clients.to_string()].into_iter().chain(shown));
        for (what, ratio, better) in figures {
            ratios.add(format!("revoke: {clients} clients, {what}"), ratio, better);
        }
    }
    if all
        .chunks_exact(2)
        .any(|pair| pair[0].clients == pair[1].clients)
    {
        table.print("Hessra / etcd: writes/s above 1 is faster, latency below 1 is faster");
    }
    ratios
}

fn print_costs(all: &[Series<'_>]) {
    let headings = [
        "clients, process",
        "CPU of one core",
        "user µs/write",
        "system µs/write",
        "memory",
    ];
    let mut table = Table::new(&headings);
    for series in all {
        let seconds: f64 = series.turns.iter().map(|turn| turn.seconds).sum();
        for position in 0..=series.cluster.members.len() {
            let sum = |part: &dyn Fn(&crate::process::Usage) -> f64| {
                series
                    .turns
                    .iter()
                    .map(|turn| part(&turn.usage[position]))
                    .sum::<f64>()
            };
            let last = series
                .turns
                .last()
                .map(|turn| turn.usage[position])
                .unwrap_or_default();
            let per_write = |total: f64| total / series.writes();
            table.row([
                format!("{:>3} {}", series.clients, name(series, position)),
                format!("{:.0} %", 100.0 * sum(&|usage| usage.cpu()) / seconds),
                format!("{:.1}", per_write(sum(&|usage| usage.user) * 1e6)),
                format!("{:.1}", per_write(sum(&|usage| usage.system) * 1e6)),
                mebibytes(last.resident),
            ]);
        }
    }
    table.print("Where the time goes: every process while its side had the turn");
    for series in all {
        let bytes: Option<u64> = series.turns.iter().map(|turn| turn.disk).sum();
        if let Some(bytes) = bytes {
            println!(
                "{:>3} clients: {:.0} bytes reached the disk per write of {}, of all members",
                series.clients,
                bytes as f64 / series.writes(),
                series.cluster.side
            );
        }
    }
    for series in all.iter().filter(|series| series.entries > 0.0) {
        let size = series.commands / series.entries;
        println!(
            "{:>3} clients: {size:.1} revokes in one entry of the hessra log",
            series.clients
        );
    }
}

fn name(series: &Series<'_>, position: usize) -> String {
    let Some(member) = series.cluster.members.get(position) else {
        return format!("{} clients (this process)", series.cluster.side);
    };
    let leads = series
        .turns
        .last()
        .is_some_and(|turn| turn.leader == position);
    format!(
        "{}{}",
        member.process.name,
        if leads { " (leads)" } else { "" }
    )
}

/// Counts syncs, or says why it cannot: the other figures stand without it.
async fn count_syncs(options: &Options, clusters: &[Cluster], numbers: &Numbers) {
    if !fsync::available() {
        return println!(
            "\nskipped: strace is not installed, so fsyncs are not counted. apt-get install strace"
        );
    }
    let mut table = Table::new(&[
        "clients, side",
        "writes",
        "calls of all members",
        "calls/write",
        "per member",
    ]);
    for clients in &options.clients {
        for cluster in clusters {
            match syncs(options, cluster, *clients, numbers).await {
                Ok(row) => table.row(row),
                Err(error) => return println!("\nskipped: fsyncs are not counted: {error}"),
            }
        }
    }
    table.print("Calls that wait for the disk, by strace (rates under strace are lower)");
}

/// Prints how many calls that wait for the disk a single write waits for, one after the other.
async fn follow_syncs(options: &Options, clusters: &[Cluster], numbers: &Numbers) {
    if !fsync::available() {
        return;
    }
    println!();
    for cluster in clusters {
        match fsync::series::measure(cluster, &options.directory, numbers).await {
            Ok(calls) => println!(
                "  1 client: {calls:.0} calls that wait for the disk follow each other between a write of {} and its answer",
                cluster.side
            ),
            Err(error) => println!("skipped: calls in series are not counted: {error}"),
        }
    }
}

async fn syncs(
    options: &Options,
    cluster: &Cluster,
    clients: usize,
    numbers: &Numbers,
) -> Result<[String; 5], BenchError> {
    let counting = Counting::start(cluster, &options.directory)?;
    // No warm-up: strace counts from the first write to the last, so all of them must be counted here too.
    let plan = Plan {
        clients,
        warm_up: Duration::ZERO,
        duration: options.duration,
    };
    let turn = load::run(cluster, plan, numbers).await?;
    let counts = counting.stop()?;
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let per_write = total as f64 / turn.answered.max(1) as f64;
    let named: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    Ok([
        format!("{clients:>3} {}", cluster.side),
        turn.answered.to_string(),
        named.join(", "),
        format!("{per_write:.3}"),
        format!("{:.3}", per_write / cluster.members.len() as f64),
    ])
}

async fn print_profile(options: &Options, clusters: &[Cluster], numbers: &Numbers) {
    if !profile::available() {
        return println!(
            "\nskipped: perf is not installed, so there is no profile. apt-get install linux-perf"
        );
    }
    let Some(clients) = options.clients.iter().max() else {
        return;
    };
    for cluster in clusters {
        match profiled(options, cluster, *clients, numbers).await {
            Ok(rows) => println!(
                "\n## Profile of {}, {clients} clients\n\n    {}",
                cluster.side,
                rows.join("\n    ")
            ),
            Err(error) => println!("\nskipped: no profile of {}: {error}", cluster.side),
        }
    }
}

async fn profiled(
    options: &Options,
    cluster: &Cluster,
    clients: usize,
    numbers: &Numbers,
) -> Result<Vec<String>, BenchError> {
    let recording = Recording::start(cluster, &options.directory, options.duration)?;
    let plan = Plan {
        clients,
        warm_up: options.warm_up,
        duration: options.duration,
    };
    load::run(cluster, plan, numbers).await?;
    recording.report()
}
