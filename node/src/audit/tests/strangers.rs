//! Refusals, of which strangers decide how many there are.

use std::path::Path;

use futures::future::join_all;
use hessra_audit::{Chain, Event, Known, Outcome, Record, Walk};

use super::super::folder::segments;
use super::super::{AuditSettings, Auditor, Ticket};
use super::{all_lines, lines_of, open, open_with, settings, write_one};

fn refused(auditor: &Auditor, address: &str) -> Record {
    let mut record = auditor.record(Event::AccessDenied, Outcome::Denied);
    record.actor.ip = address.to_owned();
    record.actor.auth = "none".to_owned();
    record.reason = "unauthenticated".to_owned();
    record.message = "no client certificate was presented".to_owned();
    record
}

fn refusals(folder: &Path) -> Vec<String> {
    lines_of(&folder.join("audit/refusals"))
}

/// Refuses so often, and waits for all of it.
async fn flood(auditor: &Auditor, count: usize) {
    let tickets: Vec<Ticket> = (0..count)
        .map(|_| auditor.submit(refused(auditor, "192.0.2.1")).unwrap())
        .collect();
    let written = join_all(tickets.into_iter().map(Ticket::durable)).await;
    assert!(written.iter().all(Result::is_ok));
}

fn bytes(folder: &Path) -> u64 {
    let found = segments(folder).unwrap();
    let sizes = found
        .iter()
        .map(|segment| segment.path.metadata().unwrap().len());
    sizes.sum()
}

#[tokio::test]
async fn sixty_thousand_refusals_take_little_and_are_all_counted() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    flood(&auditor, 60_000).await;
    auditor.close().await;
    let size = bytes(&folder.path().join("audit/refusals"));
    assert!(size < 64 * 1024, "{size} bytes for 60,000 refusals");
    let mut counted = 0;
    for line in refusals(folder.path()) {
        let record = hessra_audit::open(&line).unwrap().record;
        if record.event == Event::AccessDenied.as_str() {
            let summed = record
                .change
                .get("summed")
                .and_then(serde_json::Value::as_u64);
            counted += summed.unwrap_or(1);
            assert_eq!(record.actor.ip, "192.0.2.1");
        }
    }
    assert_eq!(counted, 60_000);
}

#[tokio::test]
async fn a_flood_of_refusals_leaves_the_record_of_a_change_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let small = AuditSettings {
        keep_bytes: 256 * 1024,
        refusals_keep_bytes: 256 * 1024,
        ..settings(folder.path())
    };
    let auditor = open_with(small).unwrap();
    write_one(&auditor).await.unwrap();
    let before = all_lines(folder.path());
    for number in 0..5_000 {
        let address = format!("10.{}.{}.1", number / 256, number % 256);
        let _ = auditor.submit(refused(&auditor, &address)).unwrap();
    }
    auditor.close().await;
    let after = all_lines(folder.path());
    assert_eq!(after[..before.len()], before);
    assert!(after.iter().all(|line| !line.contains("access.denied")));
}

#[tokio::test]
async fn each_of_the_two_chains_is_whole_and_says_which_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    write_one(&auditor).await.unwrap();
    flood(&auditor, 10).await;
    auditor.close().await;
    for chain in Chain::ALL {
        let mut walk = Walk::new(Known::default());
        for line in lines_of(&folder.path().join("audit").join(chain.as_str())) {
            walk.line(&line).unwrap();
        }
        let walked = walk.finish().unwrap();
        assert_eq!((walked.chain, walked.node), (chain, 7));
        assert!(
            walked.attested_through > 0,
            "signed by the node: {walked:?}"
        );
    }
}

#[tokio::test]
async fn what_a_stranger_wrote_is_cut_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    let mut record = refused(&auditor, "192.0.2.1");
    record.target.resource = "long words ".repeat(90);
    record.request.api = "/words/".repeat(90);
    auditor.write(record).await.unwrap();
    auditor.close().await;
    let lines = refusals(folder.path());
    let line = lines
        .iter()
        .find(|line| line.contains("access.denied"))
        .unwrap();
    let record = hessra_audit::open(line).unwrap().record;
    assert!(record.target.resource.len() <= 64 && record.request.api.len() <= 64);
}
