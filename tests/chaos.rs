//! `chaos`: kill -9 of a random node every few seconds under load; afterwards nothing acknowledged may be missing.
//!
//! ```text
//! cargo run -p hessra-tests --bin chaos -- --seconds 120
//! ```

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use hessra_tests::{Cli, Cluster, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Kills nodes of a real cluster under load.
#[derive(Parser)]
struct Arguments {
    /// How long nodes are killed.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Clients that revoke without pause.
    #[arg(long, default_value_t = 4)]
    clients: u64,
    /// Which node is killed when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Default)]
struct Load {
    acknowledged: Mutex<BTreeSet<u64>>,
    failed: AtomicU64,
    longest_pause_ms: AtomicU64,
    ended: AtomicBool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut cluster = Cluster::start("chaos");
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..arguments.clients)
        .map(|number| {
            let (operator, load) = (cluster.operator(), load.clone());
            std::thread::spawn(move || revoke_without_pause(&operator, number, &load))
        })
        .collect();
    let kills = kill_nodes(&mut cluster, &arguments);
    load.ended.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client does not panic");
    }
    cluster.start_all();
    let missing = missing_anywhere(&cluster, &load);
    let acknowledged = load.acknowledged.lock().expect("no client panicked").len();
    println!(
        "seed {}: {kills} kills of {} seconds",
        arguments.seed, arguments.seconds
    );
    println!(
        "revocations: {acknowledged} acknowledged, {} without an answer",
        load.failed.load(Ordering::Relaxed)
    );
    println!(
        "longest pause between two acknowledgements: {} ms",
        load.longest_pause_ms.load(Ordering::Relaxed)
    );
    println!("acknowledged and missing on some node: {}", missing.len());
    let good = missing.is_empty() && acknowledged > 0 && kills > 0;
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn revoke_without_pause(operator: &Cli, client: u64, load: &Load) {
    let mut last = Instant::now();
    for number in 0.. {
        if load.ended.load(Ordering::Relaxed) {
            return;
        }
        let target = format!("urn:hessra:test:c{client}:n{number}");
        let finished = operator.run(["revoke", &target, "--yes", "--wait", "commit", "-o", "json"]);
        let revision = (finished.code() == 0)
            .then(|| finished.json()["revision"].as_u64())
            .flatten();
        match revision {
            Some(revision) => {
                load.acknowledged
                    .lock()
                    .expect("no client panicked")
                    .insert(revision);
                let pause = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
                load.longest_pause_ms.fetch_max(pause, Ordering::Relaxed);
                last = Instant::now();
            }
            None => {
                load.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn kill_nodes(cluster: &mut Cluster, arguments: &Arguments) -> u64 {
    let mut random = StdRng::seed_from_u64(arguments.seed);
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let mut kills = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(random.gen_range(1_000..4_000)));
        let victim = random.gen_range(1..=3);
        cluster.kill(victim);
        kills += 1;
        std::thread::sleep(Duration::from_millis(random.gen_range(0..1_500)));
        cluster.start_node(victim);
    }
    kills
}

/// Revisions that some node does not have once all are level.
fn missing_anywhere(cluster: &Cluster, load: &Load) -> BTreeSet<u64> {
    let acknowledged = load
        .acknowledged
        .lock()
        .expect("no client panicked")
        .clone();
    let newest = acknowledged.iter().next_back().copied().unwrap_or(0);
    let mut missing = BTreeSet::new();
    for node in cluster.nodes() {
        let asked = cluster.operator().with("HESSRA_SERVER", &node.public);
        let have = until(
            "the node lists what it has",
            Duration::from_secs(60),
            || {
                let listed = listed(&asked)?;
                (listed.iter().next_back().copied().unwrap_or(0) >= newest).then_some(listed)
            },
        );
        missing.extend(acknowledged.difference(&have));
    }
    missing
}

fn listed(operator: &Cli) -> Option<BTreeSet<u64>> {
    let finished = operator.run(["revocations", "list", "--limit", "1000000", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&finished.stdout()).ok()?;
    let items = value["revocations"]
        .as_array()
        .or_else(|| value.as_array())?
        .clone();
    Some(
        items
            .iter()
            .filter_map(|item| item["revision"].as_u64())
            .collect(),
    )
}
