//! What the tests share: commands, a way to append and wait, directories.

use hessra_sled::{
    Engine, LogStore, Parts, SledEngine, StateMachine, Store, StoreError, TokioTypes,
};
use openraft::TokioRuntime;
use tempfile::TempDir;

pub type Log<E> = LogStore<E, TokioRuntime>;
pub type Machine<E> = StateMachine<E, TokioRuntime>;
pub type Types = TokioTypes;

pub fn open<E: Engine>(engine: E) -> Result<Parts<E, TokioRuntime>, StoreError> {
    Store::open(engine)
}

/// A fresh engine in a directory that lives as long as the guard.
pub fn fresh_sled() -> (TempDir, SledEngine) {
    let directory = TempDir::new().unwrap();
    let engine = SledEngine::open(&directory.path().join("data"), Default::default()).unwrap();
    (directory, engine)
}
