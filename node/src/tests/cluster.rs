//! Writes and linearizable reads while nodes come and go.

use std::time::Duration;

use hessra_proto::v1;
use hessra_revocation::Revision;
use tokio::time::Instant;

use super::harness::{Cluster, PATIENCE, eventually, snapshots_every};
use hessra_consensus::{ConsensusSettings, ReadError, WriteError};

fn id(number: u8) -> [u8; 16] {
    [number; 16]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_through_any_node_is_seen_by_a_linearizable_check_at_every_node() {
    let cluster = Cluster::three().await;
    for (through, name) in [
        (1, "urn:hessra:a:b"),
        (2, "urn:hessra:a:c"),
        (3, "urn:hessra:a:d"),
    ] {
        let revision = cluster.nodes[&through]
            .revoke(name, id(10 + through as u8))
            .await
            .unwrap();
        for node in cluster.nodes.values() {
            assert_eq!(node.check(name).await, Some(revision));
        }
    }
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_revocations_share_log_entries_and_each_gets_its_own_revision() {
    let cluster = Cluster::three().await;
    let before = cluster.nodes[&1].consensus.raft().status().last_index;
    let node = &cluster.nodes[&cluster.follower().await];
    let writes = (0..200u64).map(|number| async move {
        let mut request = [0xaa; 16];
        request[..8].copy_from_slice(&number.to_be_bytes());
        node.revoke(&format!("urn:hessra:bulk:n{number}"), request)
            .await
            .unwrap()
    });
    let mut revisions = futures::future::join_all(writes).await;
    revisions.sort();
    let first = revisions[0].0;
    assert_eq!(
        revisions,
        (first..first + 200).map(Revision).collect::<Vec<_>>(),
        "dense and unique"
    );
    let entries = node.consensus.raft().status().last_index - before;
    assert!(entries < 100, "200 writes took {entries} entries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_with_the_same_request_id_gets_the_first_answer_also_after_the_leader_is_gone() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let first = cluster.nodes[&leader]
        .revoke("urn:hessra:a:b", id(5))
        .await
        .unwrap();
    cluster.stop(leader).await;
    let other = *cluster.nodes.keys().next().unwrap();
    assert_eq!(
        cluster.nodes[&other]
            .revoke("urn:hessra:a:b", id(5))
            .await
            .unwrap(),
        first
    );
    assert_eq!(
        cluster.nodes[&other].check("urn:hessra:a:b").await,
        Some(first)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_during_an_election_succeeds_and_the_old_leader_catches_up_when_it_returns() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    cluster.stop(leader).await;
    let begun = Instant::now();
    let other = *cluster.nodes.keys().next().unwrap();
    let revision = cluster.nodes[&other]
        .revoke("urn:hessra:a:b", id(6))
        .await
        .unwrap();
    println!(
        "from stopping the leader to the next commit: {:?}",
        begun.elapsed()
    );
    cluster.start(leader).await;
    assert_eq!(
        cluster.nodes[&leader].check("urn:hessra:a:b").await,
        Some(revision)
    );
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_led_before_it_restarted_confirms_nothing_alone() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    cluster.start(leader).await;
    let alone = &cluster.nodes[&leader].consensus;
    let outcome = alone
        .linearize(Instant::now() + Duration::from_secs(3))
        .await;
    assert!(
        matches!(outcome, Err(ReadError::NoQuorum | ReadError::NoLeader)),
        "{outcome:?}"
    );
    assert_eq!(alone.freshness(), None);
    assert!(
        cluster.nodes[&leader]
            .inspector
            .not_ready(&alone.raft().status())
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_restarted_know_everything_that_was_acknowledged() {
    let mut cluster = Cluster::three().await;
    let revision = cluster.nodes[&2]
        .revoke("urn:hessra:a:b", id(7))
        .await
        .unwrap();
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.start(id).await;
    }
    for node in cluster.nodes.values() {
        assert_eq!(node.check("urn:hessra:a:b").await, Some(revision));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_longer_than_the_log_is_kept_catches_up_by_snapshot() {
    let mut cluster = Cluster::three_with(snapshots_every(40)).await;
    let away = cluster.follower().await;
    cluster.stop(away).await;
    let through = *cluster.nodes.keys().next().unwrap();
    for number in 0..150u8 {
        cluster.nodes[&through]
            .revoke(
                &format!("urn:hessra:a:n{number}"),
                [number.wrapping_add(50); 16],
            )
            .await
            .unwrap();
    }
    // The log is kept until its audit records are on the disk.
    for node in cluster.nodes.values() {
        let purged = async {
            while node.consensus.raft().status().purged_index < 100 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let within = Duration::from_secs(30);
        tokio::time::timeout(within, purged).await.expect("purged");
    }
    cluster.start(away).await;
    assert!(
        cluster.nodes[&away]
            .check("urn:hessra:a:n149")
            .await
            .is_some()
    );
    assert!(
        cluster.nodes[&away]
            .consensus
            .raft()
            .status()
            .snapshot_index
            > 0
    );
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_neither_acknowledges_nor_confirms_and_the_others_go_on() {
    let cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    cluster.cuts.set(leader, true);
    let cut = &cluster.nodes[&leader].consensus;
    assert!(
        cut.linearize(Instant::now() + Duration::from_secs(2))
            .await
            .is_err()
    );
    let other = cluster
        .nodes
        .keys()
        .copied()
        .find(|id| *id != leader)
        .unwrap();
    let revision = cluster.nodes[&other]
        .revoke("urn:hessra:a:b", id(8))
        .await
        .unwrap();
    assert_ne!(cut.state().view().revision, revision);
    cluster.cuts.set(leader, false);
    assert_eq!(
        cluster.nodes[&leader].check("urn:hessra:a:b").await,
        Some(revision)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_revokes_lists_shows_checks_and_lifts_through_a_follower() {
    let cluster = Cluster::three().await;
    let node = &cluster.nodes[&cluster.follower().await];
    let mut operator = node.operator().await;
    let subtree = |text: &str| v1::Target {
        kind: Some(v1::target::Kind::Subtree(text.to_owned())),
    };
    let request = v1::RevokeRequest {
        request_id: id(1).map(|byte| byte + 40).to_vec(),
        targets: vec![subtree("urn:hessra:alice:agent")],
        permanent: true,
        reason: "test".to_owned(),
        ..Default::default()
    };
    let preview = operator
        .preview_revoke(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(preview.allowed && !preview.items[0].already);
    let revoked = operator
        .revoke(node.signed(request.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((revoked.nodes, revoked.items[0].already), (3, false));
    assert!(revoked.nodes_applied >= 2);
    let again = operator
        .revoke(node.signed(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.items, revoked.items, "a retry gets the first answer");

    let id_text = revoked.items[0].id.clone();
    let shown = operator
        .show_revocation(v1::ShowRevocationRequest {
            id: id_text.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (shown.target.as_str(), shown.permanent, shown.by.as_str()),
        ("urn:hessra:alice:agent", true, super::harness::OPERATOR)
    );
    let listed = operator
        .list_revocations(v1::ListRevocationsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.revocations, vec![shown]);
    let check = |text: &str| v1::CheckRequest {
        target: Some(subtree(text)),
        stale_ok: false,
    };
    let below = operator
        .check(check("urn:hessra:alice:agent:worker"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (below.revoked, below.revision),
        (true, revoked.items[0].revision)
    );
    assert!(
        !operator
            .check(check("urn:hessra:alice:agent2"))
            .await
            .unwrap()
            .into_inner()
            .revoked
    );

    let lift = v1::LiftRequest {
        request_id: id(77).to_vec(),
        revision: revoked.items[0].revision,
        reason: String::new(),
        restore: false,
        ..Default::default()
    };
    let lifted = operator.lift(node.signed(lift)).await.unwrap().into_inner();
    assert!(lifted.revision > revoked.items[0].revision && !lifted.already);
    let listed = operator
        .list_revocations(v1::ListRevocationsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(listed.revocations.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_why_with_a_reason_that_programs_know() {
    use hessra_proto::Reason;
    let cluster = Cluster::three().await;
    let node = &cluster.nodes[&1];
    let mut operator = node.operator().await;
    let revoke = |text: &str, request_id: &[u8]| v1::RevokeRequest {
        request_id: request_id.to_vec(),
        targets: vec![v1::Target {
            kind: Some(v1::target::Kind::Subtree(text.to_owned())),
        }],
        ..Default::default()
    };
    let shallow = operator
        .revoke(node.signed(revoke("urn:hessra", &id(3))))
        .await
        .unwrap_err();
    assert_eq!(Reason::from(&shallow), Reason::Conflict);
    assert!(shallow.message().contains("`urn:hessra`"), "{shallow}");
    let crooked = operator
        .revoke(node.signed(revoke("urn:hessra:a::b", &id(3))))
        .await
        .unwrap_err();
    assert_eq!(Reason::from(&crooked), Reason::InvalidArgument);
    let forgotten = operator
        .revoke(node.signed(revoke("urn:hessra:a:b", &[])))
        .await
        .unwrap_err();
    assert_eq!(Reason::from(&forgotten), Reason::InvalidArgument);
    let nothing = operator
        .show_revocation(v1::ShowRevocationRequest {
            id: "rv_999".into(),
        })
        .await
        .unwrap_err();
    assert_eq!(Reason::from(&nothing), Reason::NotFound);
    assert!(nothing.message().contains("`rv_999`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_says_healthy_only_while_every_voter_answers() {
    let mut cluster = Cluster::three().await;
    let status = async |cluster: &Cluster, id: u64| {
        let mut operator = cluster.nodes[&id].operator().await;
        operator
            .status(v1::StatusRequest {})
            .await
            .unwrap()
            .into_inner()
    };
    let away = cluster.follower().await;
    let asked = cluster
        .nodes
        .keys()
        .copied()
        .find(|id| *id != away)
        .unwrap();
    let healthy = eventually(async || {
        let status = status(&cluster, asked).await;
        status.healthy.then_some(status)
    });
    assert_eq!(healthy.await.nodes.len(), 3);
    cluster.stop(away).await;
    let sick = status(&cluster, asked).await;
    let gone = sick.nodes.iter().find(|node| node.id == away).unwrap();
    assert_eq!(
        (sick.healthy, gone.reachable, gone.state.as_str()),
        (false, false, "unreachable")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_confirmed_is_not_reported_as_written() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = cluster
        .nodes
        .keys()
        .copied()
        .filter(|id| *id != leader)
        .collect();
    for id in others {
        cluster.stop(id).await;
    }
    let identity = hessra_revocation::Identity::parse("urn:hessra:a:b").unwrap();
    let revoke = hessra_state::Revoke {
        targets: vec![hessra_revocation::Target::Subtree(identity)],
        permanent: false,
        until: None,
        reason: String::new(),
        ticket: String::new(),
        message: String::new(),
    };
    let node = &cluster.nodes[&leader];
    let command = hessra_state::Command::Revoke(revoke);
    let deadline = Instant::now() + Duration::from_secs(2);
    let outcome = node.propose(command, id(9), deadline).await;
    assert_eq!(outcome.unwrap_err(), WriteError::Unknown);
    assert!(Instant::now() < deadline + PATIENCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_consensus_has_stopped_says_so_at_once() {
    let cluster = Cluster::lonely(ConsensusSettings::default()).await;
    let node = &cluster.nodes[&1];
    node.consensus.raft().shutdown().await;
    let deadline = Instant::now() + PATIENCE;
    let written = node.revoke("urn:hessra:a:b", id(4)).await;
    assert!(
        matches!(written, Err(WriteError::Stopped(_))),
        "{written:?}"
    );
    let read = node.consensus.linearize(deadline).await;
    assert!(matches!(read, Err(ReadError::Stopped(_))), "{read:?}");
}
