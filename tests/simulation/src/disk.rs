//! One node's disk: the store's own crash-simulating engine, with syncs that take time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_consensus::WriteGuard;
use hessra_sled::MemoryEngine;
use hessra_sled::memory::{Fault, Survival};
use rand::Rng;

use crate::runtime::{Process, random};

/// Disk of one node, which stays when the node crashes.
pub struct Disk {
    engine: Mutex<MemoryEngine>,
    /// Copy of the disk as it was when a process on it ended, and the number of its starts by then.
    copy: Mutex<Option<(MemoryEngine, u64)>>,
    about_to_fail: AtomicBool,
    /// True while every sync takes long.
    slow: Arc<AtomicBool>,
    /// True while there is too little room for writes, as far as this node knows.
    low: AtomicBool,
}

impl Disk {
    /// Disk that is empty, and large.
    pub fn empty() -> Self {
        Self::of(MemoryEngine::new(random().r#gen()))
    }

    /// Disk with this content.
    pub fn of(engine: MemoryEngine) -> Self {
        Self {
            engine: Mutex::new(engine),
            copy: Mutex::default(),
            about_to_fail: AtomicBool::default(),
            slow: Arc::default(),
            low: AtomicBool::default(),
        }
    }

    /// Opens the disk for a new life, whose syncs take a few milliseconds, sometimes many.
    pub fn open(&self, process: Process) -> MemoryEngine {
        let mut engine = self.engine.lock().expect("one thread");
        let slow = Arc::clone(&self.slow);
        *engine = engine.clone().deferring(move |completion| {
            let slow = slow.load(Ordering::Relaxed);
            process.spawn(async move {
                tokio::time::sleep(sync_duration(slow)).await;
                completion();
            });
        });
        engine.clone()
    }

    /// Crashes as when the power goes: of what was not synced, chance keeps nothing, a beginning, or all.
    pub fn crash(&self) {
        let mut engine = self.engine.lock().expect("one thread");
        let survival = match random().gen_range(0..3) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Chance,
        };
        *engine = engine.crash(survival);
        self.about_to_fail.store(false, Ordering::Relaxed);
    }

    /// Keeps a copy of the disk, now and then.
    pub fn keep_copy(&self, starts: u64) {
        if random().gen_bool(0.5) {
            let copy = self.engine.lock().expect("one thread").fork();
            *self.copy.lock().expect("one thread") = Some((copy, starts));
        }
    }

    /// The copy that was kept last, and the number of starts that it knows.
    pub fn kept_copy(&self) -> Option<(MemoryEngine, u64)> {
        let copy = self.copy.lock().expect("one thread");
        copy.as_ref().map(|(copy, starts)| (copy.fork(), *starts))
    }

    /// Replaces the disk by another one.
    pub fn replace(&self, engine: MemoryEngine) {
        *self.engine.lock().expect("one thread") = engine;
    }

    /// Makes the next sync fail, and with it everything after, until the node is started again.
    pub fn fail_next_sync(&self) {
        self.engine
            .lock()
            .expect("one thread")
            .inject(Fault::SyncFails);
        self.about_to_fail.store(true, Ordering::Relaxed);
    }

    /// True when a fault was injected since the last crash.
    pub fn is_about_to_fail(&self) -> bool {
        self.about_to_fail.load(Ordering::Relaxed)
    }

    /// Makes every sync take long from now on, or as long as usual again.
    pub fn slow_down(&self, slow: bool) {
        self.slow.store(slow, Ordering::Relaxed);
    }

    /// Leaves too little room for writes from now on, or enough again.
    pub fn run_low(&self, low: bool) {
        self.low.store(low, Ordering::Relaxed);
    }

    /// True when there is too little room for writes.
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }
}

impl WriteGuard for Disk {
    fn refusal(&self) -> Option<String> {
        self.is_low()
            .then(|| "the simulated disk is full".to_owned())
    }
}

/// Duration of one sync.
pub fn sync_duration(slow: bool) -> Duration {
    let millis = match (slow, random().gen_bool(0.02)) {
        (true, _) => random().gen_range(300..1_200),
        (false, true) => random().gen_range(50..300),
        (false, false) => random().gen_range(1..6),
    };
    Duration::from_millis(millis)
}
