//! A full disk: acknowledged writes stay, failed ones are reported, and with room again the node goes on.

use hessra_sled::{OpenOptions, SledEngine};
use openraft::RaftLogReader;

use crate::filesystem::{Tmpfs, cannot_mount};
use crate::support::{append, block_on, entries, open, try_append};

const MEBIBYTES: u32 = 24;

#[test]
fn a_full_disk_loses_nothing_and_goes_on_once_there_is_room() {
    if let Some(reason) = cannot_mount() {
        println!("skipped: {reason}");
        return;
    }
    let disk = Tmpfs::make(MEBIBYTES).unwrap();
    let path = disk.path().join("data");
    let options = || OpenOptions {
        free_min: 8 * 1024 * 1024,
        ..OpenOptions::default()
    };
    let engine = SledEngine::open(&path, options()).unwrap();
    let (mut log, _machine) = open(engine.clone()).unwrap();
    let (mut acknowledged, mut warned_at) = (0, None);
    let error = block_on(async {
        loop {
            if warned_at.is_none() && engine.writable().is_err() {
                warned_at = Some(acknowledged);
            }
            let batch = entries(1, acknowledged + 1..=acknowledged + 200);
            match try_append(&mut log, batch).await {
                Ok(()) => acknowledged += 200,
                Err(error) => break error,
            }
        }
    });
    let warned_at = warned_at.expect("`writable` says it before a write fails");
    println!("refused new commands at {warned_at} entries, full at {acknowledged}: {error}");
    assert!(warned_at > 0 && warned_at < acknowledged);
    assert!(engine.failure().is_some(), "the engine has ended");
    block_on(try_append(
        &mut log,
        entries(1, acknowledged + 1..=acknowledged + 1),
    ))
    .unwrap_err();
    drop((log, _machine, engine));
    disk.resize(MEBIBYTES * 4);
    let (mut log, _machine) = open(SledEngine::open(&path, options()).unwrap()).unwrap();
    let found = block_on(log.try_get_log_entries(..)).unwrap();
    assert!(
        found.len() as u64 >= acknowledged,
        "{} of {acknowledged} are there",
        found.len()
    );
    let next = found.len() as u64 + 1;
    block_on(append(&mut log, entries(1, next..next + 10)));
}
