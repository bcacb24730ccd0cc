//! One node's disk: the store's own crash-simulating engine, with syncs that take time, and bugs planted around it.

use std::sync::Mutex;
use std::time::Duration;

use hessra_sled::engine::{Done, Pair};
use hessra_sled::memory::{Fault, Survival};
use hessra_sled::{Batch, Engine, MemoryEngine, Space, StoreError, layout::mark};
use rand::Rng;

use crate::plant::Plant;
use crate::runtime::{Process, random};

/// What stays when a node crashes.
pub struct Disk {
    engine: Mutex<MemoryEngine>,
    about_to_fail: Mutex<bool>,
    plant: Option<Plant>,
}

/// What one life of a node writes through.
#[derive(Clone)]
pub struct SimEngine {
    inner: MemoryEngine,
    plant: Option<Plant>,
}

impl Disk {
    /// Empty.
    pub fn new(plant: Option<Plant>) -> Self {
        Self {
            engine: Mutex::new(MemoryEngine::new(random().r#gen())),
            about_to_fail: Mutex::default(),
            plant,
        }
    }

    /// For a new life, whose syncs take a few milliseconds, sometimes many.
    pub fn open(&self, process: Process) -> SimEngine {
        let mut engine = self.engine.lock().expect("one thread");
        *engine = engine.clone().deferring(move |completion| {
            process.spawn(async move {
                let slow = random().gen_bool(0.02);
                let millis = if slow {
                    random().gen_range(50..300)
                } else {
                    random().gen_range(1..6)
                };
                tokio::time::sleep(Duration::from_millis(millis)).await;
                completion();
            });
        });
        SimEngine {
            inner: engine.clone(),
            plant: self.plant,
        }
    }

    /// The power goes: of what was not synced, chance keeps nothing, a beginning, or all.
    pub fn crash(&self) {
        let mut engine = self.engine.lock().expect("one thread");
        let survival = match random().gen_range(0..3) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Chance,
        };
        *engine = engine.crash(survival);
        *self.about_to_fail.lock().expect("one thread") = false;
    }

    /// The next sync fails, and with it everything after, until the node is started again.
    pub fn fail_next_sync(&self) {
        self.engine
            .lock()
            .expect("one thread")
            .inject(Fault::SyncFails);
        *self.about_to_fail.lock().expect("one thread") = true;
    }

    /// Was a fault injected since the last crash?
    pub fn is_about_to_fail(&self) -> bool {
        *self.about_to_fail.lock().expect("one thread")
    }
}

impl SimEngine {
    /// What a planted bug leaves of a batch.
    fn changed(&self, batch: Batch) -> Batch {
        let lost: Option<&[u8]> = match self.plant {
            Some(Plant::VoteNotSaved) => Some(mark::VOTE),
            Some(Plant::SnapshotWithoutLastApplied) => {
                is_installing(&batch).then_some(mark::APPLIED)
            }
            _ => None,
        };
        let Some(lost) = lost else { return batch };
        let mut kept = Batch::default();
        for (space, key, value) in batch.into_changes() {
            match value {
                // The vote has a copy in a space of its own.
                Some(_) if matches!(space, Space::Marks | Space::Copies) && key == lost => {}
                Some(value) => kept.put(space, key, value),
                None => kept.delete(space, key),
            }
        }
        kept
    }
}

/// Only an installation makes a snapshot current and says in the same batch how far the state is applied.
fn is_installing(batch: &Batch) -> bool {
    let puts = |name: &[u8]| {
        batch
            .changes()
            .iter()
            .any(|(space, key, value)| *space == Space::Marks && key == name && value.is_some())
    };
    puts(mark::SNAPSHOT) && puts(mark::APPLIED)
}

impl Engine for SimEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.inner.scan(space, from, limit)
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.inner.write(self.changed(batch))
    }

    fn sync(&self, done: Done) {
        if self.plant == Some(Plant::AckBeforeFsync) {
            self.inner.sync(Box::new(|_| {}));
            return done(Ok(()));
        }
        self.inner.sync(done);
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.inner.size_on_disk()
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
