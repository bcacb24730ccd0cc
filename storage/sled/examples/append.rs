//! Durable appends per second of the log store, beside a plain preallocated file with `fdatasync`: the floor of this disk.
//!
//! `cargo run --release -p hessra-sled --example append -- [DIRECTORY] [SECONDS PER ROUND] [ROUNDS]`
//!
//! Both sides take turns and write the same encoded entries of about 256 bytes. Entries are acknowledged when the
//! store's callback ran, as openraft waits for it. The log is purged as it grows, so that the figure is that of a node
//! that runs for long.

#![allow(clippy::unwrap_used)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hessra_revocation::{Identity, Target, UnixMillis};
use hessra_sled::{
    Entry, LogStore, OpenOptions as StoreOptions, Proposal, SledEngine, StateMachine, Store, codec,
};
use hessra_state::{
    Author, Command, Duty, Judge, Pending, Refusal, RequestId, Revoke, Stamped, State,
};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::{CommittedLeaderId, EntryPayload, LogId};

const BATCHES: [u64; 3] = [1, 64, 512];
/// Bytes of the preallocated file, which is written round and round.
const FLOOR_BYTES: u64 = 256 * 1024 * 1024;
/// Entries kept in the log while it grows.
const KEPT: u64 = 20_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .map_or_else(|| std::env::temp_dir().join("hessra-append"), PathBuf::from);
    let seconds = arguments.next().map_or(3.0, |text| text.parse().unwrap());
    let rounds: usize = arguments.next().map_or(3, |text| text.parse().unwrap());
    println!("load before: {}", load());
    println!(
        "{:>5}  {:>12} {:>9} {:>9}  {:>12} {:>9} {:>9}  {:>6}  {:>9}",
        "batch", "floor/s", "p50 us", "p99 us", "store/s", "p50 us", "p99 us", "ratio", "disk MiB"
    );
    for batch in BATCHES {
        for _ in 0..rounds {
            let floor = floor(
                &directory.join("floor"),
                batch,
                Duration::from_secs_f64(seconds),
            );
            let (store, bytes) = store(
                &directory.join("store"),
                batch,
                Duration::from_secs_f64(seconds),
            )
            .await;
            println!(
                "{batch:>5}  {:>12.0} {:>9} {:>9}  {:>12.0} {:>9} {:>9}  {:>5.0}%  {:>9}",
                floor.per_second,
                floor.p50,
                floor.p99,
                store.per_second,
                store.p50,
                store.p99,
                100.0 * store.per_second / floor.per_second,
                bytes / (1024 * 1024),
            );
        }
    }
    println!("load after: {}", load());
    std::fs::remove_dir_all(directory).unwrap();
}

struct Figures {
    per_second: f64,
    p50: u128,
    p99: u128,
}

fn figures(mut latencies: Vec<Duration>, batch: u64, elapsed: Duration) -> Figures {
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_micros();
    Figures {
        per_second: (latencies.len() as u64 * batch) as f64 / elapsed.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
    }
}

fn floor(path: &Path, batch: u64, duration: Duration) -> Figures {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap();
    preallocate(&file);
    let bytes: Vec<u8> = (0..batch)
        .flat_map(|index| codec::encode_entry(&entry(index)))
        .collect();
    let (begin, mut offset, mut latencies) = (Instant::now(), 0, Vec::new());
    while begin.elapsed() < duration {
        let started = Instant::now();
        file.write_all_at(&bytes, offset).unwrap();
        file.sync_data().unwrap();
        latencies.push(started.elapsed());
        offset = (offset + bytes.len() as u64) % (FLOOR_BYTES - bytes.len() as u64);
    }
    figures(latencies, batch, begin.elapsed())
}

fn preallocate(file: &File) {
    if file.metadata().unwrap().len() < FLOOR_BYTES {
        let zeros = vec![0; 1024 * 1024];
        (0..FLOOR_BYTES / zeros.len() as u64)
            .for_each(|n| file.write_all_at(&zeros, n * zeros.len() as u64).unwrap());
        file.sync_all().unwrap();
    }
}

async fn store(path: &Path, batch: u64, duration: Duration) -> (Figures, u64) {
    let _ = std::fs::remove_dir_all(path);
    let engine = SledEngine::open(path, StoreOptions::default()).unwrap();
    let opened: (LogStore<SledEngine>, StateMachine<SledEngine>) =
        Store::open(engine.clone(), Arc::new(Anyone)).unwrap();
    let (mut log, mut machine) = opened;
    let (mut next, mut latencies) = (1, Vec::new());
    let begin = Instant::now();
    while begin.elapsed() < duration {
        let entries: Vec<Entry> = (next..next + batch).map(entry).collect();
        next += batch;
        let started = Instant::now();
        log.blocking_append(entries).await.unwrap();
        log.durability().through(next - 1).await.unwrap();
        latencies.push(started.elapsed());
        if next % KEPT < batch && next > KEPT {
            let blank = Entry {
                log_id: id(next - 1),
                payload: EntryPayload::Blank,
            };
            machine.apply([blank]).await.unwrap();
            log.purge(id(next - KEPT)).await.unwrap();
        }
    }
    let elapsed = begin.elapsed();
    let bytes = hessra_sled::Engine::size_on_disk(&engine).unwrap();
    (figures(latencies, batch, elapsed), bytes)
}

/// Judge that lets every author do everything.
struct Anyone;

impl Judge for Anyone {
    fn judge(&self, _: &State, stamped: &Stamped) -> Result<String, Refusal> {
        Ok(stamped.author.to_string())
    }

    fn still_asks(&self, _: &State, _: &Pending) -> bool {
        true
    }
}

fn id(index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(1, 0), index)
}

/// An entry with one revocation, about 256 bytes.
fn entry(index: u64) -> Entry {
    let name = format!(
        "urn:hessra:tenant-{:03}:service-{:06}:agent-{index:012}",
        index % 1000,
        index % 1_000_000
    );
    let revoke = Revoke {
        targets: vec![Target::Subtree(Identity::parse(&name).unwrap())],
        permanent: false,
        until: None,
        reason: "compromise".to_owned(),
        ticket: format!("INC-{index:08}"),
        message: "found on a public host; rotate and ask the owner".to_owned(),
    };
    let mut request = [7; 16];
    request[..8].copy_from_slice(&index.to_be_bytes());
    let stamped = Stamped {
        at: UnixMillis(1_763_000_000_000 + index),
        // Nothing here looks at authors.
        author: Author::Node {
            id: 1,
            duty: Duty::Holders,
        },
        request: RequestId(request),
        command: Command::Revoke(revoke),
    };
    Entry {
        log_id: id(index),
        payload: EntryPayload::Normal(Proposal::from(vec![stamped])),
    }
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
