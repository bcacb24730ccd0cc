//! Starts: each process on a store has a number and a name of its own, durable before the store is used.

use hessra_sled::memory::Survival;
use hessra_sled::{MemoryEngine, StoreError, Vote};
use hessra_state::{Incarnation, Line, Start};
use openraft::storage::RaftLogStorage as _;

use crate::support::{Log, block_on, open};

fn begin(log: &mut Log<MemoryEngine>, number: u8) -> Result<Start, StoreError> {
    block_on(log.begin([[number; 16], [number + 100; 16]]))
}

#[test]
fn a_store_keeps_its_name_and_counts_its_starts() {
    let mut engine = MemoryEngine::new(1);
    for number in 1..=3 {
        let (mut log, _machine) = open(engine.clone()).unwrap();
        let start = begin(&mut log, number).unwrap();
        assert_eq!(
            start,
            Start {
                incarnation: Incarnation([1; 16]),
                count: number.into(),
                nonce: [number + 100; 16],
                line: Line {
                    number: 1,
                    nonce: [101; 16],
                },
                after: Line::default(),
                earlier: earlier(number),
            }
        );
        drop(log);
        engine = engine.crash(Survival::Nothing);
    }
}

/// The starts before one, the last one first.
fn earlier(number: u8) -> [u64; 8] {
    let before = (1..number).rev();
    let mut named = before.map(|number| u64::from_be_bytes([number + 100; 8]));
    std::array::from_fn(|_| named.next().unwrap_or(0))
}

#[test]
fn a_log_without_the_name_of_its_store_is_not_taken_for_a_new_one() {
    let engine = MemoryEngine::new(1);
    let (mut log, _machine) = open(engine.clone()).unwrap();
    block_on(log.save_vote(&Vote::new(3, 1))).unwrap();
    let refused = begin(&mut log, 1).unwrap_err();
    assert!(matches!(refused, StoreError::Outdated { .. }), "{refused}");
}
