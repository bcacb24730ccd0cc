//! openraft's own suite for storage implementations.

use std::sync::atomic::{AtomicU64, Ordering};

use hessra_sled::{MemoryEngine, SledEngine};
use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::support::{Log, Machine, Types, fresh_sled, open};

struct OverMemory(AtomicU64);
struct OverSled;

impl StoreBuilder<Types, Log<MemoryEngine>, Machine<MemoryEngine>, ()> for OverMemory {
    async fn build(
        &self,
    ) -> Result<((), Log<MemoryEngine>, Machine<MemoryEngine>), StorageError<u64>> {
        let seed = self.0.fetch_add(1, Ordering::Relaxed);
        let (log, machine) = open(MemoryEngine::new(seed)).unwrap();
        Ok(((), log, machine))
    }
}

impl StoreBuilder<Types, Log<SledEngine>, Machine<SledEngine>, TempDir> for OverSled {
    async fn build(
        &self,
    ) -> Result<(TempDir, Log<SledEngine>, Machine<SledEngine>), StorageError<u64>> {
        let (directory, engine) = fresh_sled();
        let (log, machine) = open(engine).unwrap();
        Ok((directory, log, machine))
    }
}

#[test]
fn openrafts_suite_passes_over_memory() {
    Suite::test_all(OverMemory(AtomicU64::new(1))).unwrap();
}

#[test]
fn openrafts_suite_passes_over_sled() {
    Suite::test_all(OverSled).unwrap();
}
