//! Files that sled derives from its data file: whatever happens to them costs no data; what happens to the data file
//! itself is refused, and named.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hessra_sled::{Batch, Engine, Identity, OpenOptions, SledEngine, Space, StoreError};
use openraft::storage::RaftLogStorage;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tempfile::TempDir;
use tracing::field::{Field, Visit};

use crate::support::{Contents, append, block_on, contents, entries, furnish, open};

fn options(id: u8) -> OpenOptions {
    OpenOptions {
        identity: Some(Identity {
            cluster: "blue".to_owned(),
            node: 1,
        }),
        new_id: [id; 16],
        ..OpenOptions::default()
    }
}

fn look(path: &Path) -> Result<Contents, String> {
    let engine = SledEngine::open(path, options(9)).map_err(|error| error.to_string())?;
    block_on(contents(open(engine).map_err(|error| error.to_string())?))
}

/// A directory with a table of pages, an older table of it, and a table of another directory.
struct Fixture {
    _root: TempDir,
    pristine: PathBuf,
    work: PathBuf,
    before: Contents,
    table: String,
    old_table: (String, Vec<u8>),
    foreign_table: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let [pristine, other, work] =
            ["pristine", "other", "work"].map(|name| root.path().join(name));
        for (path, id) in [(&pristine, 1), (&other, 2)] {
            block_on(furnish(
                open(SledEngine::open(path, options(id)).unwrap()).unwrap(),
            ));
        }
        // The second opening writes the first table.
        grow(&pristine, 98..=120);
        let old_table = only_table(&pristine);
        grow(&pristine, 121..=140);
        grow(&other, 98..=99);
        look(&pristine).unwrap();
        look(&other).unwrap();
        let before = look(&pristine).unwrap();
        let table = only_table(&pristine).0;
        assert!(table > old_table.0, "the tables are of different times");
        Self {
            foreign_table: only_table(&other).1,
            _root: root,
            pristine,
            work,
            before,
            table,
            old_table,
        }
    }

    /// A copy that was opened once, so that its derived files are its own.
    fn settled(&self) -> PathBuf {
        self.copied();
        assert!(look(&self.work).unwrap() == self.before);
        forget_aside(&self.work);
        self.work.join("sled")
    }

    /// A copy that was never opened: nothing proves its derived files.
    fn copied(&self) -> PathBuf {
        let _ = fs::remove_dir_all(&self.work);
        copy_all(&self.pristine, &self.work);
        self.work.join("sled")
    }
}

fn grow(path: &Path, indices: std::ops::RangeInclusive<u64>) {
    let (mut log, _machine) = open(SledEngine::open(path, options(9)).unwrap()).unwrap();
    for index in indices {
        block_on(append(&mut log, entries(2, [index])));
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn only_table(path: &Path) -> (String, Vec<u8>) {
    let sled = path.join("sled");
    let tables: Vec<String> = names(&sled)
        .into_iter()
        .filter(|name| name.starts_with("snap."))
        .collect();
    let [table] = tables.as_slice() else {
        panic!("one table, not {tables:?}")
    };
    (table.clone(), fs::read(sled.join(table)).unwrap())
}

fn forget_aside(path: &Path) {
    let _ = fs::remove_dir_all(path.join("set-aside"));
}

/// Damage to the files in sled's directory.
type Damage = Box<dyn Fn(&Fixture, &Path)>;

fn damage(name: &str, act: impl Fn(&Fixture, &Path) + 'static) -> (String, Damage) {
    (name.to_owned(), Box::new(act))
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    SmallRng::seed_from_u64(7).fill_bytes(&mut noise);
    noise
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 1 << (at % 8);
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

const LAST: &str = "snap.7FFFFFFFFFE00000";

fn damages_to_derived_files() -> Vec<(String, Damage)> {
    let mut all = vec![
        damage("an empty table", |fixture, sled| {
            cut(&sled.join(&fixture.table), 0)
        }),
        damage("a table of noise", |fixture, sled| {
            fs::write(sled.join(&fixture.table), noise(900)).unwrap();
        }),
        damage("no table", |fixture, sled| {
            fs::remove_file(sled.join(&fixture.table)).unwrap();
        }),
        damage("an old table instead", |fixture, sled| {
            fs::remove_file(sled.join(&fixture.table)).unwrap();
            fs::write(sled.join(&fixture.old_table.0), &fixture.old_table.1).unwrap();
        }),
        damage("an old table under the newer name", |fixture, sled| {
            fs::write(sled.join(&fixture.table), &fixture.old_table.1).unwrap();
        }),
        damage("an old table too", |fixture, sled| {
            fs::write(sled.join(&fixture.old_table.0), &fixture.old_table.1).unwrap();
        }),
        damage(
            "the table twice, once for the end of time",
            |fixture, sled| {
                fs::copy(sled.join(&fixture.table), sled.join(LAST)).unwrap();
            },
        ),
        damage("the table of another directory", |fixture, sled| {
            fs::write(sled.join(&fixture.table), &fixture.foreign_table).unwrap();
        }),
        damage("the table of another directory too", |fixture, sled| {
            fs::write(sled.join(LAST), &fixture.foreign_table).unwrap();
        }),
        damage("a directory with the name of a table", |_, sled| {
            fs::create_dir(sled.join(LAST)).unwrap();
        }),
        damage("no settings", |_, sled| {
            fs::remove_file(sled.join("conf")).unwrap()
        }),
        damage("empty settings", |_, sled| cut(&sled.join("conf"), 0)),
        damage("cut settings", |_, sled| cut(&sled.join("conf"), 9)),
        damage("settings of noise", |_, sled| {
            fs::write(sled.join("conf"), noise(20)).unwrap()
        }),
        damage("no record of them", |_, sled| {
            fs::remove_file(sled.join("../DERIVED")).unwrap();
        }),
        damage("an empty record of them", |_, sled| {
            cut(&sled.join("../DERIVED"), 0)
        }),
        damage("a flipped bit in the record", |_, sled| {
            flip(&sled.join("../DERIVED"), 99)
        }),
        damage("nothing but the data", |fixture, sled| {
            for name in [&*fixture.table, "conf", "../DERIVED"] {
                fs::remove_file(sled.join(name)).unwrap();
            }
            fs::remove_dir(sled.join("blobs")).unwrap();
        }),
    ];
    for bytes in [1, 12, 13, 100] {
        all.push(damage(
            &format!("a table cut to {bytes} bytes"),
            move |fixture, sled| {
                cut(&sled.join(&fixture.table), bytes);
            },
        ));
    }
    all.push(damage("a table cut by a byte", |fixture, sled| {
        let path = sled.join(&fixture.table);
        cut(&path, fs::metadata(&path).unwrap().len() - 1);
    }));
    for at in [0, 5, 77, 1_001] {
        all.push(damage(
            &format!("a flipped bit in a table at {at}"),
            move |fixture, sled| {
                flip(&sled.join(&fixture.table), at);
            },
        ));
    }
    for above in [false, true] {
        let name = move |fixture: &Fixture| {
            let table = if above { LAST } else { &*fixture.table };
            format!("{table}.generating")
        };
        let place = if above { "above" } else { "beside" };
        all.push(damage(
            &format!("an empty leftover {place}"),
            move |fixture, sled| {
                fs::write(sled.join(name(fixture)), "").unwrap();
            },
        ));
        all.push(damage(
            &format!("a leftover of noise {place}"),
            move |fixture, sled| {
                fs::write(sled.join(name(fixture)), noise(500)).unwrap();
            },
        ));
        all.push(damage(
            &format!("a whole leftover {place}"),
            move |fixture, sled| {
                fs::copy(sled.join(&fixture.table), sled.join(name(fixture))).unwrap();
            },
        ));
        all.push(damage(
            &format!("a cut leftover {place}"),
            move |fixture, sled| {
                let whole = fs::read(sled.join(&fixture.table)).unwrap();
                fs::write(sled.join(name(fixture)), &whole[..whole.len() / 2]).unwrap();
            },
        ));
        all.push(damage(
            &format!("a foreign leftover {place}"),
            move |fixture, sled| {
                fs::write(sled.join(name(fixture)), &fixture.foreign_table).unwrap();
            },
        ));
        all.push(damage(
            &format!("a leftover {place} and no table"),
            move |fixture, sled| {
                fs::rename(sled.join(&fixture.table), sled.join(name(fixture))).unwrap();
            },
        ));
    }
    all
}

#[test]
fn whatever_happens_to_a_derived_file_costs_no_data() {
    let fixture = Fixture::new();
    let mut wrong = Vec::new();
    for (name, damage) in damages_to_derived_files() {
        for is_settled in [true, false] {
            let sled = if is_settled {
                fixture.settled()
            } else {
                fixture.copied()
            };
            damage(&fixture, &sled);
            let context = format!("{name}, settled {is_settled}");
            match look(&fixture.work) {
                Ok(found) if found == fixture.before => {}
                Ok(_) => wrong.push(format!("{context}: other data was served")),
                Err(error) => wrong.push(format!("{context}: {error}")),
            }
            if wrong.is_empty() {
                goes_on(&fixture, &context);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The directory is as any other afterwards: nothing more is set aside, and what is written is there.
fn goes_on(fixture: &Fixture, context: &str) {
    let aside = names(&fixture.work.join("set-aside"));
    grow(&fixture.work, 141..=142);
    let grown = look(&fixture.work).unwrap();
    assert_eq!(grown.last.unwrap().index, 142, "{context}");
    assert_eq!(grown.vote, fixture.before.vote, "{context}");
    assert_eq!(names(&fixture.work.join("set-aside")), aside, "{context}");
    assert!(!fixture.work.join("rehearsal").exists(), "{context}");
}

/// Several segments, of which some are free or are used a second time: what a wrong table makes sled overwrite.
#[test]
fn a_table_of_another_directory_overwrites_nothing() {
    let root = tempfile::tempdir().unwrap();
    let [ours, theirs] = [(1, "ours"), (2, "theirs")].map(|(id, name)| {
        let path = root.path().join(name);
        for round in 0..3 {
            fill(
                &SledEngine::open(&path, options(id)).unwrap(),
                u64::from(id) * 10 + round,
            );
        }
        drop(SledEngine::open(&path, options(id)).unwrap());
        path
    });
    let all = |path: &Path| {
        let engine = SledEngine::open(path, options(9)).unwrap();
        let scan = |space| engine.scan(space, None, usize::MAX).unwrap();
        Space::ALL.map(scan)
    };
    let before = all(&ours);
    let bytes = fs::metadata(ours.join("sled/db")).unwrap().len();
    assert!(
        bytes > 4 * 2 * 1024 * 1024,
        "{bytes} bytes are few segments"
    );
    let foreign = only_table(&theirs).1;
    for name in [
        only_table(&ours).0,
        LAST.to_owned(),
        format!("{LAST}.generating"),
    ] {
        fs::write(ours.join("sled").join(&name), &foreign).unwrap();
        assert!(all(&ours) == before, "{name}");
        fs::remove_file(ours.join("sled").join(only_table(&ours).0)).unwrap();
        assert!(all(&ours) == before, "no table after {name}");
    }
}

fn fill(engine: &SledEngine, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    for step in 0..60 {
        let mut value = vec![0; 60_000];
        random.fill_bytes(&mut value);
        let mut batch = Batch::default();
        batch.put(Space::Log, [random.gen_range(0..90), 0], value);
        if step % 9 == 8 {
            batch.delete(Space::Log, [random.gen_range(0..90), 0]);
        }
        engine.write(batch).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        engine.sync(Box::new(move |outcome| tell.send(outcome).unwrap()));
        told.recv().unwrap().unwrap();
    }
}

#[test]
fn a_damaged_data_file_is_refused_and_named_whatever_tables_there_are() {
    let fixture = Fixture::new();
    let bytes = fs::metadata(fixture.pristine.join("sled/db"))
        .unwrap()
        .len();
    let telling = fs::read(fixture.pristine.join("sled/db")).unwrap();
    let end = telling.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let mut refused = 0;
    let mut trials: Vec<(String, bool, Damage)> = Vec::new();
    for at in [0, 1, 20, end / 3, end / 2] {
        let at = at.min(bytes);
        trials.push((
            format!("cut to {at}"),
            true,
            Box::new(move |_, sled| cut(&sled.join("db"), at)),
        ));
    }
    for part in 1..24 {
        let at = (end * part / 24) as usize;
        trials.push((
            format!("flipped at {at}"),
            false,
            Box::new(move |_, sled| flip(&sled.join("db"), at)),
        ));
    }
    for (name, is_sure, act) in trials {
        for (state, has_table) in [("settled", true), ("settled", false), ("copied", true)] {
            let sled = if state == "settled" {
                fixture.settled()
            } else {
                fixture.copied()
            };
            if !has_table {
                fs::remove_file(sled.join(&fixture.table)).unwrap();
            }
            act(&fixture, &sled);
            let damaged = fs::read(sled.join("db")).unwrap();
            let context = format!("{name}, {state}, table {has_table}");
            match look(&fixture.work) {
                Ok(found) => assert!(!is_sure && found == fixture.before, "{context} was served"),
                Err(error) => {
                    let file = fixture.work.join("sled/db").display().to_string();
                    assert!(
                        error.starts_with(&format!("damaged data in {file}, ")),
                        "{context}: {error}"
                    );
                    let is_proven = state == "settled" && has_table;
                    let is_untouched = fs::read(sled.join("db")).unwrap() == damaged;
                    // What passes the flush number is opened in place, and refused by the walk of the store.
                    assert!(
                        is_proven || is_untouched || !error.contains(", sequence: "),
                        "{context}: {error}"
                    );
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 25, "{refused} refused");
}

#[test]
fn what_is_set_aside_is_told_and_bounded() {
    let fixture = Fixture::new();
    let sled = fixture.settled();
    for round in 1..=20_u8 {
        let leftover = format!("{}.generating", fixture.table);
        fs::write(sled.join(&leftover), [round]).unwrap();
        let heard = hear(|| look(&fixture.work)).1;
        let told = |part: &str| heard.iter().any(|line| line.contains(part));
        assert!(
            told(&leftover) && told("set-aside") && told("nothing is lost"),
            "{heard:?}"
        );
        let aside = fixture.work.join("set-aside");
        let kept = aside.join(format!("{leftover}.{round}"));
        assert_eq!(fs::read(kept).unwrap(), [round]);
        assert!(names(&aside).len() <= 8, "{:?}", names(&aside));
    }
    let (found, heard) = hear(|| look(&fixture.work));
    assert!(found.unwrap() == fixture.before);
    assert_eq!(
        heard,
        Vec::<String>::new(),
        "nothing is told where there is nothing"
    );
}

/// A crash between sled's new table and the record of it.
#[test]
fn a_table_that_was_not_recorded_yet_is_as_good_as_none() {
    let fixture = Fixture::new();
    fixture.settled();
    let recorded = fs::read(fixture.work.join("DERIVED")).unwrap();
    grow(&fixture.work, 141..=150);
    let grown = look(&fixture.work).unwrap();
    fs::write(fixture.work.join("DERIVED"), recorded).unwrap();
    assert!(look(&fixture.work).unwrap() == grown);
}

/// The copy is given up by a crash, and has no say.
#[test]
fn a_copy_that_a_crash_left_is_removed() {
    let fixture = Fixture::new();
    fixture.settled();
    copy_all(
        &fixture.work.join("sled"),
        &fixture.work.join("rehearsal/0"),
    );
    assert!(look(&fixture.work).unwrap() == fixture.before);
    assert!(!fixture.work.join("rehearsal").exists());
}

#[test]
fn the_number_of_the_last_flush_is_asked_of_a_copy_too() {
    let fixture = Fixture::new();
    let sled = fixture.settled();
    let old = fs::read(sled.join("db")).unwrap();
    grow(&fixture.work, 141..=150);
    fs::write(sled.join("db"), &old).unwrap();
    fs::remove_file(sled.join(only_table(&fixture.work).0)).unwrap();
    let error = SledEngine::open(&fixture.work, options(9))
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(
        error.to_string().contains("or it is of an earlier time"),
        "{error}"
    );
    assert!(fs::read(sled.join("db")).unwrap() == old, "it is as it was");
    // With the rest of its time it is whole.
    fs::remove_file(fixture.work.join("MARK")).unwrap();
    fs::copy(fixture.pristine.join("MARK"), fixture.work.join("MARK")).unwrap();
    let engine = SledEngine::open(&fixture.work, options(9)).unwrap();
    let (mut log, _machine) = open(engine).unwrap();
    let last = block_on(log.get_log_state()).unwrap().last_log_id;
    assert_eq!(last, fixture.before.last);
}

/// Runs `act`, and returns the warnings that were told in it.
fn hear<T>(act: impl FnOnce() -> T) -> (T, Vec<String>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let done = tracing::subscriber::with_default(Ear(Arc::clone(&heard)), act);
    let heard = heard.lock().unwrap().clone();
    (done, heard)
}

struct Ear(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Ear {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN && metadata.target().starts_with("hessra_sled")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}
