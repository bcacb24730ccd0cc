//! Runs many seeds on a few threads, and looks for the first that breaks a promise.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Plant;
use crate::history::{fail_over, simulate};
use crate::journal::{Options, Report};

/// Time for an election after the leader is lost on a slow network: lease, first try, and a few more.
pub const ELECTED_WITHIN: Duration = Duration::from_secs(10);
/// Seeds after which losing the leader tells whether elections can fail.
const ELECTIONS_MAX: u64 = 50;

/// Runs `count` seeds from `from` on. `each` is called with every report, in no order; it answers false to stop.
pub fn run(
    from: u64,
    count: u64,
    jobs: u64,
    options: Options,
    each: impl FnMut(u64, Report) -> bool + Send,
) {
    let (next, end) = (AtomicU64::new(from), AtomicU64::new(from + count));
    let each = Mutex::new(each);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let report = simulate(seed, options);
                    let mut each = each.lock().expect("no panic while it is held");
                    if !each(seed, report) {
                        end.store(0, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// Seeds under which the two nodes that are left elect no leader in time.
pub fn without_a_leader(count: u64, options: Options) -> Vec<(u64, Option<Duration>)> {
    (0..count)
        .map(|seed| (seed, fail_over(seed, options)))
        .filter(|(_, took)| took.is_none_or(|took| took > ELECTED_WITHIN))
        .collect()
}

/// The lowest of the first seeds that finds a planted bug, and what it says.
pub fn find(plant: Plant, seeds: u64, jobs: u64) -> Option<(u64, String)> {
    let options = Options {
        plant: Some(plant),
        trace: false,
    };
    if plant == Plant::ElectionTimerDrawnOnce {
        let without = without_a_leader(seeds.min(ELECTIONS_MAX), options);
        let (seed, _) = without.first()?;
        return Some((*seed, format!("no leader within {ELECTED_WITHIN:?}")));
    }
    let mut found = Vec::new();
    run(0, seeds, jobs, options, |seed, report| {
        let first = report.violations.into_iter().next();
        let none = first.is_none();
        found.extend(first.map(|violation| (seed, violation)));
        none
    });
    found.into_iter().min()
}
