//! `simulate`: run many seeds, count what went wrong by kind, print the command that replays a failing one.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use hessra_consensus::plant;
use hessra_simulation::journal::Kinds;
use hessra_simulation::{Options, Plant, Report, hunt, runtime};

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
    /// Plant every deliberate bug in turn, and say which seed finds it first.
    #[arg(long, conflicts_with_all = ["plant", "trace", "from"])]
    plants: bool,
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
    if (arguments.plants || arguments.plant.is_some()) && !plant::AVAILABLE {
        eprintln!("this is a release build, which has no planted bugs: run it without --release");
        return ExitCode::FAILURE;
    }
    if !runtime::is_repeatable() {
        eprintln!(
            "warning: built without `--cfg tokio_unstable` (a RUSTFLAGS variable hides .cargo/config.toml): a seed is not \
             one history, and a violation may not be found again"
        );
    }
    if arguments.plants {
        return find_plants(arguments.seeds, arguments.jobs);
    }
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
    let mut total = Total::default();
    let (from, count, jobs) = (arguments.from, arguments.seeds, arguments.jobs);
    hunt::run(from, count, jobs, options, |seed, report| {
        total.add(seed, report, options);
        true
    });
    total
}

/// Finds the first seed for each planted bug.
fn find_plants(seeds: u64, jobs: u64) -> ExitCode {
    let mut missed = 0;
    for plant in Plant::ALL {
        match hunt::find(*plant, seeds, jobs) {
            Some((seed, violation)) => println!("{plant}: seed {seed}: {violation}"),
            None => {
                missed += 1;
                println!("{plant}: not found in {seeds} seeds");
            }
        }
    }
    println!("{} planted bugs, {missed} not found", Plant::ALL.len());
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
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
        sum.refused += counts.refused;
        sum.checked += counts.checked;
        sum.unanswered += counts.unanswered;
        for (kind, count) in counts.faults {
            *sum.faults.entry(kind).or_default() += count;
        }
        for (reason, count) in counts.resets {
            *sum.resets.entry(reason).or_default() += count;
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
        "writes: {} acknowledged, {} refused, {} unknown",
        counts.acknowledged, counts.refused, counts.unknown
    );
    println!(
        "linearizable checks: {} answered, {} unanswered",
        counts.checked, counts.unanswered
    );
    println!("comparisons by the oracle: {}", total.report.checks);
    println!("streams told to resume:");
    by_kind(&counts.resets);
    println!("faults and changes of the members:");
    by_kind(&counts.faults);
}

fn by_kind(counts: &Kinds) {
    counts
        .iter()
        .for_each(|(kind, count)| println!("  {count:>8}  {kind}"));
}
