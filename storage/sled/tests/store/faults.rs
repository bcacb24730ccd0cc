//! A disk error is not an answer: the call fails, and so does everything after it.

use std::sync::{Arc, Mutex};

use hessra_sled::memory::{Completion, Fault, Survival};
use hessra_sled::{Engine, MemoryEngine, Vote};
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};

use crate::support::{append, block_on, entries, fresh_sled, id, open, try_append};

#[test]
fn a_failed_sync_is_told_and_ends_the_store() {
    let engine = MemoryEngine::new(1);
    block_on(async {
        let (mut log, mut machine) = open(engine.clone()).unwrap();
        append(&mut log, entries(1, 1..=5)).await;
        engine.inject(Fault::SyncFails);
        try_append(&mut log, entries(1, 6..=9)).await.unwrap_err();
        try_append(&mut log, entries(1, 10..=12)).await.unwrap_err();
        log.save_vote(&Vote::new(2, 1)).await.unwrap_err();
        machine.apply(entries(1, 1..=3)).await.unwrap_err();
    });
    let (mut log, _) = open(engine.crash(Survival::Nothing)).unwrap();
    let found = block_on(log.try_get_log_entries(..)).unwrap();
    assert_eq!(
        found.len(),
        5,
        "what was acknowledged is there, what failed is not"
    );
}

#[test]
fn nothing_is_applied_before_it_is_on_the_disk() {
    let held: Arc<Mutex<Vec<Completion>>> = Arc::default();
    let disk = Arc::clone(&held);
    let engine =
        MemoryEngine::new(1).deferring(move |completion| disk.lock().unwrap().push(completion));
    block_on(async {
        let (mut log, mut machine) = open(engine).unwrap();
        log.blocking_append(entries(1, 1..=5)).await.unwrap();
        {
            let applied = machine.apply(entries(1, 1..=5));
            tokio::pin!(applied);
            tokio::select! {
                biased;
                _ = &mut applied => panic!("applied what the power may take"),
                () = tokio::task::yield_now() => {}
            }
            let completions = std::mem::take(&mut *held.lock().unwrap());
            completions.into_iter().for_each(|complete| complete());
            applied.await.unwrap();
        }
        assert_eq!(machine.watch().borrow().applied, Some(id(1, 5)));
    });
}

#[test]
fn a_leader_that_starts_again_does_not_lead_in_its_term() {
    let engine = MemoryEngine::new(1);
    block_on(async {
        let (mut log, _) = open(engine.clone()).unwrap();
        log.save_vote(&Vote::new_committed(7, 1)).await.unwrap();
        let (mut log, _) = open(engine.crash(Survival::Nothing)).unwrap();
        assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(7, 1)));
    });
}

#[test]
fn a_full_disk_is_told_as_such_and_frees_itself_by_a_restart() {
    let engine = MemoryEngine::new(1);
    block_on(async {
        let (mut log, _) = open(engine.clone()).unwrap();
        append(&mut log, entries(1, 1..=5)).await;
        engine.inject(Fault::DiskFull);
        let error = try_append(&mut log, entries(1, 6..=9)).await.unwrap_err();
        assert!(error.contains("has room"), "{error}");
        let (mut log, _) = open(engine.crash(Survival::Chance)).unwrap();
        append(&mut log, entries(1, 6..=9)).await;
    });
}

#[test]
fn an_entry_that_needs_a_newer_binary_stops_the_node_and_says_so() {
    use hessra_sled::{Entry, Proposal};
    use hessra_state::Command;
    block_on(async {
        let (_, mut machine) = open(MemoryEngine::new(1)).unwrap();
        let raise = crate::support::stamped(1, 1, Command::RaiseVersion(u32::MAX));
        let entry = Entry {
            log_id: id(1, 1),
            payload: openraft::EntryPayload::Normal(Proposal::from(vec![raise])),
        };
        let error = machine.apply([entry]).await.unwrap_err().to_string();
        assert!(error.contains("upgrade hessra-node"), "{error}");
    });
}

#[test]
fn an_entry_is_not_applied_twice() {
    block_on(async {
        let (_, mut machine) = open(MemoryEngine::new(1)).unwrap();
        machine.apply(entries(1, 1..=5)).await.unwrap();
        machine.apply(entries(1, 5..=6)).await.unwrap_err();
    });
}

#[test]
fn a_log_with_a_hole_is_refused() {
    block_on(async {
        let (mut log, _) = open(MemoryEngine::new(1)).unwrap();
        append(&mut log, entries(1, 1..=5)).await;
        try_append(&mut log, entries(1, 7..=8)).await.unwrap_err();
    });
}

#[test]
fn writes_to_sled_are_there_after_a_restart() {
    let (directory, engine) = fresh_sled();
    block_on(crate::support::furnish(open(engine.clone()).unwrap()));
    let before = block_on(crate::support::contents(open(engine.clone()).unwrap())).unwrap();
    drop(engine);
    let engine = crate::support::open_sled(&directory.path().join("data")).unwrap();
    assert_eq!(
        block_on(crate::support::contents(open(engine).unwrap())).unwrap(),
        before
    );
}

#[test]
fn both_engines_keep_keys_in_order_and_values_whole() {
    let (_directory, sled) = fresh_sled();
    same_answers(&sled, &MemoryEngine::new(1));
}

fn same_answers(left: &impl Engine, right: &impl Engine) {
    use hessra_sled::{Batch, Space};
    let sizes = [0, 1, 20_479, 20_480, 20_481, 70_000, 3_000_000];
    for (step, size) in sizes.into_iter().chain([5, 0, 100_000]).enumerate() {
        let mut batch = Batch::default();
        let value = |space: u8| vec![step as u8 ^ space; size];
        batch.put(Space::Log, [0, step as u8 % 4], value(1));
        batch.put(Space::Log, [9, step as u8], value(2));
        batch.delete(Space::Log, [9, (step as u8).wrapping_sub(3)]);
        batch.put(Space::Marks, *b"tail", value(3));
        left.write(batch.clone()).unwrap();
        right.write(batch).unwrap();
        for space in Space::ALL {
            let all = right.scan(space, None, usize::MAX).unwrap();
            assert_eq!(left.scan(space, None, usize::MAX).unwrap(), all);
            assert_eq!(
                left.scan(space, None, 2).unwrap(),
                right.scan(space, None, 2).unwrap()
            );
            for (key, value) in &all {
                assert_eq!(left.get(space, key).unwrap().as_ref(), Some(value));
                assert_eq!(
                    left.scan(space, Some(key), 3).unwrap(),
                    right.scan(space, Some(key), 3).unwrap()
                );
            }
        }
    }
}
