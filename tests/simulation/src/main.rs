//! `simulate`: run many seeds, count what went wrong by kind, print the command that replays a failing one.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use clap::Parser;
use hessra_simulation::{Options, Plant, Report, simulate};

/// The cluster under seeds, in virtual time.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Plant a deliberate bug; then a violation is the expected outcome.
    #[arg(long)]
    plant: Option<Plant>,
    /// Print every event. Meant for one seed.
    #[arg(long)]
    trace: bool,
    /// Threads; each runs seeds of its own.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
}

#[derive(Default)]
struct Total {
    report: Report,
    seeds: u64,
    failed: Vec<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        plant: arguments.plant,
        trace: arguments.trace,
    };
    let began = Instant::now();
    let total = run(&arguments, options);
    print(&total, began);
    if total.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run(arguments: &Arguments, options: Options) -> Total {
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let (sender, receiver) = mpsc::channel();
    let mut total = Total::default();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send((seed, simulate(seed, options))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        receiver
            .iter()
            .for_each(|(seed, report)| total.add(seed, report, options));
    });
    total
}

impl Total {
    fn add(&mut self, seed: u64, report: Report, options: Options) {
        self.seeds += 1;
        if !report.violations.is_empty() {
            self.failed.push(seed);
            println!("seed {seed}:");
            report
                .violations
                .iter()
                .for_each(|violation| println!("  {violation}"));
            let plant = options
                .plant
                .map(|plant| format!(" --plant {plant}"))
                .unwrap_or_default();
            println!(
                "  replay: cargo run -p hessra-simulation -- --from {seed} --seeds 1 --trace{plant}"
            );
        }
        let (sum, counts) = (&mut self.report.counts, report.counts);
        sum.acknowledged += counts.acknowledged;
        sum.unknown += counts.unknown;
        sum.checked += counts.checked;
        sum.unanswered += counts.unanswered;
        for (kind, count) in counts.faults {
            *sum.faults.entry(kind).or_default() += count;
        }
        self.report.checks += report.checks;
    }
}

fn print(total: &Total, began: Instant) {
    let counts = &total.report.counts;
    println!(
        "{} seeds in {:.1} s, {} with a violation",
        total.seeds,
        began.elapsed().as_secs_f64(),
        total.failed.len()
    );
    println!(
        "writes: {} acknowledged, {} unknown",
        counts.acknowledged, counts.unknown
    );
    println!(
        "linearizable checks: {} answered, {} unanswered",
        counts.checked, counts.unanswered
    );
    println!("comparisons by the oracle: {}", total.report.checks);
    println!("faults:");
    counts
        .faults
        .iter()
        .for_each(|(kind, count)| println!("  {count:>8}  {kind}"));
}
