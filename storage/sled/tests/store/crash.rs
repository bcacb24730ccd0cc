//! Random histories with power cuts, against a model of the writes that must, may and must not be there afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hessra_sled::memory::{Completion, Survival};
use hessra_sled::{Entry, MemoryEngine, Vote, codec};
use hessra_state::Machine as Reference;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{EntryPayload, LogId, RaftLogReader, RaftSnapshotBuilder};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::support::{Log, Machine, block_on, entries, entry, open, try_append};

/// Histories per run: about ten seconds.
const SEEDS: u64 = 250;
const STEPS: usize = 60;

#[test]
fn acknowledged_writes_survive_every_power_cut() {
    for seed in 1..=SEEDS {
        block_on(World::new(seed).run());
    }
}

#[test]
fn the_model_catches_a_disk_that_lies() {
    let caught = (1..=40).filter(|seed| {
        let lying = std::panic::AssertUnwindSafe(|| {
            let world = World::new(*seed);
            world.engine.inject(hessra_sled::memory::Fault::SyncLies);
            block_on(
                World {
                    lies: true,
                    ..world
                }
                .run(),
            );
        });
        std::panic::catch_unwind(lying).is_err()
    });
    assert!(
        caught.count() > 10,
        "a check that a lying disk passes checks nothing"
    );
}

struct World {
    seed: u64,
    random: SmallRng,
    engine: MemoryEngine,
    log: Log<MemoryEngine>,
    machine: Machine<MemoryEngine>,
    /// Syncs that the disk has not finished; they are held while `slow` is set.
    held: Arc<Mutex<Vec<Completion>>>,
    slow: Arc<AtomicBool>,
    lies: bool,
    /// Every entry ever written under an index.
    written: BTreeMap<u64, Vec<Entry>>,
    /// The log as acknowledged.
    acknowledged: BTreeMap<u64, Entry>,
    /// Votes that may be found: the acknowledged one first.
    votes: Vec<Option<Vote>>,
    /// Applied entries and the digest after each.
    committed: Vec<Entry>,
    digests: BTreeMap<u64, [u8; 32]>,
    reference: Reference,
    /// Applied before the last sync that was acknowledged: the state never falls below it.
    settled: u64,
    term: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let (held, slow) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let hook = (Arc::clone(&held), Arc::clone(&slow));
        let engine = MemoryEngine::new(seed).deferring(move |completion: Completion| {
            if hook.1.load(Ordering::Relaxed) {
                hook.0.lock().unwrap().push(completion);
            } else {
                completion();
            }
        });
        let (log, machine) = open(engine.clone()).unwrap();
        Self {
            seed,
            random: SmallRng::seed_from_u64(seed),
            engine,
            log,
            machine,
            held,
            slow,
            lies: false,
            written: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            votes: vec![None],
            committed: Vec::new(),
            digests: BTreeMap::new(),
            reference: Reference::new(),
            settled: 0,
            term: 1,
        }
    }

    async fn run(mut self) {
        for _ in 0..STEPS {
            match self.random.gen_range(0..20) {
                0..=5 => self.append(true).await,
                6 | 7 => self.append(false).await,
                8 => self.truncate().await,
                9 | 10 => self.vote().await,
                11..=13 => self.apply().await,
                14 => self.build_snapshot().await,
                15 => self.purge().await,
                16 => self.install().await,
                _ => self.crash().await,
            }
        }
        self.crash().await;
    }

    fn last(&self) -> u64 {
        let highest = self
            .acknowledged
            .last_key_value()
            .map_or(0, |(index, _)| *index);
        highest.max(self.applied())
    }

    fn applied(&self) -> u64 {
        self.committed.last().map_or(0, |entry| entry.log_id.index)
    }

    async fn append(&mut self, wait: bool) {
        let first = self.last() + 1;
        let batch = entries(self.term, first..first + self.random.gen_range(1..12));
        batch.iter().for_each(|entry| {
            self.written
                .entry(entry.log_id.index)
                .or_default()
                .push(entry.clone())
        });
        if wait {
            try_append(&mut self.log, batch.clone()).await.unwrap();
            self.acknowledged
                .extend(batch.into_iter().map(|entry| (entry.log_id.index, entry)));
            self.settled = self.applied();
            return;
        }
        self.slow.store(true, Ordering::Relaxed);
        tokio::select! {
            biased;
            done = try_append(&mut self.log, batch) => panic!("seed {}: {done:?} before it was synced", self.seed),
            () = std::future::ready(()) => {}
        }
        // openraft would wait: the next thing that happens to an append without an answer is a power cut.
        self.crash().await;
    }

    async fn truncate(&mut self) {
        let (low, high) = (self.applied() + 1, self.last());
        if low > high {
            return;
        }
        let since = self.random.gen_range(low..=high);
        self.log
            .truncate(self.acknowledged[&since].log_id)
            .await
            .unwrap();
        self.acknowledged.split_off(&since);
        self.term += 1;
    }

    async fn vote(&mut self) {
        self.term += 1;
        let vote = Vote::new(self.term, self.random.gen_range(1..4));
        self.votes.push(Some(vote));
        self.log.save_vote(&vote).await.unwrap();
        self.votes = vec![Some(vote)];
        self.settled = self.applied();
    }

    async fn apply(&mut self) {
        let (low, high) = (self.applied() + 1, self.last());
        if low > high {
            return;
        }
        let upto = self.random.gen_range(low..=high);
        let batch: Vec<Entry> = (low..=upto)
            .map(|index| self.acknowledged[&index].clone())
            .collect();
        self.machine.apply(batch.clone()).await.unwrap();
        self.commit(batch);
        self.check_state("after apply");
    }

    fn commit(&mut self, batch: Vec<Entry>) {
        for entry in batch {
            if let EntryPayload::Normal(proposal) = &entry.payload {
                proposal
                    .0
                    .iter()
                    .for_each(|stamped| _ = self.reference.apply(stamped, &crate::support::Anyone));
            }
            self.digests
                .insert(entry.log_id.index, self.reference.digest());
            self.committed.push(entry);
        }
    }

    async fn build_snapshot(&mut self) {
        if !self.committed.is_empty() {
            self.machine
                .get_snapshot_builder()
                .await
                .build_snapshot()
                .await
                .unwrap();
            self.settled = self.applied();
        }
    }

    /// Purges as openraft does it: up to a snapshot, or below.
    async fn purge(&mut self) {
        let purged = self
            .log
            .get_log_state()
            .await
            .unwrap()
            .last_purged_log_id
            .map_or(0, |id| id.index);
        if purged < self.applied() {
            self.build_snapshot().await;
            let upto = self.random.gen_range(purged + 1..=self.applied());
            self.log.purge(self.committed_id(upto)).await.unwrap();
        }
    }

    fn committed_id(&self, index: u64) -> LogId<u64> {
        self.committed
            .iter()
            .find(|entry| entry.log_id.index == index)
            .unwrap()
            .log_id
    }

    /// A snapshot of a leader that is ahead, with the purge before it as openraft does it.
    async fn install(&mut self) {
        let from = self.applied() + 1;
        let upto = self.last() + self.random.gen_range(1..20);
        self.log
            .truncate(entry(self.term, from).log_id)
            .await
            .unwrap();
        self.acknowledged.split_off(&from);
        let more = entries(self.term, from..=upto);
        let (_, mut leader) = open(MemoryEngine::new(1)).unwrap();
        leader
            .apply(self.committed.iter().cloned().chain(more.clone()))
            .await
            .unwrap();
        let snapshot = leader
            .get_snapshot_builder()
            .await
            .build_snapshot()
            .await
            .unwrap();
        self.log
            .purge(snapshot.meta.last_log_id.unwrap())
            .await
            .unwrap();
        let turns = self.random.gen_range(0..12);
        let interrupted = self.random.gen_bool(0.4);
        tokio::select! {
            biased;
            done = self.machine.install_snapshot(&snapshot.meta, snapshot.snapshot) => {
                done.unwrap();
                self.commit(more);
                self.settled = upto;
                self.acknowledged.clear();
                self.check_state("after install");
                return;
            }
            () = yielding(turns), if interrupted => {}
        }
        // The log was told that it is purged; the power goes before the snapshot is there.
        self.may_be_installed(more).await;
    }

    /// Crashes, and checks that all of the snapshot is there or nothing of it: both are right.
    async fn may_be_installed(&mut self, more: Vec<Entry>) {
        let survivor = self.engine.crash(Survival::Chance);
        self.reopen(survivor);
        let applied = self
            .machine
            .watch()
            .borrow()
            .applied
            .map_or(0, |id| id.index);
        if applied > self.applied() {
            self.commit(more);
        }
        self.check_all("after an interrupted install").await;
    }

    async fn crash(&mut self) {
        let survivor = self.engine.crash(if self.lies {
            Survival::Nothing
        } else {
            Survival::Chance
        });
        if self.lies {
            survivor.inject(hessra_sled::memory::Fault::SyncLies);
        }
        self.reopen(survivor);
        self.check_all("after a crash").await;
    }

    async fn check_all(&mut self, when: &str) {
        self.check_vote().await;
        let applied = self.check_state(when);
        // As openraft does at its start: the state may be ahead of the log, when a snapshot was installed.
        let ends = self.log.get_log_state().await.unwrap().last_log_id;
        let reached = self.machine.watch().borrow().applied;
        if let Some(id) = reached.filter(|_| ends < reached) {
            self.log.purge(id).await.unwrap();
        }
        assert!(
            applied >= self.settled,
            "seed {}: settled {} fell to {applied}",
            self.seed,
            self.settled
        );
        self.check_log(applied).await;
        self.roll_back_to(applied);
    }

    fn reopen(&mut self, survivor: MemoryEngine) {
        self.slow.store(false, Ordering::Relaxed);
        self.held.lock().unwrap().clear();
        let opened = open(survivor.clone());
        let (log, machine) = opened.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        (self.log, self.machine, self.engine) = (log, machine, survivor);
    }

    async fn check_vote(&mut self) {
        let vote = self.log.read_vote().await.unwrap();
        assert!(
            self.votes.contains(&vote),
            "seed {}: found {vote:?}, not {:?}",
            self.seed,
            self.votes
        );
        self.votes = vec![vote];
    }

    fn check_state(&self, when: &str) -> u64 {
        let found = self.machine.remembered().image();
        let applied = found.applied.map_or(0, |id| id.index);
        let expected = self
            .digests
            .get(&applied)
            .copied()
            .unwrap_or_else(|| Reference::new().digest());
        assert_eq!(
            found.machine.digest(),
            expected,
            "seed {}: another state at {applied} {when}",
            self.seed
        );
        applied
    }

    async fn check_log(&mut self, applied: u64) {
        let state = self.log.get_log_state().await.unwrap();
        let purged = state.last_purged_log_id.map_or(0, |id| id.index);
        assert!(
            purged <= applied,
            "seed {}: purged {purged} beyond applied {applied}",
            self.seed
        );
        let found = self.log.try_get_log_entries(..).await.unwrap();
        for (offset, entry) in (0..).zip(&found) {
            let index = entry.log_id.index;
            assert_eq!(
                index,
                found[0].log_id.index + offset,
                "seed {}: a hole",
                self.seed
            );
            let expected = self
                .acknowledged
                .get(&index)
                .or_else(|| self.committed.iter().find(|old| old.log_id.index == index));
            match expected {
                Some(expected) => assert_eq!(
                    codec::encode_entry(entry),
                    codec::encode_entry(expected),
                    "seed {}",
                    self.seed
                ),
                None => assert!(
                    self.written
                        .get(&index)
                        .is_some_and(|entries| entries.contains(entry)),
                    "seed {}: nobody wrote {index}",
                    self.seed
                ),
            }
        }
        let last = found
            .last()
            .map_or(purged, |entry| entry.log_id.index)
            .max(applied);
        let promised = self
            .acknowledged
            .last_key_value()
            .map_or(0, |(index, _)| *index);
        assert!(
            last >= promised,
            "seed {}: acknowledged {promised}, found {last}",
            self.seed
        );
        let first = found.first().map_or(purged + 1, |entry| entry.log_id.index);
        assert!(
            first <= applied + 1 || first == 1,
            "seed {}: nothing between {applied} and {first}",
            self.seed
        );
        self.acknowledged = found
            .into_iter()
            .map(|entry| (entry.log_id.index, entry))
            .collect();
    }

    /// The state may have fallen back; its entries are applied again later.
    fn roll_back_to(&mut self, applied: u64) {
        let again: Vec<Entry> = self
            .committed
            .iter()
            .filter(|entry| entry.log_id.index > applied)
            .cloned()
            .collect();
        self.committed.retain(|entry| entry.log_id.index <= applied);
        self.acknowledged
            .extend(again.into_iter().map(|entry| (entry.log_id.index, entry)));
        self.reference = Reference::new();
        for entry in std::mem::take(&mut self.committed) {
            self.commit(vec![entry]);
        }
    }
}

async fn yielding(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}
