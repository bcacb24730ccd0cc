//! Memory engine, for tests and the simulation: it keeps pending and durable content apart, and its power can be cut.
//!
//! It is deterministic: it has a seed, and no clock and no thread. A sync completes at once, or when the simulation
//! lets it ([`MemoryEngine::deferring`]).
//!
//! ```
//! use hessra_sled::{Batch, Engine, MemoryEngine, Space, memory::Survival};
//! let engine = MemoryEngine::new(7);
//! let mut batch = Batch::default();
//! batch.put(Space::Marks, b"vote", b"for 2".to_vec());
//! engine.write(batch)?;
//! let restarted = engine.crash(Survival::Nothing);
//! assert_eq!(restarted.get(Space::Marks, b"vote")?, None, "nothing was synced");
//! # Ok::<(), hessra_sled::StoreError>(())
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::engine::{Batch, Done, Engine, Pair};
use crate::{Space, StoreError};

/// Callback that finishes one sync.
pub type Completion = Box<dyn FnOnce() + Send + 'static>;

/// Content of a disk: every record.
pub type Content = BTreeMap<(Space, Vec<u8>), Vec<u8>>;
type Defer = Arc<dyn Fn(Completion) + Send + Sync>;

/// Simulated disk with one life of a process on it. Clones are handles of the same life.
#[derive(Clone)]
pub struct MemoryEngine {
    disk: Arc<Mutex<Disk>>,
    life: u64,
    defer: Defer,
}

/// Part of the unsynced batches that is there after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// No batch: the harshest that a disk may do.
    Nothing,
    /// Every batch, as after `kill -9`.
    Everything,
    /// A prefix, chosen by the seed.
    Chance,
}

/// Fault that is injected. A real disk may do each but [`Fault::SyncLies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next write fails with an IO error, and with it everything after.
    WriteFails,
    /// Full disk; otherwise as [`Fault::WriteFails`].
    DiskFull,
    /// The next sync fails, and with it everything after.
    SyncFails,
    /// After so many more writes the process is as dead: every later call fails, and no more is written.
    DiesAfter(u64),
    /// Syncs that say "durable" from now on and do nothing: a planted bug.
    SyncLies,
}

/// Kind of damage to stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit of one value flips.
    FlippedBit,
    /// One record is gone.
    LostRecord,
    /// The last byte of one value is gone.
    CutRecord,
    /// One record is as it was before its last change, or gone if it had not been there.
    OldRecord,
}

struct Disk {
    durable: Content,
    visible: Content,
    /// Newest values that were overwritten or deleted, for [`Rot::OldRecord`].
    old: Content,
    /// Batches that are visible and not durable.
    pending: VecDeque<Batch>,
    written: u64,
    life: u64,
    random: u64,
    faults: Vec<Fault>,
    failed: Option<StoreError>,
}

impl MemoryEngine {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let disk = Disk {
            durable: Content::new(),
            visible: Content::new(),
            old: Content::new(),
            pending: VecDeque::new(),
            written: 0,
            life: 0,
            random: seed,
            faults: Vec::new(),
            failed: None,
        };
        Self {
            disk: Arc::new(Mutex::new(disk)),
            life: 0,
            defer: Arc::new(|completion| completion()),
        }
    }

    /// Hands every sync's completion to `defer`, which calls it when the disk is done: after a delay in virtual time.
    /// Completions may be called in any order; one that is called after a crash does nothing but fail.
    #[must_use]
    pub fn deferring(mut self, defer: impl Fn(Completion) + Send + Sync + 'static) -> Self {
        self.defer = Arc::new(defer);
        self
    }

    /// Ends this life: every later call on its handles fails. Returns a handle of the next life, with the content that
    /// survived.
    #[must_use]
    pub fn crash(&self, survival: Survival) -> Self {
        let mut disk = self.disk();
        let pending = disk.pending.len();
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Everything => pending,
            Survival::Chance => disk.below(pending as u64 + 1) as usize,
        };
        (0..kept).for_each(|_| disk.make_one_durable());
        disk.pending.clear();
        disk.visible = disk.durable.clone();
        disk.faults.clear();
        disk.failed = None;
        disk.life += 1;
        Self {
            disk: Arc::clone(&self.disk),
            life: disk.life,
            defer: Arc::clone(&self.defer),
        }
    }

    /// Another disk with the same content and nothing pending.
    #[must_use]
    pub fn fork(&self) -> Self {
        let disk = self.disk();
        let fork = Self::new(disk.random);
        let mut copy = fork.disk();
        copy.durable = disk.visible.clone();
        copy.visible = disk.visible.clone();
        copy.old = disk.old.clone();
        drop(copy);
        fork
    }

    /// Injects a fault.
    pub fn inject(&self, fault: Fault) {
        self.disk().faults.push(fault);
    }

    /// Damages one stored record; returns its name, or `None` when there is no record. `choice` picks it.
    pub fn rot(&self, rot: Rot, choice: u64) -> Option<(Space, Vec<u8>)> {
        let mut disk = self.disk();
        let place = (choice % disk.visible.len().max(1) as u64) as usize;
        let name = disk.visible.keys().nth(place)?.clone();
        let value = disk.visible.get(&name)?.clone();
        match rotten(rot, value, disk.old.get(&name), choice) {
            Some(value) => disk.set(&name, value),
            None => disk.unset(&name),
        }
        Some(name)
    }

    /// Content that is visible, for comparison.
    #[must_use]
    pub fn content(&self) -> Content {
        self.disk().visible.clone()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk
            .lock()
            .expect("no code panics while it holds the disk")
    }

    fn alive(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let disk = self.disk();
        if disk.life != self.life {
            return Err(StoreError::stopped("this process crashed"));
        }
        match &disk.failed {
            Some(error) => Err(error.clone()),
            None => Ok(disk),
        }
    }

    fn complete(&self, through: u64) -> Result<(), StoreError> {
        let mut disk = self.alive()?;
        disk.meet(Fault::SyncFails)?;
        if disk.faults.contains(&Fault::SyncLies) {
            return Ok(());
        }
        while disk.written - (disk.pending.len() as u64) < through {
            disk.make_one_durable();
        }
        Ok(())
    }
}

fn rotten(rot: Rot, mut value: Vec<u8>, old: Option<&Vec<u8>>, choice: u64) -> Option<Vec<u8>> {
    match rot {
        Rot::LostRecord => None,
        Rot::OldRecord => old.cloned(),
        Rot::CutRecord => value.pop().map(|_| value),
        Rot::FlippedBit => {
            let bit = (choice.rotate_left(32) % (value.len() as u64 * 8)) as usize;
            value[bit / 8] ^= 1 << (bit % 8);
            Some(value)
        }
    }
}

impl Disk {
    fn make_one_durable(&mut self) {
        let batch = self.pending.pop_front();
        batch
            .into_iter()
            .for_each(|batch| apply(&mut self.durable, batch, &mut Content::new()));
    }

    fn set(&mut self, name: &(Space, Vec<u8>), value: Vec<u8>) {
        self.visible.insert(name.clone(), value.clone());
        self.durable.insert(name.clone(), value);
    }

    fn unset(&mut self, name: &(Space, Vec<u8>)) {
        self.visible.remove(name);
        self.durable.remove(name);
    }

    /// Fails for good when this fault was injected.
    fn meet(&mut self, fault: Fault) -> Result<(), StoreError> {
        if !self.faults.contains(&fault) {
            return Ok(());
        }
        let kind = if fault == Fault::DiskFull {
            io::ErrorKind::StorageFull
        } else {
            io::ErrorKind::Other
        };
        let error = StoreError::io(
            "write to",
            "the simulated disk",
            io::Error::new(kind, "injected"),
        );
        self.failed = Some(error.clone());
        Err(error)
    }

    /// Counts a write against [`Fault::DiesAfter`].
    fn live_on(&mut self) -> Result<(), StoreError> {
        for fault in &mut self.faults {
            match fault {
                Fault::DiesAfter(0) => {
                    let error = StoreError::stopped("the simulated process died");
                    self.failed = Some(error.clone());
                    return Err(error);
                }
                Fault::DiesAfter(writes) => *writes -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): enough for picking, and ten lines.
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn apply(content: &mut Content, batch: Batch, old: &mut Content) {
    for (space, key, value) in batch.into_changes() {
        let name = (space, key);
        let before = match value {
            Some(value) => content.insert(name.clone(), value),
            None => content.remove(&name),
        };
        match before {
            Some(before) => old.insert(name, before),
            None => old.remove(&name),
        };
    }
}

impl Engine for MemoryEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.alive()?.visible.get(&(space, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        space: Space,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let disk = self.alive()?;
        let start = match after {
            Some(key) => Bound::Excluded((space, key.to_vec())),
            None => Bound::Included((space, Vec::new())),
        };
        let found = disk
            .visible
            .range((start, Bound::Unbounded))
            .take_while(|((at, _), _)| *at == space);
        Ok(found
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut disk = self.alive()?;
        disk.meet(Fault::WriteFails)?;
        disk.meet(Fault::DiskFull)?;
        disk.live_on()?;
        let Disk { visible, old, .. } = &mut *disk;
        apply(visible, batch.clone(), old);
        disk.pending.push_back(batch);
        disk.written += 1;
        Ok(())
    }

    fn sync(&self, done: Done) {
        let through = self.disk().written;
        let engine = self.clone();
        (self.defer)(Box::new(move || done(engine.complete(through))));
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        let disk = self.alive()?;
        Ok(disk
            .visible
            .iter()
            .map(|((_, key), value)| (key.len() + value.len()) as u64)
            .sum())
    }

    fn location(&self) -> String {
        "the simulated disk".to_owned()
    }
}
