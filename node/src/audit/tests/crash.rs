//! Recovery after a crash, and after somebody changed the files.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::folder::{FolderError, segments};
use super::super::{AuditError, AuditLog as _};
use super::{all_lines, is_whole, issued, open, open_with, settings};

async fn written(folder: &Path, count: usize) {
    let auditor = open(folder);
    for number in 0..count {
        let record = issued(&auditor, &format!("urn:hessra:a{number}"));
        auditor.write(record).await.unwrap();
    }
    auditor.close().await;
}

fn newest(folder: &Path) -> std::path::PathBuf {
    segments(&super::changes(folder))
        .unwrap()
        .pop()
        .unwrap()
        .path
}

fn append(folder: &Path, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(newest(folder))
        .unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test]
async fn the_chain_goes_on_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3).await;
    written(folder.path(), 3).await;
    // Each time one record of the start, three, and one checkpoint at the end.
    assert_eq!(is_whole(folder.path()), Ok(10));
}

#[tokio::test]
async fn a_cut_last_line_is_taken_away_and_a_record_says_so() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3).await;
    let whole = all_lines(folder.path());
    append(folder.path(), &whole[1].as_bytes()[..100]);
    written(folder.path(), 1).await;
    assert!(is_whole(folder.path()).is_ok());
    let lines = all_lines(folder.path());
    assert_eq!(lines[..whole.len()], whole);
    assert!(
        lines[whole.len()].contains("\"audit.recovered\""),
        "{lines:?}"
    );
    assert!(lines[whole.len()].contains("\"dropped_bytes\":100"));
}

#[tokio::test]
async fn blocks_that_never_reached_the_disk_are_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 2).await;
    append(folder.path(), &[0; 4096]);
    written(folder.path(), 1).await;
    assert!(is_whole(folder.path()).is_ok());
}

#[tokio::test]
async fn a_segment_without_a_record_is_not_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 2).await;
    std::fs::write(
        super::changes(folder.path()).join("00000000000000000009.jsonl"),
        "",
    )
    .unwrap();
    written(folder.path(), 2).await;
    assert_eq!(is_whole(folder.path()), Ok(8));
}

#[tokio::test]
async fn a_changed_line_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3).await;
    let path = newest(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("urn:hessra:a1", "urn:hessra:b1")).unwrap();
    let refused = open_with(settings(folder.path())).err();
    let refused = refused.unwrap().to_string();
    assert!(
        refused.contains("record 3") && refused.contains("accept-loss"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_chain_whose_end_was_taken_away_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3).await;
    let path = newest(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let shorter: String = text
        .lines()
        .take(3)
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&path, shorter).unwrap();
    let refused = open_with(settings(folder.path())).err();
    assert!(matches!(
        refused,
        Some(FolderError::Cut {
            found: 3,
            expected: 5,
            ..
        })
    ));
}

#[tokio::test]
async fn only_the_user_of_the_node_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 1).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&super::changes(folder.path())), 0o700);
    assert_eq!(mode(&newest(folder.path())), 0o600);
    assert_eq!(mode(&super::changes(folder.path()).join("head")), 0o600);
}

#[tokio::test]
async fn without_room_nothing_is_written_and_the_reason_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let full = super::AuditSettings {
        free_min: u64::MAX,
        ..settings(folder.path())
    };
    let auditor = open_with(full).unwrap();
    assert!(auditor.ready().is_err());
    let record = issued(&auditor, "urn:hessra:alice");
    let refused = auditor.write(record).await.unwrap_err();
    assert!(
        matches!(&refused, AuditError::Failing(reason) if reason.contains("free")),
        "{refused}"
    );
    assert!(all_lines(folder.path()).is_empty());
}

#[tokio::test]
async fn after_the_end_nothing_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    auditor.close().await;
    let record = issued(&auditor, "urn:hessra:alice");
    assert_eq!(auditor.write(record).await, Err(AuditError::Stopped));
}
