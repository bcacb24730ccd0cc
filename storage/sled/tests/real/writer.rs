//! A process that writes to a store and says what was acknowledged, until something ends it.
//!
//! It is this test binary once more: [`start`] names the one test below and tells it, by the environment, what to do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hessra_sled::{SledEngine, StoreError, Vote};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{RaftLogReader, RaftSnapshotBuilder};

use crate::support::{block_on, entries, id, open, open_sled, try_append};

const DIRECTORY: &str = "HESSRA_TEST_WRITER_DIRECTORY";
const APPENDS: &str = "HESSRA_TEST_WRITER_APPENDS";

/// The command of a writer; it ends after so many appends.
pub(crate) fn command(directory: &Path, appends: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "writer::when_it_is_told_to_it_writes",
        "--nocapture",
    ]);
    command
        .env(DIRECTORY, directory)
        .env(APPENDS, appends.to_string());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

pub(crate) fn start(directory: &Path) -> Child {
    command(directory, u64::MAX).spawn().unwrap()
}

#[test]
fn when_it_is_told_to_it_writes() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let appends = std::env::var(APPENDS).unwrap().parse().unwrap();
    block_on(write(Path::new(&directory), appends));
}

/// The engine, once its lock is free: a process that another test starts at the same instant has the lock of this one's
/// parent until it becomes another program.
fn opened(directory: &Path) -> SledEngine {
    for _ in 0..200 {
        match open_sled(directory) {
            Err(StoreError::InUse { .. }) => std::thread::sleep(Duration::from_millis(20)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stays in use", directory.display());
}

/// Appends, applies, votes, snapshots and purges; every line was acknowledged when it is printed.
async fn write(directory: &Path, appends: u64) {
    let (mut log, mut machine) = open(opened(directory)).unwrap();
    let state = log.get_log_state().await.unwrap();
    let mut next = state.last_log_id.map_or(1, |id| id.index + 1);
    let mut applied = machine.watch().borrow().applied.map_or(0, |id| id.index);
    let behind = log.try_get_log_entries(applied + 1..next).await.unwrap();
    machine.apply(behind).await.unwrap();
    let mut term = log
        .read_vote()
        .await
        .unwrap()
        .map_or(1, |vote| vote.leader_id().term);
    for round in 1..=appends {
        let batch = entries(1, next..next + 1 + round % 7);
        next += batch.len() as u64;
        try_append(&mut log, batch).await.unwrap();
        println!("ack {}", next - 1);
        if round % 3 == 0 {
            applied = machine.watch().borrow().applied.map_or(0, |id| id.index);
            let entries = log.try_get_log_entries(applied + 1..next).await.unwrap();
            machine.apply(entries).await.unwrap();
        }
        if round % 20 == 0 {
            term += 1;
            println!("voting {term}");
            log.save_vote(&Vote::new(term, 1)).await.unwrap();
            println!("voted {term}");
        }
        if round % 75 == 0 {
            let snapshot = machine
                .get_snapshot_builder()
                .await
                .build_snapshot()
                .await
                .unwrap();
            let upto = snapshot.meta.last_log_id.unwrap().index;
            log.purge(id(1, upto.saturating_sub(50).max(1)))
                .await
                .unwrap();
            println!("settled {applied}");
        }
    }
}
