//! More writes than can wait.

use std::time::Duration;

use hessra_revocation::{Identity, Target, UnixSeconds};
use hessra_state::{Command, Revoke};
use tokio::time::Instant;

use super::harness::Cluster;
use hessra_consensus::{ConsensusSettings, WriteError};

fn revoke(number: usize) -> Command {
    let identity = Identity::parse(&format!("urn:hessra:a:n{number}")).unwrap();
    Command::Revoke(Revoke {
        targets: vec![Target::Subtree(identity)],
        permanent: false,
        until: None,
        reason: String::new(),
        ticket: String::new(),
        message: String::new(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_writes_are_refused_at_once_and_the_other_lane_stays_open() {
    let settings = ConsensusSettings {
        revocations_queued_max: 8,
        others_queued_max: 8,
        pipeline: 1,
        ..ConsensusSettings::default()
    };
    let cluster = Cluster::lonely(settings).await;
    let node = &cluster.nodes[&1];
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(1);
    let collect = Command::Collect {
        now: UnixSeconds(1),
    };
    let flood = (0..100).map(|number| {
        let request = [number as u8 + 1; 16];
        node.propose(revoke(number), request, deadline)
    });
    let other = node.propose(collect.clone(), [200; 16], deadline);
    let others = (201..220).map(|number| node.propose(collect.clone(), [number; 16], deadline));
    let (revocations, other, others) = tokio::join!(
        futures::future::join_all(flood),
        other,
        futures::future::join_all(others)
    );
    let overloaded = |outcome: &Result<_, WriteError>| *outcome == Err(WriteError::Overloaded);
    let revocations: Vec<_> = revocations
        .into_iter()
        .map(|outcome| outcome.map(drop))
        .collect();
    let others: Vec<_> = others
        .into_iter()
        .map(|outcome| outcome.map(drop))
        .collect();
    assert!(
        revocations
            .iter()
            .filter(|outcome| overloaded(outcome))
            .count()
            > 50
    );
    assert!(
        others.iter().any(overloaded),
        "the other lane has a limit too"
    );
    assert_ne!(
        other.map(drop),
        Err(WriteError::Overloaded),
        "the flood is in another lane"
    );
    let waited = revocations
        .iter()
        .find(|outcome| !overloaded(outcome))
        .unwrap();
    assert!(
        matches!(waited, Err(WriteError::NoLeader | WriteError::Unknown)),
        "{waited:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_room_on_its_disk_says_so_and_another_takes_over() {
    let cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let node = &cluster.nodes[&leader];
    node.disk.is_full("only 3 bytes are free");
    let deadline = || Instant::now() + Duration::from_secs(5);
    let refused = node.propose(revoke(1), [9; 16], deadline()).await;
    let no_room = Err(WriteError::NoRoom("only 3 bytes are free".to_owned()));
    assert_eq!(refused.map(drop), no_room);
    let follower = cluster.nodes.keys().find(|id| **id != leader).unwrap();
    let forwarded = &cluster.nodes[follower];
    let refused = forwarded.propose(revoke(1), [9; 16], deadline()).await;
    assert_eq!(refused.map(drop), no_room);
    assert!(
        node.consensus.linearize(deadline()).await.is_ok(),
        "it still answers"
    );

    super::harness::eventually(async || (!node.consensus.raft().is_leader()).then_some(())).await;
    let written = node.propose(revoke(1), [9; 16], deadline()).await;
    assert!(written.is_ok(), "{written:?}");
}
