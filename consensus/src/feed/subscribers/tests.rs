use tokio::sync::Semaphore;

use super::enrolled::percentile;
use super::*;
use crate::neighbours::Neighbour;
use crate::world::lonely::Lonely;

fn subscribers() -> Subscribers<Lonely> {
    Subscribers::new(Lonely::new(), &FeedSettings::default())
}

fn permit() -> OwnedSemaphorePermit {
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
            members: [1, 2].into(),
            membership_index: 0,
            heard,
        },
    )]
    .into()
}

#[tokio::test(start_paused = true)]
async fn a_second_stream_of_a_verifier_replaces_the_first() {
    let subscribers = subscribers();
    let first = subscribers
        .connect(&id("orders"), "", None, permit())
        .unwrap();
    let second = subscribers
        .connect(&id("orders"), "", None, permit())
        .unwrap();
    assert!(
        first.evicted().is_cancelled() && first.is_replaced() && !second.evicted().is_cancelled()
    );
    subscribers.disconnect(&first);
    assert_eq!(
        subscribers.connected(),
        1,
        "the end of the first does not end the second"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stranger_does_not_take_the_id_of_a_verifier_with_a_certificate() {
    let subscribers = subscribers();
    let own = subscribers
        .connect(&id("orders"), "", Some([1; 32]), permit())
        .unwrap();
    assert!(
        subscribers
            .connect(&id("orders"), "", None, permit())
            .is_err()
    );
    assert!(
        subscribers
            .connect(&id("orders"), "", Some([2; 32]), permit())
            .is_err()
    );
    assert!(!own.evicted().is_cancelled());
    assert!(
        subscribers
            .connect(&id("orders"), "", Some([1; 32]), permit())
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_stream_that_only_looks() {
    let subscribers = subscribers();
    let connection = subscribers.connect(&id("cli"), "", None, permit()).unwrap();
    subscribers.only_looks(&connection);
    assert!(subscribers.local(1).is_empty());
    subscribers.disconnect(&connection);
    assert!(subscribers.local(1).is_empty() && subscribers.entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_verifier_with_another_root_does_not_count_as_having_applied() {
    let subscribers = subscribers();
    let connection = subscribers
        .connect(&id("orders"), "", None, permit())
        .unwrap();
    let published = Some(([7; 32], Monotonic(u64::MAX)));
    assert!(!subscribers.acknowledge(&connection, &ack(5, 8), published));
    assert_eq!(
        subscribers
            .progress(Revision(5), 1, &BTreeMap::new())
            .applied,
        0
    );
    assert!(subscribers.acknowledge(&connection, &ack(5, 7), published));
    assert_eq!(
        subscribers
            .progress(Revision(5), 1, &BTreeMap::new())
            .applied,
        1
    );
    assert_eq!(
        subscribers
            .progress(Revision(6), 1, &BTreeMap::new())
            .applied,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_is_gone_is_waited_for_until_it_is_forgotten() {
    let subscribers = subscribers();
    let connection = subscribers
        .connect(&id("orders"), "", None, permit())
        .unwrap();
    subscribers.disconnect(&connection);
    tokio::time::advance(Duration::from_secs(599)).await;
    subscribers.sweep();
    let gone = subscribers.enrolled(1, &BTreeMap::new());
    assert_eq!(
        (gone.len(), gone[0].connected, gone[0].fails_closed_in_ms),
        (1, false, 0)
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    subscribers.sweep();
    assert!(subscribers.enrolled(1, &BTreeMap::new()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_loses_its_permit() {
    let subscribers = subscribers();
    let permits = Arc::new(Semaphore::new(1));
    let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
    let connection = subscribers
        .connect(&id("orders"), "", None, permit)
        .unwrap();
    connection.given(subscribers.world.monotonic());
    tokio::time::advance(Duration::from_secs(31)).await;
    subscribers.sweep();
    assert!(connection.evicted().is_cancelled());
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_moved_is_counted_once_and_one_of_a_silent_node_is_gone() {
    let subscribers = subscribers();
    let now = subscribers.world.monotonic();
    let there = VerifierStatus {
        id: "orders".into(),
        node: 2,
        connected: true,
        applied: 9,
        ..Default::default()
    };
    assert_eq!(
        subscribers.enrolled(1, &remote(there.clone(), now))[0].node,
        2
    );
    tokio::time::advance(Duration::from_secs(6)).await;
    let silent = subscribers.enrolled(1, &remote(there.clone(), now));
    assert_eq!(
        (silent[0].connected, silent[0].fails_closed_in_ms),
        (false, 0)
    );
    let _here = subscribers
        .connect(&id("orders"), "", None, permit())
        .unwrap();
    let moved = subscribers.enrolled(1, &remote(there, now));
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
