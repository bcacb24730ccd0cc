use tokio::sync::Semaphore;

use super::enrolled::percentile;
use super::*;
use crate::authority::neighbours::Neighbour;

fn roster() -> Roster {
    Roster::new(Clock::new(), &FeedSettings::default())
}

fn slot() -> OwnedSemaphorePermit {
    Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
}

fn id(text: &str) -> VerifierId {
    VerifierId::parse(text).unwrap()
}

fn ack(revision: u64, root: u8) -> Acknowledgement {
    Acknowledgement {
        revision: Revision(revision),
        state_root: [root; 32],
    }
}

fn remote(status: VerifierStatus, heard: Monotonic) -> BTreeMap<u64, Neighbour> {
    let verifiers = Arc::new(vec![status]);
    [(
        2,
        Neighbour {
            status: hessra_proto::v1::NodeStatus::default(),
            verifiers,
            heard,
        },
    )]
    .into()
}

#[tokio::test(start_paused = true)]
async fn a_second_stream_of_a_verifier_replaces_the_first() {
    let roster = roster();
    let first = roster.connect(&id("orders"), "", None, slot()).unwrap();
    let second = roster.connect(&id("orders"), "", None, slot()).unwrap();
    assert!(
        first.evicted().is_cancelled() && first.is_replaced() && !second.evicted().is_cancelled()
    );
    roster.disconnect(&first);
    assert_eq!(
        roster.subscribers(),
        1,
        "the end of the first does not end the second"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stranger_does_not_take_the_id_of_a_verifier_with_a_certificate() {
    let roster = roster();
    let own = roster
        .connect(&id("orders"), "", Some([1; 32]), slot())
        .unwrap();
    assert!(roster.connect(&id("orders"), "", None, slot()).is_err());
    assert!(
        roster
            .connect(&id("orders"), "", Some([2; 32]), slot())
            .is_err()
    );
    assert!(!own.evicted().is_cancelled());
    assert!(
        roster
            .connect(&id("orders"), "", Some([1; 32]), slot())
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_stream_that_only_looks() {
    let roster = roster();
    let connection = roster.connect(&id("cli"), "", None, slot()).unwrap();
    roster.only_looks(&connection);
    assert!(roster.local(1).is_empty());
    roster.disconnect(&connection);
    assert!(roster.local(1).is_empty() && roster.entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_verifier_with_another_root_does_not_count_as_having_applied() {
    let roster = roster();
    let connection = roster.connect(&id("orders"), "", None, slot()).unwrap();
    let published = Some(([7; 32], Monotonic(u64::MAX)));
    assert!(!roster.acknowledge(&connection, &ack(5, 8), published));
    assert_eq!(roster.progress(Revision(5), 1, &BTreeMap::new()).applied, 0);
    assert!(roster.acknowledge(&connection, &ack(5, 7), published));
    assert_eq!(roster.progress(Revision(5), 1, &BTreeMap::new()).applied, 1);
    assert_eq!(roster.progress(Revision(6), 1, &BTreeMap::new()).applied, 0);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_is_gone_is_waited_for_until_it_is_forgotten() {
    let roster = roster();
    let connection = roster.connect(&id("orders"), "", None, slot()).unwrap();
    roster.disconnect(&connection);
    tokio::time::advance(Duration::from_secs(599)).await;
    roster.sweep();
    let gone = roster.enrolled(1, &BTreeMap::new());
    assert_eq!(
        (gone.len(), gone[0].connected, gone[0].fails_closed_in_ms),
        (1, false, 0)
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    roster.sweep();
    assert!(roster.enrolled(1, &BTreeMap::new()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_loses_its_slot() {
    let roster = roster();
    let slots = Arc::new(Semaphore::new(1));
    let slot = Arc::clone(&slots).try_acquire_owned().unwrap();
    let connection = roster.connect(&id("orders"), "", None, slot).unwrap();
    connection.given(Clock::new().monotonic());
    tokio::time::advance(Duration::from_secs(31)).await;
    roster.sweep();
    assert!(connection.evicted().is_cancelled());
    assert_eq!(slots.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_moved_is_counted_once_and_one_of_a_silent_node_is_gone() {
    let roster = roster();
    let now = Clock::new().monotonic();
    let there = VerifierStatus {
        id: "orders".into(),
        node: 2,
        connected: true,
        applied: 9,
        ..Default::default()
    };
    assert_eq!(roster.enrolled(1, &remote(there.clone(), now))[0].node, 2);
    tokio::time::advance(Duration::from_secs(6)).await;
    let silent = roster.enrolled(1, &remote(there.clone(), now));
    assert_eq!(
        (silent[0].connected, silent[0].fails_closed_in_ms),
        (false, 0)
    );
    let _here = roster.connect(&id("orders"), "", None, slot()).unwrap();
    let moved = roster.enrolled(1, &remote(there, now));
    assert_eq!((moved.len(), moved[0].node), (1, 1));
}

#[test]
fn percentiles_are_by_nearest_rank() {
    assert_eq!(percentile(&[], 50), 0.0);
    assert_eq!(percentile(&[4.0], 99), 4.0);
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(
        (percentile(&hundred, 50), percentile(&hundred, 99)),
        (50.0, 99.0)
    );
}
