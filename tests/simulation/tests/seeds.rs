//! The promises hold under many seeds; the same seed is the same history; every planted bug is caught.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hessra_simulation::plant::PLANTS;
use hessra_simulation::{Options, Plant, Report, fail_over, simulate};

/// Seeds in the project's gate; more by `cargo run -p hessra-simulation`.
fn seeds() -> u64 {
    std::env::var("HESSRA_SIMULATION_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300)
}

fn run(from: u64, count: u64, options: Options, stop_at_first: bool) -> Vec<(u64, Report)> {
    let (next, end) = (AtomicU64::new(from), AtomicU64::new(from + count));
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let report = simulate(seed, options);
                    if stop_at_first && !report.violations.is_empty() {
                        end.store(0, Ordering::Relaxed);
                    }
                    reports
                        .lock()
                        .expect("no panic while it is held")
                        .push((seed, report));
                }
            });
        }
    });
    reports.into_inner().expect("no panic while it was held")
}

#[test]
fn no_promise_is_broken_under_any_seed() {
    let reports = run(0, seeds(), Options::default(), false);
    let mut faults = std::collections::BTreeMap::<&str, u64>::new();
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
        faults.len() >= 11,
        "some kinds of fault did not occur: {faults:?}"
    );
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [3, 1_000, 77_777] {
        let (first, second) = (
            simulate(seed, Options::default()),
            simulate(seed, Options::default()),
        );
        assert_eq!(first.trace, second.trace, "seed {seed} gave two histories");
        assert_eq!(first.head, second.head);
    }
}

/// Lease, first try, and a few more over a network on which a vote takes up to a third of a second.
const ELECTED_WITHIN: Duration = Duration::from_secs(10);

fn seeds_without_a_leader(count: u64, options: Options) -> Vec<(u64, Option<Duration>)> {
    (0..count)
        .map(|seed| (seed, fail_over(seed, options)))
        .filter(|(_, took)| took.is_none_or(|took| took > ELECTED_WITHIN))
        .collect()
}

#[test]
fn the_two_nodes_that_are_left_elect_a_leader_under_every_seed() {
    let without = seeds_without_a_leader(seeds(), Options::default());
    assert!(without.is_empty(), "no leader in time: {without:?}");
}

fn caught_within(plant: Plant, count: u64) -> bool {
    let options = Options {
        plant: Some(plant),
        trace: false,
    };
    if plant == Plant::ElectionTimerDrawnOnce {
        let without = seeds_without_a_leader(count.min(50), options);
        println!("{plant}: {} of 50 seeds have no leader", without.len());
        return !without.is_empty();
    }
    let mut found: Vec<_> = run(0, count, options, true)
        .into_iter()
        .filter(|(_, report)| !report.violations.is_empty())
        .collect();
    found.sort_by_key(|(seed, _)| *seed);
    match found.first() {
        Some((seed, report)) => println!("{plant}: seed {seed}: {}", report.violations[0]),
        None => println!("{plant}: not caught in {count} seeds"),
    }
    !found.is_empty()
}

#[test]
fn every_planted_bug_is_caught() {
    let missed: Vec<_> = PLANTS
        .into_iter()
        .filter(|plant| !caught_within(*plant, 300))
        .collect();
    assert!(
        missed.is_empty(),
        "the simulation does not see these bugs: {missed:?}"
    );
}
