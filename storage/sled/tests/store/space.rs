//! Room on the disk: purging gives it back, and no record becomes a file of its own.

use std::fs;
use std::path::Path;

use hessra_revocation::{Identity, Target};
use hessra_sled::{Engine, Entry, Proposal, Space};
use hessra_state::{Command, Revoke};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{EntryPayload, RaftLogReader, RaftSnapshotBuilder};

use crate::support::{append, block_on, entries, fresh_sled, id, open, open_sled, stamped};

const MIB: u64 = 1024 * 1024;

fn blobs(directory: &Path) -> usize {
    fs::read_dir(directory.join("data/sled/blobs"))
        .unwrap()
        .count()
}

/// Entry of about 1.5 KiB, and always the same request: the log grows, the state does not.
fn retry(index: u64) -> Entry {
    let revoke = Revoke {
        targets: vec![Target::Subtree(
            Identity::parse("urn:hessra:service:agent").unwrap(),
        )],
        permanent: false,
        until: None,
        reason: String::new(),
        ticket: format!("{index:500}"),
        message: format!("{index:1000}"),
    };
    let stamped = stamped(1, 2, Command::Revoke(revoke));
    Entry {
        log_id: id(1, index),
        payload: EntryPayload::Normal(Proposal::from(vec![stamped])),
    }
}

#[test]
fn a_purged_log_gives_its_room_back() {
    let (directory, engine) = fresh_sled();
    let (mut log, mut machine) = open(engine.clone()).unwrap();
    let mut largest = 0;
    block_on(async {
        append(&mut log, entries(1, 1..=1)).await;
        machine.apply(entries(1, 1..=1)).await.unwrap();
        for first in (2..80_000).step_by(2000) {
            for first in (first..first + 2000).step_by(50) {
                append(&mut log, (first..first + 50).map(retry).collect()).await;
            }
            machine
                .apply((first..first + 2000).map(retry))
                .await
                .unwrap();
            machine
                .get_snapshot_builder()
                .await
                .build_snapshot()
                .await
                .unwrap();
            log.purge(id(1, first)).await.unwrap();
            largest = largest.max(engine.size_on_disk().unwrap());
        }
    });
    println!(
        "120 MiB of entries went through, at most 6 MiB were kept, the directory took {} MiB",
        largest / MIB
    );
    assert!(largest < 64 * MIB, "{largest} bytes");
    assert_eq!(blobs(directory.path()), 0);
}

#[test]
fn the_directory_is_in_proportion_to_what_is_kept() {
    let (directory, engine) = fresh_sled();
    let (mut log, mut machine) = open(engine.clone()).unwrap();
    block_on(async {
        for round in 0..20 {
            let first = round * 1000 + 1;
            append(&mut log, entries(1, first..first + 1000)).await;
            machine
                .apply(entries(1, first..first + 1000))
                .await
                .unwrap();
            if round % 5 == 4 {
                machine
                    .get_snapshot_builder()
                    .await
                    .build_snapshot()
                    .await
                    .unwrap();
                log.purge(id(1, first)).await.unwrap();
            }
        }
    });
    let size = engine.size_on_disk().unwrap();
    let pairs = |space| engine.scan(space, None, usize::MAX).unwrap();
    let kept: u64 = Space::ALL
        .into_iter()
        .flat_map(pairs)
        .map(|(key, value)| (key.len() + value.len()) as u64)
        .sum();
    println!("{} KiB are kept in {} KiB", kept / 1024, size / 1024);
    assert!(size < 6 * kept + 32 * MIB, "{size} bytes for {kept}");
    assert_eq!(blobs(directory.path()), 0);
}

#[test]
fn a_bulk_revocation_is_kept_whole_and_no_page_becomes_a_blob() {
    let (directory, engine) = fresh_sled();
    let (mut log, mut machine) = open(engine.clone()).unwrap();
    block_on(async {
        append(&mut log, entries(1, 1..=1)).await;
        append(&mut log, vec![bulk(2), bulk(3)]).await;
        machine.apply(entries(1, 1..=1)).await.unwrap();
        machine.apply([bulk(2)]).await.unwrap();
        machine
            .get_snapshot_builder()
            .await
            .build_snapshot()
            .await
            .unwrap();
        log.purge(id(1, 1)).await.unwrap();
    });
    let digest = machine.remembered().image().machine.digest();
    drop((log, machine, engine));
    let (mut log, machine) = open(open_sled(&directory.path().join("data")).unwrap()).unwrap();
    assert_eq!(machine.remembered().image().machine.digest(), digest);
    let found = block_on(log.try_get_log_entries(2..4)).unwrap();
    assert_eq!(found, vec![bulk(2), bulk(3)]);
    assert_eq!(blobs(directory.path()), 0);
}

/// 10,000 targets of 270 bytes.
fn bulk(index: u64) -> Entry {
    let target = |number: u64| {
        let name = format!("urn:hessra:tenant-{index}:{}:{number}", "long".repeat(60));
        Target::Subtree(Identity::parse(&name).unwrap())
    };
    let revoke = Revoke {
        targets: (0..10_000).map(target).collect(),
        permanent: true,
        until: None,
        reason: String::new(),
        ticket: String::new(),
        message: String::new(),
    };
    let payload = EntryPayload::Normal(Proposal::from(vec![stamped(
        1,
        index,
        Command::Revoke(revoke),
    )]));
    Entry {
        log_id: id(1, index),
        payload,
    }
}
