//! System calls between a write and its acknowledgement.

use std::collections::BTreeMap;
use std::process::Command;

use crate::writer;

const APPENDS: u64 = 15;

#[test]
fn every_acknowledgement_comes_after_an_fdatasync_of_the_data_file() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("calls");
    let writer = writer::command(&directory.path().join("data"), APPENDS);
    let calls = "trace=write,pwrite64,fsync,fdatasync,sync_file_range";
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-y", "-e", calls, "-o"])
        .arg(&log)
        .arg(writer.get_program())
        .args(writer.get_args());
    traced.envs(
        writer
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let output = traced.output().unwrap();
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    if !output.status.success() || !text.contains("fdatasync") {
        println!(
            "skipped: strace may not trace here: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let between = between_acknowledgements(&text);
    assert_eq!(between.len() as u64, APPENDS, "{text}");
    println!(
        "calls before each acknowledgement: {:?}",
        between.last().unwrap()
    );
    for calls in between {
        let synced = calls.get("fdatasync sled/db").copied().unwrap_or(0);
        let handed_over = calls.get("sync_file_range sled/db").copied().unwrap_or(0);
        assert!(
            synced >= 1 && handed_over >= 1,
            "acknowledged after {calls:?}"
        );
        assert!(
            calls.get("fdatasync MARK").copied().unwrap_or(0) <= 1,
            "a second fsync for each flush: {calls:?}"
        );
    }
}

/// Completed calls by name and file before each printed `ack`.
fn between_acknowledgements(text: &str) -> Vec<BTreeMap<String, u64>> {
    let (mut all, mut calls) = (Vec::new(), BTreeMap::new());
    let mut unfinished: BTreeMap<&str, String> = BTreeMap::new();
    for line in text.lines() {
        let Some((process, line)) = line.split_once(' ') else {
            continue;
        };
        let line = line.trim_start();
        if line.starts_with("write(1") && line.contains("\"ack ") {
            all.push(std::mem::take(&mut calls));
        } else if line.contains("resumed>") {
            // The end of a call whose begin was printed before other threads' lines.
            let call = unfinished
                .remove(process)
                .filter(|_| !line.contains("= -1"));
            call.into_iter()
                .for_each(|call| *calls.entry(call).or_insert(0) += 1);
        } else if let Some(call) = call(line) {
            if line.contains("<unfinished") {
                unfinished.insert(process, call);
            } else if !line.contains("= -1") {
                *calls.entry(call).or_insert(0) += 1;
            }
        }
    }
    all
}

/// `fdatasync sled/db` of `fdatasync(9</…/data/sled/db>) = 0`.
fn call(line: &str) -> Option<String> {
    let (name, rest) = line.split_once('(')?;
    let (_, path) = rest.split_once('<')?;
    let (path, _) = path.split_once('>')?;
    let (_, file) = path.split_once("/data/")?;
    Some(format!("{name} {file}"))
}
