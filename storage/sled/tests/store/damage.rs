//! Rot: a stored record that is not as it was written is found and named, or what is served is the same. Never anything
//! else, whatever sled makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hessra_sled::layout::mark;
use hessra_sled::memory::Rot;
use hessra_sled::{Batch, Engine, MemoryEngine, Space, StoreError};
use openraft::storage::RaftStateMachine;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::support::{Contents, append, block_on, contents, entries, furnish, open, open_sled};

/// Trials over real files; `HESSRA_BIT_FLIPS` sets another number.
const FLIPS: u64 = 100;

#[test]
fn rot_in_any_record_is_named_or_harmless() {
    let engine = MemoryEngine::new(1);
    block_on(furnish(open(engine.clone()).unwrap()));
    let before = block_on(contents(open(engine.fork()).unwrap())).unwrap();
    let mut harmless: BTreeMap<String, u64> = BTreeMap::new();
    let (mut trials, mut named) = (0, 0);
    for rot in [
        Rot::FlippedBit,
        Rot::LostRecord,
        Rot::CutRecord,
        Rot::OldRecord,
    ] {
        for choice in 0..engine.content().len() as u64 * 3 {
            let damaged = engine.fork();
            let place = damaged
                .rot(
                    rot,
                    choice
                        .wrapping_mul(0x9e37_79b9_0000_0001)
                        .wrapping_add(choice),
                )
                .unwrap();
            trials += 1;
            match look(|| open(damaged)) {
                Ok(found) if (rot, &*place.1) == (Rot::OldRecord, mark::APPLIED) => {
                    fell_back(&found, &before);
                }
                Ok(found) => {
                    assert!(found == before, "{rot:?} of {place:?} was served");
                    *harmless
                        .entry(format!("{rot:?} in {}", place.0))
                        .or_default() += 1;
                }
                Err(error) => {
                    assert!(
                        error.contains("damaged data in the simulated disk"),
                        "{rot:?} of {place:?}: {error}"
                    );
                    named += 1;
                }
            }
        }
    }
    println!("{trials} damages: {named} named; harmless: {harmless:?}");
    assert!(
        named * 10 > trials * 9,
        "most records matter: {named} of {trials} named, {harmless:?}"
    );
}

/// An old mark is the crash that came before the newer one: the state of an earlier entry, and the whole log to go on with.
fn fell_back(found: &Contents, before: &Contents) {
    assert!(found.applied < before.applied);
    let index = found.applied.unwrap().index;
    let (_, mut machine) = open(MemoryEngine::new(1)).unwrap();
    let applied = entries(1, 1..=index.min(55)).into_iter();
    let applied = applied.chain(entries(2, 56..=index));
    block_on(machine.apply(applied)).unwrap();
    let published = machine.watch().borrow().clone();
    let fallen = Contents {
        vote: before.vote,
        purged: before.purged,
        last: before.last,
        entries: before.entries.clone(),
        applied: found.applied,
        membership: published.membership.to_string(),
        digest: machine.remembered().image().machine.digest(),
        snapshot: before.snapshot.clone(),
    };
    assert_eq!(*found, fallen);
}

/// Log of a binary that applied an entry otherwise than the one before it: unacknowledged history is not served.
#[test]
fn a_log_that_makes_another_history_than_it_had_made_is_refused() {
    let history = |term| {
        let engine = MemoryEngine::new(1);
        block_on(async {
            let (mut log, mut machine) = open(engine.clone()).unwrap();
            let entries = [entries(1, 1..=1), entries(term, 2..=20)].concat();
            append(&mut log, entries.clone()).await;
            machine.apply(entries).await.unwrap();
        });
        engine
    };
    let (engine, other) = (history(1), history(2));
    let mark = other.get(Space::Marks, mark::APPLIED).unwrap().unwrap();
    let mut batch = Batch::default();
    batch.put(Space::Marks, mark::APPLIED, mark);
    engine.write(batch).unwrap();
    let error = open(engine).map(drop).unwrap_err().to_string();
    assert!(error.contains("made another history"), "{error}");
}

#[test]
fn a_damaged_record_is_named_with_file_record_and_next_step() {
    let engine = MemoryEngine::new(1);
    block_on(furnish(open(engine.clone()).unwrap()));
    let content = engine.content();
    let place = content
        .keys()
        .position(|(space, key)| space.name() == "marks" && key == b"vote")
        .unwrap();
    engine.rot(Rot::FlippedBit, place as u64).unwrap();
    let error = open(engine).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }));
    assert_eq!(
        error.to_string(),
        "damaged data in the simulated disk, marks record vote: its checksum does not match. This node must not vote: \
         remove it from the cluster and add it again under a new id with an empty data directory"
    );
}

#[test]
fn flipped_bits_in_real_files_are_named_or_harmless() {
    let flips = std::env::var("HESSRA_BIT_FLIPS").map_or(FLIPS, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let pristine = directory.path().join("pristine");
    furnish_sled(&pristine);
    let before = look(|| open(open_sled(&pristine)?)).unwrap();
    let files = files_below(&pristine);
    let work = directory.path().join("work");
    copy(&pristine, &files, &work);
    assert!(
        look(|| open(open_sled(&work)?)).unwrap() == before,
        "a copy without flips is the same"
    );
    let (mut named, mut harmless) = (BTreeMap::new(), 0);
    for seed in 0..flips {
        let mut random = SmallRng::seed_from_u64(seed);
        copy(&pristine, &files, &work);
        // A copy that was opened before starts from sled's own table of pages, another one from the data alone.
        if seed % 2 == 0 {
            drop(open_sled(&work).unwrap());
        }
        let flipped = flip(&work, &mut random);
        match look(|| open(open_sled(&work)?)) {
            Ok(found) => {
                assert_eq!(found, before, "seed {seed}: {flipped:?} was served");
                harmless += 1;
            }
            Err(error) => *named.entry(kind(&error)).or_insert(0) += 1,
        }
    }
    println!("{flips} times one to three bits: {harmless} harmless, named: {named:#?}");
    assert!(
        named.values().sum::<u64>() > flips / 4,
        "too few of the flips met anything: {named:?}"
    );
}

/// Opens twice with work in between, so that sled has pages of several ages and a snapshot of its own.
fn furnish_sled(path: &Path) {
    block_on(furnish(open(open_sled(path).unwrap()).unwrap()));
    let (mut log, _machine) = open(open_sled(path).unwrap()).unwrap();
    block_on(crate::support::append(
        &mut log,
        crate::support::entries(2, 98..=140),
    ));
}

fn look<E: hessra_sled::Engine>(
    open: impl FnOnce() -> Result<hessra_sled::Parts<E, openraft::TokioRuntime>, StoreError>,
) -> Result<Contents, String> {
    let opened = open().map_err(|error| error.to_string())?;
    block_on(contents(opened))
}

/// Text of a message, without the place.
fn kind(error: &str) -> String {
    let digits = |part: &str| {
        part.chars()
            .filter(|character| !character.is_ascii_digit())
            .collect::<String>()
    };
    error
        .split(": ")
        .nth(1)
        .map(digits)
        .unwrap_or_else(|| error.to_owned())
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path))
        } else {
            files.push(path)
        }
    }
    files.retain(|path| path.file_name().is_some_and(|name| name != "LOCK"));
    files.sort();
    files
}

fn copy(from: &Path, files: &[PathBuf], to: &Path) {
    let _ = fs::remove_dir_all(to);
    for file in files {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

/// Flips bits in one file: mostly the data file, at bytes that say something.
fn flip(path: &Path, random: &mut SmallRng) -> Vec<(PathBuf, usize)> {
    let files = files_below(path);
    let data = files.iter().position(|path| path.ends_with("sled/db"));
    let chosen = if random.gen_bool(0.8) {
        data.unwrap()
    } else {
        random.gen_range(0..files.len())
    };
    let mut bytes = fs::read(&files[chosen]).unwrap();
    let telling: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut flipped = Vec::new();
    for _ in 0..random.gen_range(1..=3) {
        let at = telling[random.gen_range(0..telling.len())];
        bytes[at] ^= 1 << random.gen_range(0..8);
        flipped.push((files[chosen].clone(), at));
    }
    // Over the old bytes: rot does not make a new file.
    fs::write(&files[chosen], bytes).unwrap();
    flipped
}
