//! More writes than can wait.

use std::time::Duration;

use hessra_revocation::{Identity, Target, UnixSeconds};
use hessra_state::{Command, RequestId, Revoke};
use tokio::time::Instant;

use super::harness::Cluster;
use crate::authority::{AuthoritySettings, ProposeError};

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
    let settings = AuthoritySettings {
        revocations_queued_max: 8,
        others_queued_max: 8,
        pipeline: 1,
        ..AuthoritySettings::default()
    };
    let cluster = Cluster::lonely(settings).await;
    let authority = &cluster.nodes[&1].authority;
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(1);
    let collect = Command::Collect {
        now: UnixSeconds(1),
    };
    let flood = (0..100).map(|number| {
        let request = RequestId([number as u8 + 1; 16]);
        async move {
            authority
                .propose(revoke(number), "test", request, deadline)
                .await
        }
    });
    let other = authority.propose(collect.clone(), "test", RequestId([200; 16]), deadline);
    let others = (201..220).map(|number| {
        authority.propose(collect.clone(), "test", RequestId([number; 16]), deadline)
    });
    let (revocations, other, others) = tokio::join!(
        futures::future::join_all(flood),
        other,
        futures::future::join_all(others)
    );
    let overloaded = |outcome: &Result<_, ProposeError>| *outcome == Err(ProposeError::Overloaded);
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
        Err(ProposeError::Overloaded),
        "the flood is in another lane"
    );
    let waited = revocations
        .iter()
        .find(|outcome| !overloaded(outcome))
        .unwrap();
    assert!(
        matches!(waited, Err(ProposeError::NoLeader | ProposeError::Unknown)),
        "{waited:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_room_on_its_disk_says_so_and_another_takes_over() {
    let cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let authority = &cluster.nodes[&leader].authority;
    authority.refuse_writes_when(|| Some("only 3 bytes are free".to_owned()));
    let deadline = || Instant::now() + Duration::from_secs(5);
    let refused = authority
        .propose(revoke(1), "test", RequestId([9; 16]), deadline())
        .await;
    let no_room = Err(ProposeError::NoRoom("only 3 bytes are free".to_owned()));
    assert_eq!(refused.map(drop), no_room);
    let follower = cluster.nodes.keys().find(|id| **id != leader).unwrap();
    let forwarded = &cluster.nodes[follower].authority;
    let refused = forwarded
        .propose(revoke(1), "test", RequestId([9; 16]), deadline())
        .await;
    assert_eq!(refused.map(drop), no_room);
    assert!(
        authority.linearize(deadline()).await.is_ok(),
        "it still answers"
    );

    super::harness::eventually(async || {
        authority.tend().await;
        (!authority.raft().is_leader()).then_some(())
    })
    .await;
    let written = authority
        .propose(revoke(1), "test", RequestId([9; 16]), deadline())
        .await;
    assert!(written.is_ok(), "{written:?}");
}
