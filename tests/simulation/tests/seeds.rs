//! The promises hold under many seeds; the same seed is the same history; every planted bug is caught.

use std::collections::BTreeMap;

use hessra_simulation::hunt::{self, find, without_a_leader};
use hessra_simulation::{Options, Plant, Report, runtime, simulate};

/// Seeds in the project's gate; more by `cargo run -p hessra-simulation`.
fn seeds() -> u64 {
    std::env::var("HESSRA_SIMULATION_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300)
}

const JOBS: u64 = 2;
/// Kinds of faults, and of changes of the members, that a run must have met.
const KINDS: usize = 25;

fn run(count: u64) -> Vec<(u64, Report)> {
    let mut reports = Vec::new();
    hunt::run(0, count, JOBS, Options::default(), |seed, report| {
        reports.push((seed, report));
        true
    });
    reports
}

#[test]
fn no_promise_is_broken_under_any_seed() {
    let reports = run(seeds());
    let mut faults = BTreeMap::<&str, u64>::new();
    let (mut acknowledged, mut checked) = (0, 0);
    for (seed, report) in &reports {
        assert!(
            report.violations.is_empty(),
            "seed {seed} broke {:#?}\nreplay: cargo run -p hessra-simulation -- --from {seed} --seeds 1 --trace",
            report.violations
        );
        acknowledged += report.counts.acknowledged;
        checked += report.counts.checked;
        report
            .counts
            .faults
            .iter()
            .for_each(|(kind, count)| *faults.entry(kind).or_default() += count);
    }
    println!(
        "{} seeds, {acknowledged} writes acknowledged, {checked} checks answered, faults {faults:#?}",
        reports.len()
    );
    assert!(
        acknowledged > 20 * seeds(),
        "too few writes were acknowledged for the run to mean anything"
    );
    assert!(
        checked > 10 * seeds(),
        "too few checks were answered for the run to mean anything"
    );
    assert!(
        faults.len() >= KINDS,
        "some kinds of fault did not occur: {faults:?}"
    );
}

#[test]
fn the_same_seed_is_the_same_history() {
    assert!(
        runtime::is_repeatable(),
        "built without `--cfg tokio_unstable`: a RUSTFLAGS variable hides .cargo/config.toml"
    );
    for seed in [3, 1_000, 77_777] {
        let (first, second) = (
            simulate(seed, Options::default()),
            simulate(seed, Options::default()),
        );
        assert_eq!(first.trace, second.trace, "seed {seed} gave two histories");
        assert_eq!(first.head, second.head);
    }
}

#[test]
fn the_two_nodes_that_are_left_elect_a_leader_under_every_seed() {
    let without = without_a_leader(seeds(), Options::default());
    assert!(without.is_empty(), "no leader in time: {without:?}");
}

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<_> = Plant::ALL
        .iter()
        // The rarest is found once in a thousand seeds, the others within a few dozen.
        .filter(|plant| match find(**plant, 1_500, JOBS) {
            Some((seed, violation)) => {
                println!("{plant}: seed {seed}: {violation}");
                false
            }
            None => true,
        })
        .collect();
    assert!(
        missed.is_empty(),
        "the simulation does not see these bugs: {missed:?}"
    );
}

/// Rows of the simulation's page, and the number on the front page, are of this code.
#[test]
fn the_pages_name_every_planted_bug() {
    let page = include_str!("../README.md");
    let front = include_str!("../../../README.md");
    let rows = page.lines().filter_map(|line| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        name.parse::<Plant>().ok()
    });
    let named: Vec<Plant> = rows.collect();
    assert_eq!(
        named,
        Plant::ALL,
        "tests/simulation/README.md, in the order of the code"
    );
    let count = format!("finds {} deliberate bugs", Plant::ALL.len());
    assert!(front.contains(&count), "README.md does not say: {count}");
}
