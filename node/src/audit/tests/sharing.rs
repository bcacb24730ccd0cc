//! Many waiting requests share a sync, and each waits for its own record.

use futures::future::join_all;

use super::super::AuditLog as _;
use super::{all_lines, is_whole, issued, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiting_requests_share_few_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    let tickets: Vec<_> = (0..1_000)
        .map(|number| {
            let record = issued(&auditor, &format!("urn:hessra:a{number}"));
            auditor.submit(record).unwrap()
        })
        .collect();
    let durable = join_all(tickets.into_iter().map(super::super::Ticket::durable)).await;
    assert!(durable.iter().all(Result::is_ok));
    let syncs = auditor.written().borrow().syncs;
    assert!(syncs <= 100, "{syncs} syncs for a thousand records");
    auditor.close().await;
    assert!(is_whole(folder.path()).is_ok());
    let lines = all_lines(folder.path());
    let issued = lines.iter().filter(|line| line.contains("identity.issued"));
    assert_eq!(issued.count(), 1_000);
}

#[tokio::test]
async fn what_was_told_to_be_durable_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    for number in 0..20 {
        let name = format!("urn:hessra:a{number}");
        auditor.write(issued(&auditor, &name)).await.unwrap();
        let lines = all_lines(folder.path());
        assert!(lines.last().unwrap().contains(&name), "{number}");
    }
}

#[tokio::test]
async fn more_than_the_queue_holds_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let auditor = open(folder.path());
    // Nothing is awaited: the thread takes a batch now and then, and the queue fills before it.
    let mut refused = 0;
    let mut tickets = Vec::new();
    for _ in 0..50_000 {
        match auditor.submit(issued(&auditor, "urn:hessra:alice")) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => {
                assert_eq!(error, super::super::AuditError::Full);
                refused += 1;
            }
        }
    }
    let taken = tickets.len();
    let durable = join_all(tickets.into_iter().map(super::super::Ticket::durable)).await;
    assert!(
        durable.iter().all(Result::is_ok),
        "what was taken is written"
    );
    auditor.close().await;
    let lines = all_lines(folder.path());
    let issued = lines.iter().filter(|line| line.contains("identity.issued"));
    assert_eq!(issued.count(), taken, "{refused} were refused");
}
