//! `bench propagation`: from asking for a revoke until verifiers deny, beside etcd's put until watchers see it.
//!
//! Both sides send one write at a time and wait until all who follow have seen it: verifiers of the SDK, each with a
//! stream over a TLS connection of its own, spread over the three members; and as many etcd watchers, the same way. A
//! verifier counts when its rules deny the revoked identity. The first one also checks a token that was delegated to
//! that identity before, whole, as a service does.

mod seen;
mod verifiers;
mod watchers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::mpsc;

use crate::cluster::{Cluster, Side, etcd, hessra};
use crate::failure::BenchError;
use crate::load::{Numbers, histogram, microseconds};
use crate::process::{Usage, own_usage};
use crate::ratios::{Better, Ratios};
use crate::report::{Spread, Table, mebibytes, milliseconds, prose};
use crate::writer::Writer;

use crate::machine;
use seen::Seen;

/// Time after which a write that was not confirmed is counted as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of one run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Writes of each side under each number of followers, all rounds together.
    pub writes: usize,
    /// Numbers of verifiers, each a table.
    pub followers: Vec<usize>,
    /// Turns of each side.
    pub rounds: usize,
    /// Directory for the data of both sides.
    pub directory: PathBuf,
}

/// Followers of one cluster. Gone with the value.
pub(crate) struct Followers {
    side: Side,
    count: usize,
    seen: mpsc::UnboundedReceiver<Seen>,
    tokens: verifiers::Tokens,
    // Ends the streams when it goes.
    _tasks: tokio::task::JoinSet<()>,
}

/// One turn: latencies in microseconds.
struct Turn {
    asked_to_first: Histogram<u64>,
    asked_to_last: Histogram<u64>,
    /// Latencies from the answer to the writer until the last one knew it. Zero when that was before the writer did.
    answered_to_last: Histogram<u64>,
    asked_to_denied: Histogram<u64>,
    lost: u64,
    allowed: u64,
    seconds: f64,
    usage: Vec<Usage>,
}

/// Picks one kind of latencies of a turn.
type Latencies = fn(&Turn) -> &Histogram<u64>;

struct Series<'a> {
    followers: usize,
    cluster: &'a Cluster,
    turns: Vec<Turn>,
}

/// Runs the benchmark and prints its tables.
///
/// # Errors
/// A cluster does not start, or cannot be followed.
pub(crate) async fn run(options: &Options, numbers: &Numbers) -> Result<Ratios, BenchError> {
    println!(
        "# Revoke until denied, beside etcd's put until seen\n\n{}",
        machine::description(&options.directory)
    );
    let clusters = start(options)?;
    println!("load average before: {}", machine::load_average());
    let mut all = Vec::new();
    for followers in &options.followers {
        all.extend(series(options, &clusters, *followers, numbers).await?);
    }
    print_latencies(&all);
    let ratios = print_ratios(&all);
    print_costs(&all);
    println!("\nload average after: {}", machine::load_average());
    Ok(ratios)
}

fn start(options: &Options) -> Result<Vec<Cluster>, BenchError> {
    let mut clusters = vec![hessra::start(&below(options, Side::Hessra)?)?];
    if etcd::version().is_some() {
        clusters.push(etcd::start(&below(options, Side::Etcd)?)?);
    } else {
        println!(
            "skipped: etcd is not installed. To compare: {}",
            etcd::INSTALL
        );
    }
    Ok(clusters)
}

fn below(options: &Options, side: Side) -> Result<PathBuf, BenchError> {
    let path = options.directory.join(side.name());
    std::fs::create_dir_all(&path).map_err(|error| BenchError::file(&path, &error))?;
    Ok(path)
}

async fn series<'a>(
    options: &Options,
    clusters: &'a [Cluster],
    followers: usize,
    numbers: &Numbers,
) -> Result<Vec<Series<'a>>, BenchError> {
    let writes = options.writes.div_ceil(options.rounds).max(1);
    let mut all: Vec<Series<'a>> = clusters
        .iter()
        .map(|cluster| Series {
            followers,
            cluster,
            turns: Vec::new(),
        })
        .collect();
    for round in 0..options.rounds {
        for position in 0..all.len() {
            let series = &mut all[(position + round) % clusters.len()];
            // Only the side whose turn it is has followers: those of the other would take its share of the machine.
            let mut followers =
                Followers::connect(series.cluster, followers, writes, numbers).await?;
            let turn = turn(series.cluster, &mut followers, writes, numbers).await?;
            let last = milliseconds(turn.asked_to_last.value_at_quantile(0.5));
            let side = series.cluster.side;
            prose(format_args!(
                "{} followers, round {}: {side} p50 {last} ms",
                series.followers,
                round + 1
            ));
            series.turns.push(turn);
        }
    }
    Ok(all)
}

impl Followers {
    /// Connects `count` followers, fresh and ready, with tokens for the next `writes` writes.
    async fn connect(
        cluster: &Cluster,
        count: usize,
        writes: usize,
        numbers: &Numbers,
    ) -> Result<Self, BenchError> {
        let (seen, receiver) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        let tokens = match cluster.side {
            Side::Hessra => {
                verifiers::connect(cluster, count, writes, numbers, &seen, &mut tasks).await?
            }
            Side::Etcd => {
                watchers::connect(cluster, count, numbers, &seen, &mut tasks).await?;
                verifiers::Tokens::default()
            }
        };
        Ok(Self {
            side: cluster.side,
            count,
            seen: receiver,
            tokens,
            _tasks: tasks,
        })
    }

    /// Waits until all of them have seen a write.
    async fn all(&mut self, number: u64) -> Option<Vec<Seen>> {
        let mut seen = Vec::with_capacity(self.count);
        let everyone = async {
            while seen.len() < self.count {
                let one = self.seen.recv().await?;
                // A straggler of a write that was given up is not taken for this one.
                seen.extend((one.number == number).then_some(one));
            }
            Some(())
        };
        tokio::time::timeout(PATIENCE, everyone)
            .await
            .ok()
            .flatten()?;
        Some(seen)
    }
}

async fn turn(
    cluster: &Cluster,
    followers: &mut Followers,
    writes: usize,
    numbers: &Numbers,
) -> Result<Turn, BenchError> {
    // One connection to the first member, as a responder has.
    let channel = cluster.channels(1, &[0]).await?.pop();
    let channel = channel.ok_or_else(|| BenchError::Tool("no connection".to_owned()))?;
    let mut writer = Writer::new(cluster, channel).await?;
    let (before, began) = (usage(cluster), Instant::now());
    let mut turn = Turn::new();
    for _ in 0..writes {
        turn.write(&mut writer, followers, numbers).await;
    }
    turn.seconds = began.elapsed().as_secs_f64();
    turn.usage = usage(cluster)
        .into_iter()
        .zip(before)
        .map(|(after, before)| after.since(before))
        .collect();
    Ok(turn)
}

fn usage(cluster: &Cluster) -> Vec<Usage> {
    let members = cluster.members.iter().map(|member| member.process.usage());
    members.chain([own_usage()]).collect()
}

impl Turn {
    fn new() -> Self {
        Self {
            asked_to_first: histogram(),
            asked_to_last: histogram(),
            answered_to_last: histogram(),
            asked_to_denied: histogram(),
            lost: 0,
            allowed: 0,
            seconds: 0.0,
            usage: Vec::new(),
        }
    }

    async fn write(&mut self, writer: &mut Writer, followers: &mut Followers, numbers: &Numbers) {
        let number = followers.tokens.next().unwrap_or_else(|| numbers.next());
        let asked = Instant::now();
        if let Err(status) = writer.write(numbers.names(), number).await {
            prose(format_args!(
                "a write to {} failed: {}",
                followers.side,
                status.message()
            ));
            self.lost += 1;
            return;
        }
        let answered = Instant::now();
        match followers.all(number).await {
            Some(seen) => self.seen(asked, answered, &seen),
            None => self.lost += 1,
        }
    }

    fn seen(&mut self, asked: Instant, answered: Instant, seen: &[Seen]) {
        let record = |histogram: &mut Histogram<u64>, from: Instant, to: Instant| {
            histogram.saturating_record(microseconds(to.saturating_duration_since(from)));
        };
        let (first, last) = (
            seen.iter().map(|seen| seen.at).min(),
            seen.iter().map(|seen| seen.at).max(),
        );
        if let (Some(first), Some(last)) = (first, last) {
            record(&mut self.asked_to_first, asked, first);
            record(&mut self.asked_to_last, asked, last);
            record(&mut self.answered_to_last, answered, last);
        }
        for check in seen.iter().filter_map(|seen| seen.denied.as_ref()) {
            match check.denied {
                true => record(&mut self.asked_to_denied, asked, check.at),
                false => self.allowed += 1,
            }
        }
    }
}

fn print_latencies(all: &[Series<'_>]) {
    let headings = [
        "followers, side",
        "from",
        "to",
        "p50 ms",
        "p99 ms",
        "max ms",
        "lost",
    ];
    let mut table = Table::new(&headings);
    for series in all {
        let rows: [(&str, &str, Latencies); 4] = [
            ("asked", "first has it", |turn| &turn.asked_to_first),
            ("asked", "last has it", |turn| &turn.asked_to_last),
            ("answered", "last has it", |turn| &turn.answered_to_last),
            ("asked", "token denied", |turn| &turn.asked_to_denied),
        ];
        for (from, to, pick) in rows {
            let quantile = |quantile: f64| {
                let turns = series.turns.iter().map(pick);
                Spread::of(
                    turns.map(|latencies| latencies.value_at_quantile(quantile) as f64 / 1000.0),
                )
            };
            let max = series
                .turns
                .iter()
                .map(|turn| pick(turn).max())
                .max()
                .unwrap_or_default();
            if max == 0 {
                continue;
            }
            table.row([
                format!("{:>4} {}", series.followers, series.cluster.side),
                from.to_owned(),
                to.to_owned(),
                format!("{:.2}", quantile(0.5)),
                format!("{:.2}", quantile(0.99)),
                milliseconds(max),
                series
                    .turns
                    .iter()
                    .map(|turn| turn.lost)
                    .sum::<u64>()
                    .to_string(),
            ]);
        }
    }
    table.print("Latencies: median of the rounds (smallest-largest)");
    let allowed: u64 = all
        .iter()
        .flat_map(|series| &series.turns)
        .map(|turn| turn.allowed)
        .sum();
    println!("tokens of revoked identities that were still allowed afterwards: {allowed}");
}

/// Prints ratios to etcd's put until the last watcher has it, round by round.
fn print_ratios(all: &[Series<'_>]) -> Ratios {
    let mut ratios = Ratios::default();
    let mut table = Table::new(&["followers, to", "p50", "p99"]);
    for pair in all
        .chunks_exact(2)
        .filter(|pair| pair[0].followers == pair[1].followers)
    {
        let rows: [(&str, Latencies); 2] = [
            ("token denied", |turn| &turn.asked_to_denied),
            ("last has it", |turn| &turn.asked_to_last),
        ];
        for (to, pick) in rows {
            let ratio = |quantile: f64| {
                let rounds = pair[0].turns.iter().zip(&pair[1].turns);
                Spread::of(rounds.map(|(ours, theirs)| {
                    let theirs = theirs.asked_to_last.value_at_quantile(quantile).max(1);
                    pick(ours).value_at_quantile(quantile) as f64 / theirs as f64
                }))
            };
            let figures = [("p50", ratio(0.5)), ("p99", ratio(0.99))];
            let name = format!("{:>4} {to}", pair[0].followers);
            let shown = figures.map(|(_, ratio)| format!("{ratio:.2}"));
            table.row([name].into_iter().chain(shown));
            for (quantile, ratio) in figures {
                let name = format!(
                    "propagation: {} verifiers, {to}, {quantile}",
                    pair[0].followers
                );
                ratios.add(name, ratio, Better::Lower);
            }
        }
    }
    if all.iter().any(|series| series.cluster.side == Side::Etcd) {
        table.print("Hessra from asked / etcd from asked until the last has it: below 1 is faster");
    }
    ratios
}

fn print_costs(all: &[Series<'_>]) {
    let headings = [
        "followers, process",
        "CPU of one core",
        "CPU µs/write",
        "memory",
    ];
    let mut table = Table::new(&headings);
    for series in all {
        let seconds: f64 = series.turns.iter().map(|turn| turn.seconds).sum();
        let writes: u64 = series
            .turns
            .iter()
            .map(|turn| turn.asked_to_last.len())
            .sum();
        for position in 0..=series.cluster.members.len() {
            let cpu: f64 = series
                .turns
                .iter()
                .map(|turn| turn.usage[position].cpu())
                .sum();
            let resident = series
                .turns
                .last()
                .map(|turn| turn.usage[position].resident)
                .unwrap_or_default();
            let member = series
                .cluster
                .members
                .get(position)
                .map(|member| member.process.name.clone());
            let name =
                member.unwrap_or_else(|| format!("{} followers and writer", series.cluster.side));
            table.row([
                format!("{:>4} {name}", series.followers),
                format!("{:.0} %", 100.0 * cpu / seconds),
                format!("{:.0}", cpu * 1e6 / writes.max(1) as f64),
                mebibytes(resident),
            ]);
        }
    }
    table.print("Where the time goes");
}
