//! Parts of a data directory: what was not made together is not opened together, and what is gone is named.

use std::fs;
use std::path::{Path, PathBuf};

use hessra_sled::{Identity, OpenOptions, SledEngine, StoreError, Vote};
use openraft::storage::RaftLogStorage;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::{append, block_on, entries, open};

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

/// Makes a directory in which the last entry is `last`.
fn made(path: &Path, options: impl Fn() -> OpenOptions, last: u64) {
    for range in [1..=last / 2, last / 2 + 1..=last] {
        let (mut log, _machine) = open(SledEngine::open(path, options()).unwrap()).unwrap();
        block_on(async {
            log.save_vote(&Vote::new(1, 1)).await.unwrap();
            append(&mut log, entries(1, range)).await;
        });
    }
    drop(SledEngine::open(path, options()).unwrap());
}

fn last(path: &Path, options: OpenOptions) -> Result<u64, StoreError> {
    let (mut log, _machine) = open(SledEngine::open(path, options)?)?;
    let state = block_on(log.get_log_state()).unwrap();
    Ok(state.last_log_id.map_or(0, |id| id.index))
}

fn refused(path: &Path) -> StoreError {
    last(path, options(7))
        .map(|last| panic!("it ends at {last}"))
        .unwrap_err()
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy_all(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else if path.exists() {
        fs::remove_file(path).unwrap();
    }
}

/// Every file below, with its content.
fn all(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all(&path));
        } else if !path.ends_with("LOCK") {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// Two directories of the same node of the same cluster, of which neither knows the other.
struct Two {
    root: TempDir,
    ours: PathBuf,
    theirs: PathBuf,
}

fn two() -> Two {
    let root = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| root.path().join(name));
    made(&ours, || options(1), 40);
    made(&theirs, || options(2), 60);
    Two { root, ours, theirs }
}

#[test]
fn parts_of_two_directories_are_not_opened_together() {
    let Two { root, ours, theirs } = two();
    let work = root.path().join("work");
    let parts = ["IDENTITY", "MARK", "sled/db", "DERIVED", "tables"];
    for choice in 0_u32..1 << parts.len() {
        for (base, other, end) in [(&ours, &theirs, 40), (&theirs, &ours, 60)] {
            remove(&work);
            copy_all(base, &work);
            let foreign: Vec<&str> = (0..)
                .zip(parts)
                .filter(|(bit, _)| choice & 1 << bit != 0)
                .map(|(_, part)| part)
                .collect();
            for part in &foreign {
                replace(part, other, &work);
            }
            let of_other = foreign
                .iter()
                .filter(|part| parts[..3].contains(part))
                .count();
            let before = all(&work);
            match (of_other, last(&work, options(7))) {
                (0, found) => assert_eq!(
                    found.unwrap(),
                    end,
                    "derived files decide nothing: {foreign:?}"
                ),
                (3, found) => assert_eq!(
                    found.unwrap(),
                    100 - end,
                    "it is the other directory: {foreign:?}"
                ),
                (_, Err(error)) => {
                    let text = error.to_string();
                    assert!(
                        matches!(error, StoreError::Mixed { .. }),
                        "{foreign:?}: {text}"
                    );
                    for expected in [
                        &*work.display().to_string(),
                        "do not belong together",
                        "must not vote",
                        " is of directory ",
                    ] {
                        assert!(text.contains(expected), "{foreign:?}: {text}");
                    }
                    let data = |files: Vec<(PathBuf, Vec<u8>)>| {
                        files
                            .into_iter()
                            .find(|(path, _)| path.ends_with("sled/db"))
                    };
                    assert!(
                        data(all(&work)) == data(before),
                        "the data of {foreign:?} was changed"
                    );
                }
                (_, Ok(found)) => panic!("{foreign:?} was served, up to {found}"),
            }
        }
    }
}

/// Puts a part of one directory into another one, as a person would.
fn replace(part: &str, from: &Path, to: &Path) {
    if part != "tables" {
        // Over the old one: the file keeps its inode.
        fs::copy(from.join(part), to.join(part)).unwrap();
        return;
    }
    let tables = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path.join("sled")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("snap.")
            })
            .collect()
    };
    tables(to).iter().for_each(|table| remove(table));
    for table in tables(from) {
        fs::copy(&table, to.join("sled").join(table.file_name().unwrap())).unwrap();
    }
}

#[test]
fn what_is_gone_is_named_and_no_empty_node_is_made_of_the_rest() {
    let Two { root, ours, .. } = two();
    let work = root.path().join("work");
    let parts = [
        ("IDENTITY", "IDENTITY"),
        ("MARK", "MARK"),
        ("sled/db", "sled"),
        ("sled/db", "sled/db"),
    ];
    for choice in 1_u32..1 << parts.len() {
        remove(&work);
        copy_all(&ours, &work);
        let mut gone: Vec<&str> = Vec::new();
        for (bit, (name, path)) in (0..).zip(parts) {
            if choice & 1 << bit != 0 {
                remove(&work.join(path));
                gone.push(name);
            }
        }
        gone.dedup();
        let error = refused(&work);
        let text = error.to_string();
        assert!(
            matches!(error, StoreError::Incomplete { .. }),
            "{gone:?}: {text}"
        );
        assert!(
            text.contains(&format!("Missing: {}. There: ", gone.join(" and "))),
            "{gone:?}: {text}"
        );
        assert!(
            text.contains("must not vote") && text.contains("put back"),
            "{text}"
        );
        // What is put back makes it whole.
        for (_, path) in parts {
            copy_all(&ours.join(path), &work.join(path));
        }
        assert_eq!(last(&work, options(7)).unwrap(), 40, "{gone:?}");
    }
}

#[test]
fn an_earlier_data_file_of_the_same_directory_is_refused_by_its_name() {
    let root = tempfile::tempdir().unwrap();
    let [path, earlier] = ["now", "earlier"].map(|name| root.path().join(name));
    made(&path, || options(1), 40);
    copy_all(&path, &earlier);
    made_longer(&path, 41..=50);
    // An earlier mark says less, and accuses nobody.
    let mark = fs::read(path.join("MARK")).unwrap();
    fs::copy(earlier.join("MARK"), path.join("MARK")).unwrap();
    assert_eq!(last(&path, options(7)).unwrap(), 50);
    fs::write(path.join("MARK"), mark).unwrap();
    remove(&path.join("sled"));
    copy_all(&earlier.join("sled"), &path.join("sled"));
    let text = refused(&path).to_string();
    let file = path.join("sled/db").display().to_string();
    assert!(
        text.starts_with(&format!("damaged data in {file}, sequence: ")),
        "{text}"
    );
}

fn made_longer(path: &Path, indices: std::ops::RangeInclusive<u64>) {
    let (mut log, _machine) = open(SledEngine::open(path, options(7)).unwrap()).unwrap();
    block_on(append(&mut log, entries(1, indices)));
}

#[test]
fn damage_to_identity_or_mark_names_that_file() {
    let Two { root, ours, .. } = two();
    let work = root.path().join("work");
    for name in ["IDENTITY", "MARK"] {
        let whole = fs::read(ours.join(name)).unwrap();
        for bytes in [0, 1, whole.len() / 2] {
            damaged_and_named(&ours, &work, name, &whole[..bytes.min(whole.len())]);
        }
        let mut flipped = whole.clone();
        flipped.iter_mut().for_each(|byte| *byte ^= 2);
        damaged_and_named(&ours, &work, name, &flipped);
    }
}

fn damaged_and_named(ours: &Path, work: &Path, name: &str, bytes: &[u8]) {
    // One slot of two is enough.
    let is_whole_slot = name == "MARK" && bytes.len() > 40;
    remove(work);
    copy_all(ours, work);
    fs::write(work.join(name), bytes).unwrap();
    match last(work, options(7)) {
        Ok(found) => assert!(
            is_whole_slot && found == 40,
            "{name}, {} bytes",
            bytes.len()
        ),
        Err(error) => {
            let begin = format!("damaged data in {}, ", work.join(name).display());
            assert!(error.to_string().starts_with(&begin), "{error}");
        }
    }
}

/// IDENTITY in a form, with a right checksum.
fn identity(format: u32, lines: &str) -> String {
    let body = format!("hessra data directory, format {format}\ncluster blue\nnode 1\n{lines}");
    let hash = Sha256::digest(&body);
    let checksum: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{body}checksum {checksum}\n")
}

fn making(id: u8) -> String {
    let id = format!("{id:02x}").repeat(16);
    identity(2, &format!("directory {id}\nstate making\n"))
}

#[test]
fn a_directory_whose_making_a_crash_ended_is_made_to_its_end() {
    let root = tempfile::tempdir().unwrap();
    let (path, fresh) = (root.path().join("data"), root.path().join("fresh"));
    drop(SledEngine::open(&fresh, options(3)).unwrap());
    for there in [
        &[][..],
        &["sled"],
        &["sled", "MARK"],
        &["sled", "DERIVED"],
        &["sled", "DERIVED", "MARK"],
    ] {
        remove(&path);
        fs::create_dir(&path).unwrap();
        there
            .iter()
            .for_each(|part| copy_all(&fresh.join(part), &path.join(part)));
        fs::write(path.join("IDENTITY"), making(3)).unwrap();
        // The second attempt is given another id, and goes on with the first.
        assert_eq!(last(&path, options(7)).unwrap(), 0, "{there:?}");
        made_longer(&path, 1..=5);
        let identity = fs::read_to_string(path.join("IDENTITY")).unwrap();
        assert!(
            identity.contains(&format!("directory {}\nstate made\n", "03".repeat(16))),
            "{identity}"
        );
        assert_eq!(last(&path, options(7)).unwrap(), 5);
    }
}

#[test]
fn a_crash_between_sled_and_the_first_mark_leaves_an_empty_mark() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data");
    drop(SledEngine::open(&path, options(3)).unwrap());
    fs::write(path.join("IDENTITY"), making(3)).unwrap();
    fs::write(path.join("MARK"), "").unwrap();
    assert_eq!(last(&path, options(7)).unwrap(), 0);
}

#[test]
fn an_unfinished_identity_does_not_make_a_new_node_of_old_data() {
    let Two { root, ours, .. } = two();
    let work = root.path().join("work");
    for without in [None, Some("MARK")] {
        for id in [1, 9] {
            remove(&work);
            copy_all(&ours, &work);
            fs::write(work.join("IDENTITY"), making(id)).unwrap();
            without
                .into_iter()
                .for_each(|name| remove(&work.join(name)));
            let error = refused(&work);
            assert!(matches!(error, StoreError::Mixed { .. }), "{error}");
        }
    }
}

#[test]
fn a_directory_of_before_is_outdated_and_not_damaged() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data");
    made(&path, || options(1), 10);
    fs::write(path.join("IDENTITY"), identity(1, "")).unwrap();
    let error = refused(&path);
    assert!(matches!(error, StoreError::Outdated { .. }), "{error}");
    fs::write(path.join("IDENTITY"), identity(3, "more\n")).unwrap();
    let error = refused(&path);
    assert!(matches!(error, StoreError::Upgrade { .. }), "{error}");
}

/// A tool's directory has no owner.
#[test]
fn a_directory_without_an_owner_is_checked_too() {
    let root = tempfile::tempdir().unwrap();
    let [ours, theirs, work] = ["ours", "theirs", "work"].map(|name| root.path().join(name));
    let unowned = |id: u8| OpenOptions {
        identity: None,
        ..options(id)
    };
    made(&ours, || unowned(1), 40);
    made(&theirs, || unowned(2), 60);
    for (part, other) in [
        ("MARK", Some(&theirs)),
        ("sled", Some(&theirs)),
        ("MARK", None),
        ("sled", None),
    ] {
        remove(&work);
        copy_all(&ours, &work);
        remove(&work.join(part));
        if let Some(other) = other {
            copy_all(&other.join(part), &work.join(part));
        }
        match last(&work, unowned(7)).unwrap_err() {
            StoreError::Mixed { .. } => assert!(other.is_some(), "{part}"),
            StoreError::Incomplete { .. } => assert!(other.is_none(), "{part}"),
            error => panic!("{part}: {error}"),
        }
    }
    copy_all(&ours.join("sled"), &work.join("sled"));
    assert_eq!(last(&work, unowned(7)).unwrap(), 40);
    // A node does not take a tool's directory for a new one of its own.
    let error = refused(&work);
    assert!(matches!(error, StoreError::Incomplete { .. }), "{error}");
}
