//! A chain against what the cluster has witnessed of it, and against its own files.

use std::path::Path;

use hessra_audit::{Chain, Event, Outcome};

use super::super::folder::segments;
use super::super::{AuditError, AuditLog as _, Auditor, Exported};
use super::{
    Side, all_lines, changes, issued, open, open_in, open_with, settings, until_failing, write_one,
};

/// The reason for which nothing can be written.
fn refusal(auditor: &Auditor) -> String {
    match auditor.ready() {
        Err(AuditError::Failing(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// An audit of some records, whose head the cluster has witnessed.
async fn witnessed(folder: &Path) -> Side {
    let side = Side::default();
    let auditor = open_in(settings(folder), &side, 7).unwrap();
    for number in 0..5 {
        let record = issued(&auditor, &format!("urn:hessra:a{number}"));
        auditor.write(record).await.unwrap();
    }
    for chain in Chain::ALL {
        side.witness(auditor.statement(chain).unwrap());
    }
    auditor.close().await;
    side
}

#[tokio::test]
async fn a_chain_that_goes_on_from_what_was_witnessed_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let side = witnessed(folder.path()).await;
    let auditor = open_in(settings(folder.path()), &side, 7).unwrap();
    auditor.ready().unwrap();
    write_one(&auditor).await.unwrap();
}

#[tokio::test]
async fn a_deleted_folder_is_not_begun_anew_until_its_loss_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let side = witnessed(folder.path()).await;
    std::fs::remove_dir_all(folder.path().join("audit")).unwrap();
    let auditor = open_in(settings(folder.path()), &side, 7).unwrap();
    let reason = refusal(&auditor);
    assert!(
        reason.contains("it is empty") && reason.contains("accept-loss 7"),
        "{reason}"
    );
    assert!(write_one(&auditor).await.is_err());
    assert!(auditor.statement(Chain::Changes).is_none());
    assert!(all_lines(folder.path()).is_empty());
    side.accept_loss();
    until_failing(&auditor, false).await;
    write_one(&auditor).await.unwrap();
}

/// The node heard late, or after a restart, that its former chain was witnessed.
#[tokio::test]
async fn a_chain_that_had_begun_anew_goes_on_once_the_loss_is_accepted() {
    for restarted in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let known = witnessed(folder.path()).await;
        std::fs::remove_dir_all(folder.path().join("audit")).unwrap();
        let late = Side::default();
        let mut auditor = open_in(settings(folder.path()), &late, 7).unwrap();
        write_one(&auditor).await.unwrap();
        let before = all_lines(folder.path());
        if restarted {
            auditor.close().await;
            auditor = open_in(settings(folder.path()), &known, 7).unwrap();
        } else {
            late.learn_from(&known);
        }
        assert!(write_one(&auditor).await.is_err());
        assert!(refusal(&auditor).contains("it began anew"));
        late.accept_loss();
        known.accept_loss();
        until_failing(&auditor, false).await;
        write_one(&auditor).await.unwrap();
        assert_eq!(all_lines(folder.path())[..before.len()], before);
    }
}

#[tokio::test]
async fn a_chain_that_was_set_back_or_rewritten_or_replaced_or_has_another_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let side = witnessed(folder.path()).await;
    let whole = changes(folder.path());
    let segment = segments(&whole).unwrap().pop().unwrap().path;
    let text = std::fs::read_to_string(&segment).unwrap();

    let other = open_in(settings(folder.path()), &side, 8).unwrap();
    assert!(refusal(&other).contains("another audit key"));
    other.close().await;

    let earlier: String = text
        .lines()
        .take(3)
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&segment, earlier).unwrap();
    std::fs::remove_file(whole.join("head")).unwrap();
    let set_back = open_in(settings(folder.path()), &side, 7).unwrap();
    assert!(
        refusal(&set_back).contains("it ends at record 3"),
        "{}",
        refusal(&set_back)
    );
    set_back.close().await;

    // Somebody who writes other records of the same number, with right hashes.
    std::fs::remove_dir_all(&whole).unwrap();
    let forged = open_with(settings(folder.path())).unwrap();
    for _ in 0..9 {
        forged
            .write(issued(&forged, "urn:hessra:mallory"))
            .await
            .unwrap();
    }
    forged.close().await;
    let replaced = open_in(settings(folder.path()), &side, 7).unwrap();
    assert!(
        refusal(&replaced).contains("it began anew"),
        "{}",
        refusal(&replaced)
    );
}

#[tokio::test]
async fn a_head_that_the_chain_does_not_have_stops_it_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let side = Side::default();
    let auditor = open_in(settings(folder.path()), &side, 7).unwrap();
    write_one(&auditor).await.unwrap();
    let mut forked = auditor.statement(Chain::Changes).unwrap();
    forked.head.hash = [9; 32];
    side.witness(forked);
    let refused = write_one(&auditor).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(refusal(&auditor).contains("not the one that the cluster has witnessed"));
}

#[tokio::test]
async fn a_file_that_is_no_longer_at_its_path_takes_no_record() {
    for replaced in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let auditor = open(folder.path());
        write_one(&auditor).await.unwrap();
        let segment = segments(&changes(folder.path()))
            .unwrap()
            .pop()
            .unwrap()
            .path;
        let text = std::fs::read(&segment).unwrap();
        std::fs::remove_file(&segment).unwrap();
        if replaced {
            std::fs::write(&segment, text).unwrap();
        }
        let refused = auditor.write(issued(&auditor, "urn:hessra:bob")).await;
        assert!(refused.is_err(), "{refused:?}");
        let reason = refusal(&auditor);
        let expected = if replaced { "was replaced" } else { "is gone" };
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn a_file_that_was_emptied_in_its_place_takes_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    write_one(&auditor).await.unwrap();
    let segment = segments(&changes(folder.path())).unwrap().pop().unwrap();
    std::fs::write(&segment.path, b"").unwrap();
    until_failing(&auditor, true).await;
    assert!(refusal(&auditor).contains("it was changed"));
}

#[tokio::test]
async fn a_moved_folder_is_noticed_without_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    std::fs::rename(changes(folder.path()), folder.path().join("elsewhere")).unwrap();
    until_failing(&auditor, true).await;
}

#[tokio::test]
async fn a_missing_segment_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    for number in 0..300 {
        let mut record = issued(&auditor, &format!("urn:hessra:a{number}"));
        record.message = "words ".repeat(150);
        auditor.write(record).await.unwrap();
    }
    auditor.close().await;
    let found = segments(&changes(folder.path())).unwrap();
    assert!(found.len() > 3);
    for number in [0, 1] {
        let (kept, path) = (
            std::fs::read(&found[number].path).unwrap(),
            &found[number].path,
        );
        std::fs::remove_file(path).unwrap();
        let refused = open_with(settings(folder.path()))
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains("a file was taken away"), "{refused}");
        std::fs::write(path, kept).unwrap();
    }
    open(folder.path()).close().await;
}

#[tokio::test]
async fn an_export_is_remembered_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    write_one(&auditor).await.unwrap();
    let export = |from, through| Exported {
        chain: Chain::Changes,
        from,
        through,
    };
    let record = |auditor: &Auditor| auditor.record(Event::AuditExported, Outcome::Success);
    let done = auditor.exported(record(&auditor), export(1, 2)).await;
    assert_eq!(done, Ok(2));
    auditor.close().await;
    let auditor = open(folder.path());
    let gap = auditor.exported(record(&auditor), export(4, 5)).await;
    assert_eq!(gap, Ok(2), "record 3 is not exported");
    let done = auditor.exported(record(&auditor), export(3, 5)).await;
    assert_eq!(done, Ok(5));
}
