//! Segments are turned over and deleted, and the chain still says that it is whole.

use std::time::Duration;

use hessra_audit::{Chain, Filter};

use super::super::folder::segments;
use super::super::{AuditLog as _, AuditSettings, Auditor};
use super::{is_whole, issued, open_with, settings};

/// Records of about a kilobyte.
async fn fill(auditor: &Auditor, count: usize) {
    for number in 0..count {
        let mut record = issued(auditor, &format!("urn:hessra:a{number}"));
        record.message = "words ".repeat(150);
        auditor.write(record).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_segment_is_turned_over_and_the_chain_goes_on_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = super::open(folder.path());
    fill(&auditor, 200).await;
    auditor.close().await;
    let found = segments(&super::changes(folder.path())).unwrap();
    assert!(found.len() >= 3, "{found:?}");
    assert!(is_whole(folder.path()).is_ok());
}

#[tokio::test]
async fn old_segments_go_and_a_record_of_it_stands_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let small = AuditSettings {
        keep_bytes: 256 * 1024,
        ..settings(folder.path())
    };
    let auditor = open_with(small).unwrap();
    // Retention is looked after with every checkpoint, and at the end.
    fill(&auditor, 1_100).await;
    auditor.close().await;
    let found = segments(&super::changes(folder.path())).unwrap();
    assert!(found[0].first > 1, "the oldest are gone: {found:?}");
    let bytes: u64 = found
        .iter()
        .map(|segment| std::fs::metadata(&segment.path).unwrap().len())
        .sum();
    assert!(bytes < 512 * 1024, "{bytes}");
    assert!(
        is_whole(folder.path()).is_ok(),
        "{:?}",
        is_whole(folder.path())
    );
    std::fs::remove_file(&found[0].path).unwrap();
    let missing = is_whole(folder.path()).unwrap_err();
    assert!(missing.contains("missing"), "{missing}");
}

#[tokio::test]
async fn a_search_finds_over_all_segments_and_goes_on_where_a_page_ended() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = super::open(folder.path());
    fill(&auditor, 200).await;
    let filter = Filter::parse(["event=identity.issued"]).unwrap();
    let (mut before, mut found) = (0, Vec::new());
    loop {
        let page = auditor
            .reader(Chain::Changes)
            .search(&filter, before, 30)
            .unwrap();
        found.extend(page.found.into_iter().map(|found| found.seq));
        before = page.before;
        if before == 0 {
            break;
        }
    }
    assert_eq!(found.len(), 200);
    assert!(
        found.is_sorted_by(|newer, older| newer > older),
        "newest first, none twice"
    );
}

#[tokio::test]
async fn a_cursor_reads_every_record_once_while_more_come() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = super::open(folder.path());
    let mut cursor = auditor.reader(Chain::Changes).cursor(0);
    let mut seen = Vec::new();
    for _ in 0..4 {
        fill(&auditor, 60).await;
        loop {
            let found = cursor.read().unwrap();
            if found.is_empty() {
                break;
            }
            seen.extend(found.into_iter().map(|found| found.seq));
        }
    }
    let head = auditor.written().borrow().head.seq;
    assert_eq!(seen, (1..=head).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_kept_by_age_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let kept = AuditSettings {
        keep_age: Duration::from_secs(3_600),
        ..settings(folder.path())
    };
    let auditor = open_with(kept).unwrap();
    fill(&auditor, 1_100).await;
    auditor.close().await;
    assert_eq!(
        segments(&super::changes(folder.path())).unwrap()[0].first,
        1
    );
}
