//! Snapshots: they do not block writes, and wherever a crash ends an installation, the state is the old or the new one.

use hessra_sled::memory::{Fault, Survival};
use hessra_sled::{Batch, Engine, MemoryEngine, SnapshotImage, Space, StoreError};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{RaftLogReader, RaftSnapshotBuilder, Snapshot};

use crate::support::{Types, append, block_on, contents, entries, id, open, try_append};

/// A leader's snapshot up to `upto`.
async fn snapshot(upto: u64) -> Snapshot<Types> {
    let (_, mut leader) = open(MemoryEngine::new(1)).unwrap();
    leader.apply(entries(1, 1..=upto)).await.unwrap();
    leader
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap()
}

#[test]
fn no_command_of_these_tests_is_refused() {
    let (_, mut machine) = open(MemoryEngine::new(1)).unwrap();
    let answers = block_on(machine.apply(entries(1, 1..=1500))).unwrap();
    let refused =
        |answer: &hessra_state::Applied| matches!(answer, hessra_state::Applied::Refused(_));
    let refused: Vec<_> = answers
        .into_iter()
        .flat_map(|answers| answers.0)
        .filter(refused)
        .collect();
    assert_eq!(refused, []);
    let records = machine.remembered().image().machine.records().count();
    assert!(records > 3000, "{records} records");
}

#[test]
fn an_installed_snapshot_is_the_leaders_state_and_survives_a_power_cut() {
    block_on(async {
        let engine = MemoryEngine::new(1);
        let (mut log, mut machine) = open(engine.clone()).unwrap();
        append(&mut log, entries(1, 1..=20)).await;
        machine.apply(entries(1, 1..=20)).await.unwrap();
        let sent = snapshot(3000).await;
        machine
            .install_snapshot(&sent.meta, sent.snapshot.clone())
            .await
            .unwrap();
        let (mut log, machine) = open(engine.crash(Survival::Nothing)).unwrap();
        log.purge(sent.meta.last_log_id.unwrap()).await.unwrap();
        let found = contents((log, machine)).await.unwrap();
        assert_eq!(found.applied, sent.meta.last_log_id);
        assert_eq!(found.last, sent.meta.last_log_id);
        assert_eq!(found.snapshot.as_deref(), Some(sent.snapshot.as_bytes()));
        let (_, mut reference) = open(MemoryEngine::new(2)).unwrap();
        reference.apply(entries(1, 1..=3000)).await.unwrap();
        assert_eq!(
            found.digest,
            reference.remembered().image().machine.digest()
        );
    });
}

#[test]
fn wherever_a_crash_ends_an_installation_the_state_is_the_old_or_the_new_one() {
    block_on(async {
        let sent = snapshot(1500).await;
        for survival in [Survival::Everything, Survival::Chance, Survival::Nothing] {
            let (mut old, mut new) = (0, 0);
            for writes in 0.. {
                let (is_new, finished) = crash_while_installing(&sent, writes, survival).await;
                if is_new {
                    new += 1
                } else {
                    old += 1
                }
                if finished {
                    break;
                }
            }
            assert!(
                old > 2 && new > 0,
                "both happened with {survival:?}: {old} old, {new} new"
            );
        }
    });
}

/// Crashes an installation. Returns whether the state is the new one afterwards, and whether the installation was
/// finished before the crash.
async fn crash_while_installing(
    sent: &Snapshot<Types>,
    writes: u64,
    survival: Survival,
) -> (bool, bool) {
    let engine = MemoryEngine::new(writes);
    let (mut log, mut machine) = open(engine.clone()).unwrap();
    append(&mut log, entries(1, 1..=20)).await;
    machine.apply(entries(1, 1..=15)).await.unwrap();
    // An append makes durable what was applied before it.
    append(&mut log, entries(1, 21..=22)).await;
    let before = machine.remembered().image().machine.digest();
    engine.inject(Fault::DiesAfter(writes));
    let outcome = machine
        .install_snapshot(&sent.meta, sent.snapshot.clone())
        .await;
    let (_, machine) = open(engine.crash(survival)).unwrap();
    let found = machine.remembered().image();
    let is_new = found.applied == sent.meta.last_log_id;
    assert!(
        is_new || outcome.is_err(),
        "it was acknowledged and is gone"
    );
    assert!(
        is_new || found.machine.digest() == before,
        "crash after {writes} writes, {survival:?}"
    );
    (is_new, outcome.is_ok())
}

#[test]
fn a_snapshot_that_is_behind_the_state_is_not_installed() {
    block_on(async {
        let (_, mut machine) = open(MemoryEngine::new(1)).unwrap();
        machine.apply(entries(1, 1..=50)).await.unwrap();
        let sent = snapshot(40).await;
        machine
            .install_snapshot(&sent.meta, sent.snapshot)
            .await
            .unwrap_err();
        assert_eq!(machine.watch().borrow().applied, Some(id(1, 50)));
    });
}

#[test]
fn a_log_is_not_appended_beyond_a_snapshot_that_is_not_there_yet() {
    block_on(async {
        let engine = MemoryEngine::new(1);
        let (mut log, mut machine) = open(engine.clone()).unwrap();
        append(&mut log, entries(1, 1..=20)).await;
        machine.apply(entries(1, 1..=10)).await.unwrap();
        let sent = snapshot(100).await;
        // openraft purges first and installs on another task.
        log.purge(sent.meta.last_log_id.unwrap()).await.unwrap();
        let appended = try_append(&mut log, entries(1, 101..=110));
        tokio::pin!(appended);
        tokio::select! {
            biased;
            _ = &mut appended => panic!("acknowledged beyond a hole"),
            () = tokio::task::yield_now() => {}
        }
        machine
            .install_snapshot(&sent.meta, sent.snapshot.clone())
            .await
            .unwrap();
        appended.await.unwrap();
        let found = contents(open(engine.crash(Survival::Nothing)).unwrap())
            .await
            .unwrap();
        assert_eq!(
            (found.purged, found.last),
            (Some(id(1, 100)), Some(id(1, 110)))
        );
        assert_eq!(found.entries.len(), 10);
    });
}

/// A leader that is deposed and takes the new leader's snapshot may still have a task that reads what it meant to send.
#[test]
fn entries_to_send_begin_where_they_were_asked_for_or_there_are_none() {
    block_on(async {
        let (mut log, mut machine) = open(MemoryEngine::new(1)).unwrap();
        append(&mut log, entries(1, 1..=20)).await;
        let mut sender = log.get_log_reader().await;
        let sent = sender.limited_get_log_entries(5, 21).await.unwrap();
        assert_eq!(sent, entries(1, 5..=20));
        let taken = snapshot(10).await;
        machine
            .install_snapshot(&taken.meta, taken.snapshot.clone())
            .await
            .unwrap();
        log.purge(taken.meta.last_log_id.unwrap()).await.unwrap();
        let sent = sender.limited_get_log_entries(5, 21).await.unwrap();
        assert_eq!(sent, [], "entries 5 to 10 are gone");
        let sent = sender.limited_get_log_entries(11, 21).await.unwrap();
        assert_eq!(sent, entries(1, 11..=20));
        assert_eq!(sender.kept(5, 21).unwrap(), entries(1, 11..=20));
    });
}

#[test]
fn a_snapshot_that_fails_to_install_wakes_whoever_waits_for_it() {
    block_on(async {
        let (mut log, mut machine) = open(MemoryEngine::new(1)).unwrap();
        append(&mut log, entries(1, 1..=20)).await;
        let sent = snapshot(100).await;
        log.purge(sent.meta.last_log_id.unwrap()).await.unwrap();
        let damaged = SnapshotImage::from(sent.snapshot.as_bytes()[1..].to_vec());
        machine
            .install_snapshot(&sent.meta, Box::new(damaged))
            .await
            .unwrap_err();
        try_append(&mut log, entries(1, 101..=110))
            .await
            .unwrap_err();
    });
}

#[test]
fn no_damaged_or_foreign_snapshot_is_installed() {
    block_on(async {
        let sent = snapshot(40).await;
        let bytes = sent.snapshot.as_bytes();
        for at in (0..bytes.len()).step_by(7) {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 4;
            refuse(&sent, flipped).await;
        }
        for length in (0..bytes.len()).step_by(31) {
            refuse(&sent, bytes[..length].to_vec()).await;
        }
        refuse(&sent, snapshot(41).await.snapshot.as_bytes().to_vec()).await;
    });
}

async fn refuse(sent: &Snapshot<Types>, bytes: Vec<u8>) {
    let (_, mut machine) = open(MemoryEngine::new(1)).unwrap();
    let image = Box::new(SnapshotImage::from(bytes));
    machine
        .install_snapshot(&sent.meta, image)
        .await
        .unwrap_err();
    assert!(machine.watch().borrow().applied.is_none());
}

#[test]
fn a_snapshot_is_of_its_moment_and_writes_go_on_while_it_is_built() {
    block_on(async {
        let (_, mut machine) = open(MemoryEngine::new(1)).unwrap();
        machine.apply(entries(1, 1..=3000)).await.unwrap();
        let mut builder = machine.get_snapshot_builder().await;
        let building = builder.build_snapshot();
        tokio::pin!(building);
        let mut applied = 3000;
        let built = loop {
            tokio::select! {
                biased;
                built = &mut building => break built.unwrap(),
                () = tokio::task::yield_now() => {
                    applied += 1;
                    machine.apply(entries(1, applied..=applied)).await.unwrap();
                }
            }
        };
        assert_eq!(built.meta.last_log_id, Some(id(1, 3000)));
        assert!(
            applied > 3005,
            "only {} entries were applied while it was built",
            applied - 3000
        );
    });
}

#[test]
fn an_older_snapshot_does_not_take_the_place_of_a_newer_one() {
    block_on(async {
        let engine = MemoryEngine::new(1);
        let (_, mut machine) = open(engine.clone()).unwrap();
        machine.apply(entries(1, 1..=30)).await.unwrap();
        let mut slow = machine.get_snapshot_builder().await;
        let sent = snapshot(100).await;
        machine
            .install_snapshot(&sent.meta, sent.snapshot.clone())
            .await
            .unwrap();
        slow.build_snapshot().await.unwrap();
        let current = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(current.meta, sent.meta);
        let chunks = |engine: &MemoryEngine| {
            engine
                .content()
                .keys()
                .filter(|(space, _)| space.name() == "snapshots")
                .count()
        };
        let before = chunks(&engine);
        let reopened: Result<_, StoreError> = open(engine.clone());
        drop(reopened.unwrap());
        assert_eq!(
            chunks(&engine),
            before,
            "nothing of the older one was left behind"
        );
    });
}

/// Entries of a later term that were never committed do not count against a snapshot of an earlier one that goes further.
#[test]
fn a_snapshot_takes_the_place_of_a_shorter_log_of_a_later_term() {
    block_on(async {
        for crashes_before_the_purge in [false, true] {
            let engine = MemoryEngine::new(1);
            let (mut log, mut machine) = open(engine.clone()).unwrap();
            append(&mut log, entries(1, 1..=80)).await;
            append(&mut log, entries(5, 81..=95)).await;
            let sent = snapshot(100).await;
            let upto = sent.meta.last_log_id.unwrap();
            if !crashes_before_the_purge {
                log.purge(upto).await.unwrap();
            }
            machine
                .install_snapshot(&sent.meta, sent.snapshot.clone())
                .await
                .unwrap();
            let (mut log, machine) = open(engine.crash(Survival::Nothing)).unwrap();
            assert_eq!(machine.watch().borrow().applied, Some(upto));
            assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(upto));
            append(&mut log, entries(6, 101..=110)).await;
            let found = contents((log, machine)).await.unwrap();
            assert_eq!((found.purged, found.last), (Some(upto), Some(id(6, 110))));
        }
    });
}

/// openraft itself says "reading snapshot none" when the stream to a member is closed.
#[test]
fn a_snapshot_that_cannot_be_read_is_not_reported_as_a_closed_stream() {
    block_on(async {
        let engine = MemoryEngine::new(1);
        let (_log, mut machine) = open(engine.clone()).unwrap();
        machine.apply(entries(1, 1..=100)).await.unwrap();
        let mut builder = machine.get_snapshot_builder().await;
        builder.build_snapshot().await.unwrap();
        let chunks = engine.scan(Space::Snapshots, None, 1).unwrap();
        let mut batch = Batch::default();
        batch.delete(Space::Snapshots, chunks[0].0.clone());
        engine.write(batch).unwrap();
        let error = machine.get_current_snapshot().await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("when Read Store: "), "{said}");
    });
}
