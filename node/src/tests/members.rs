//! Members come, are promoted, lead, and go.

use tokio::time::Instant;

use super::harness::{Cluster, PATIENCE, eventually};
use hessra_consensus::{Change, ChangeError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_to_the_chosen_follower_also_through_a_follower() {
    let cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = cluster
        .nodes
        .keys()
        .copied()
        .filter(|id| *id != leader)
        .collect();
    eventually(async || {
        cluster.nodes[&leader]
            .consensus
            .is_alive(others[0])
            .then_some(())
    })
    .await;
    cluster.nodes[&others[1]]
        .change_members(&Change::TransferTo(others[0]), Instant::now() + PATIENCE)
        .await
        .unwrap();
    assert_eq!(cluster.leader().await, others[0]);
    cluster.nodes[&leader]
        .revoke("urn:hessra:a:b", [3; 16])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_learns_votes_and_replaces_the_leader() {
    let mut cluster = Cluster::three().await;
    let revision = cluster.nodes[&1]
        .revoke("urn:hessra:a:b", [3; 16])
        .await
        .unwrap();
    cluster.start(4).await;
    let deadline = || Instant::now() + PATIENCE;
    let any = &cluster.nodes[&cluster.follower().await];
    let add = Change::AddLearner {
        id: 4,
        member: cluster.member(4),
    };
    any.change_members(&add, deadline()).await.unwrap();
    assert!(matches!(
        any.change_members(&add, deadline()).await,
        Err(ChangeError::Conflict(_))
    ));
    eventually(async || {
        (cluster.nodes[&4].consensus.state().view().revision >= revision).then_some(())
    })
    .await;
    eventually(async || {
        any.change_members(&Change::Promote(4), deadline())
            .await
            .ok()
    })
    .await;

    let leader = cluster.leader().await;
    let asked = cluster
        .nodes
        .keys()
        .copied()
        .find(|id| *id != leader && *id != 4)
        .unwrap();
    let asked = &cluster.nodes[&asked];
    eventually(async || {
        asked
            .change_members(&Change::Remove(leader), deadline())
            .await
            .ok()
    })
    .await;
    let members = asked.consensus.raft().members();
    assert_eq!(members.voters.len(), 1);
    assert!(
        members.is_voter(4) && !members.nodes.contains_key(&leader),
        "{members:?}"
    );
    cluster.stop(leader).await;
    assert_eq!(
        cluster.nodes[&4].check("urn:hessra:a:b").await,
        Some(revision)
    );
    cluster.nodes[&4]
        .revoke("urn:hessra:a:c", [4; 16])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_is_not_removed_while_another_is_silent() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = cluster
        .nodes
        .keys()
        .copied()
        .filter(|id| *id != leader)
        .collect();
    cluster.stop(others[0]).await;
    let deadline = Instant::now() + PATIENCE;
    let node = &cluster.nodes[&leader];
    eventually(async || (!node.consensus.is_alive(others[0])).then_some(())).await;
    let refused = node
        .change_members(&Change::Remove(others[1]), deadline)
        .await;
    assert!(
        matches!(refused, Err(ChangeError::QuorumLost(_))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over_first() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let other = cluster
        .nodes
        .keys()
        .copied()
        .find(|id| *id != leader)
        .unwrap();
    eventually(async || {
        cluster.nodes[&leader]
            .consensus
            .is_alive(other)
            .then_some(())
    })
    .await;
    let stopping = cluster.nodes.remove(&leader).unwrap();
    stopping.consensus.hand_over().await;
    assert!(!stopping.consensus.raft().is_leader());
    stopping.stop().await;
    cluster.nodes[&other]
        .revoke("urn:hessra:a:b", [3; 16])
        .await
        .unwrap();
}
