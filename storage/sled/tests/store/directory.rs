//! The data directory: one process, one node, private.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hessra_sled::{Identity, OpenOptions, SledEngine, StoreError, Vote};
use openraft::storage::RaftLogStorage;

use crate::support::{block_on, fresh_sled, open, open_sled};

fn of(cluster: &str, node: u64) -> OpenOptions {
    OpenOptions {
        identity: Some(Identity {
            cluster: cluster.to_owned(),
            node,
        }),
        ..OpenOptions::default()
    }
}

fn refused(path: &Path, options: OpenOptions) -> StoreError {
    SledEngine::open(path, options).map(drop).unwrap_err()
}

#[test]
fn a_second_process_is_refused_with_the_first_ones_number() {
    let (directory, _engine) = fresh_sled();
    let path = directory.path().join("data");
    let error = refused(&path, OpenOptions::default());
    let expected = format!(
        "data directory {} is in use by process {}. Stop that node, or set storage.path",
        path.display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_directory_is_free_again_when_the_engine_is_dropped() {
    let (directory, engine) = fresh_sled();
    drop(engine);
    open_sled(&directory.path().join("data")).unwrap();
}

#[test]
fn the_directory_of_another_node_or_cluster_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    drop(SledEngine::open(&path, of("blue", 1)).unwrap());
    for (cluster, node) in [("blue", 2), ("green", 1)] {
        let error = refused(&path, of(cluster, node));
        let expected = format!(
            "data directory {} belongs to node 1 of cluster `blue`, this is node {node} of cluster `{cluster}`. \
             Set storage.path to this node's own directory",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
    }
    SledEngine::open(&path, of("blue", 1)).unwrap();
}

#[test]
fn a_data_file_that_went_back_in_time_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let save = |term| {
        let (mut log, machine) = open(open_sled(&path).unwrap()).unwrap();
        block_on(log.save_vote(&Vote::new(term, 1))).unwrap();
        drop((log, machine));
    };
    save(1);
    let old = fs::read(path.join("sled/db")).unwrap();
    save(2);
    for entry in fs::read_dir(path.join("sled")).unwrap() {
        let entry = entry.unwrap().path();
        if entry
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("snap")
        {
            fs::remove_file(entry).unwrap();
        }
    }
    fs::write(path.join("sled/db"), old).unwrap();
    let error = refused(&path, OpenOptions::default()).to_string();
    assert!(
        error.contains("was acknowledged: the end of its file is damaged"),
        "{error}"
    );
}

#[test]
fn data_files_are_readable_by_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    drop(SledEngine::open(&path, of("blue", 1)).unwrap());
    drop(SledEngine::open(&path, of("blue", 1)).unwrap());
    let mut open_files = Vec::new();
    let mut waiting = vec![path];
    while let Some(path) = waiting.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        if mode != expected {
            open_files.push(format!("{} {mode:o}", path.display()));
        }
        if path.is_dir() {
            waiting.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    assert_eq!(open_files, Vec::<String>::new());
}

#[test]
fn a_path_that_is_no_directory_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = refused(file.path(), OpenOptions::default()).to_string();
    assert!(
        error.contains(&file.path().display().to_string()),
        "{error}"
    );
}

#[test]
fn too_little_room_is_said_before_it_is_an_error() {
    let (_directory, engine) = fresh_sled();
    assert!(engine.free_space().unwrap() > 0);
    drop(engine);
    let directory = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        free_min: u64::MAX,
        ..OpenOptions::default()
    };
    let engine = SledEngine::open(&directory.path().join("data"), options).unwrap();
    let error = engine.writable().unwrap_err().to_string();
    assert!(
        error.ends_with("Make room, or set storage.free_min lower"),
        "{error}"
    );
}
