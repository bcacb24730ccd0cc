//! Measures one attack: memory, seats and audit of the node, and the latency of `revoke`, before it, during it and after it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::attack::{Attack, Scale};
use crate::target::Target;

/// Revokes before an attack, for comparison.
const REVOKES_BEFORE: usize = 30;
/// Pause between two revokes: the node is measured, not loaded.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause between two looks at the node.
const LOOK: Duration = Duration::from_millis(50);
/// Longest time until seats are given back after an attack, and a little for the allocator to give memory back.
const SETTLE_MAX: Duration = Duration::from_secs(15);

/// Longest attack: each has a bounded count and time, and a busy machine.
const ATTACK_MAX: Duration = Duration::from_secs(300);

/// Head of the table that [`Measured`] rows make.
pub(crate) const HEAD: &str = "\
| attack | tried | let in | memory before, peak, after | seats before, peak, after | audit | revoke before | during | operator | verifier |
|---|---|---|---|---|---|---|---|---|---|";

/// Figures of one attack.
pub(crate) struct Measured {
    pub(crate) attack: Attack,
    pub(crate) tried: usize,
    pub(crate) let_in: usize,
    /// Bytes of resident memory.
    pub(crate) memory: Course,
    /// Seats without a proof.
    pub(crate) seats: Course,
    pub(crate) audit_bytes: u64,
    before: Latencies,
    pub(crate) during: Latencies,
    pub(crate) is_operator_let_in: bool,
    pub(crate) is_verifier_fresh: bool,
    /// True when `revoke --wait` came to an end during the attack.
    pub(crate) is_waiting_over: bool,
}

/// A figure over the time of an attack.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Course {
    pub(crate) before: u64,
    pub(crate) peak: u64,
    pub(crate) after: u64,
}

/// Latencies of revokes.
#[derive(Default)]
pub(crate) struct Latencies {
    answered: Vec<Duration>,
    pub(crate) failed: usize,
}

impl Latencies {
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.answered.clone();
        sorted.sort_unstable();
        let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or(f64::NAN, Duration::as_secs_f64) * 1_000.0
    }

    async fn measure(&mut self, target: &Target) {
        let begun = Instant::now();
        match target.revoke().await {
            Some(_) => self.answered.push(begun.elapsed()),
            None => self.failed += 1,
        }
        sleep(PAUSE).await;
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}/{:.1}", self.quantile(0.5), self.quantile(0.99))?;
        match self.failed {
            0 => Ok(()),
            failed => write!(f, ", {failed} of {} failed", failed + self.answered.len()),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes / (1024 * 1024);
        let Course {
            before,
            peak,
            after,
        } = self.memory;
        write!(
            f,
            "| {} | {} | {} ",
            self.attack.name(),
            self.tried,
            self.let_in
        )?;
        let memory = [before, peak, after].map(mebibytes);
        write!(f, "| {}, {}, {} ", memory[0], memory[1], memory[2])?;
        let Course {
            before,
            peak,
            after,
        } = self.seats;
        write!(
            f,
            "| {before}, {peak}, {after} | {} ",
            self.audit_bytes / 1024
        )?;
        write!(f, "| {} | {} ", self.before, self.during)?;
        let word = |is_so| if is_so { "let in" } else { "locked out" };
        write!(f, "| {} ", word(self.is_operator_let_in))?;
        let fresh = if self.is_verifier_fresh {
            "fresh"
        } else {
            "stale"
        };
        write!(f, "| {fresh} |")
    }
}

/// Highest figures of a node while an attack runs.
struct Watch {
    memory: AtomicU64,
    seats: AtomicU64,
    is_over: AtomicBool,
}

impl Watch {
    fn look(&self, target: &Target) {
        self.memory.fetch_max(memory(target), Ordering::Relaxed);
        self.seats
            .fetch_max(target.unproved_seats(), Ordering::Relaxed);
    }
}

/// Attacks, and measures.
pub(crate) async fn run(target: &Target, attack: Attack, scale: Scale) -> Measured {
    let mut before = Latencies::default();
    for _ in 0..REVOKES_BEFORE {
        before.measure(target).await;
    }
    let (memory_before, seats_before) = (memory(target), target.unproved_seats());
    let audit_before = target.audit_bytes();
    let watch = Arc::new(Watch {
        memory: AtomicU64::new(memory_before),
        seats: AtomicU64::new(seats_before),
        is_over: AtomicBool::new(false),
    });
    let (held, during) = tokio::join!(
        async {
            let held = tokio::time::timeout(ATTACK_MAX, attack.run(target, scale)).await;
            watch.is_over.store(true, Ordering::Relaxed);
            // One that does not end is one that could not be tried.
            held.unwrap_or_default()
        },
        observe(target, &watch),
    );
    watch.look(target);
    let is_operator_let_in = target.is_operator_let_in().await;
    let is_verifier_fresh = target.is_verifier_fresh().await;
    let is_waiting_over = attack != Attack::Ghosts || target.is_waiting_for_all_over().await;
    watch.look(target);
    let (tried, let_in) = (held.tried, held.let_in);
    drop(held);
    settle(target, seats_before).await;
    Measured {
        attack,
        tried,
        let_in,
        memory: Course {
            before: memory_before,
            peak: watch.memory.load(Ordering::Relaxed),
            after: memory(target),
        },
        seats: Course {
            before: seats_before,
            peak: watch.seats.load(Ordering::Relaxed),
            after: target.unproved_seats(),
        },
        audit_bytes: target.audit_bytes().saturating_sub(audit_before),
        before,
        during,
        is_operator_let_in,
        is_verifier_fresh,
        is_waiting_over,
    }
}

/// Revokes again and again, and looks at the node, until the attack is over.
async fn observe(target: &Target, watch: &Watch) -> Latencies {
    let mut during = Latencies::default();
    let revokes = async {
        while !watch.is_over.load(Ordering::Relaxed) {
            during.measure(target).await;
        }
    };
    let looks = async {
        while !watch.is_over.load(Ordering::Relaxed) {
            tokio::task::block_in_place(|| watch.look(target));
            sleep(LOOK).await;
        }
    };
    tokio::join!(revokes, looks);
    during
}

/// Waits until the seats are given back, and the node has had a moment to give its memory back.
async fn settle(target: &Target, seats: u64) {
    let begun = Instant::now();
    while target.unproved_seats() > seats && begun.elapsed() < SETTLE_MAX {
        sleep(LOOK).await;
    }
    sleep(Duration::from_secs(1)).await;
}

/// Resident memory of the attacked node (proc(5)).
fn memory(target: &Target) -> u64 {
    let path = format!("/proc/{}/status", target.process());
    let status = std::fs::read_to_string(path).expect("the node runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.expect("a process has a size") * 1024
}
