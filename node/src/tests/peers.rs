//! Members speak on the peer port, each for itself, and no other does.

use std::collections::BTreeSet;

use hessra_consensus::{Between, Inbound};
use hessra_proto::Reason;
use hessra_proto::v1::log;
use hessra_proto::v1::raft::raft_server::Raft as Service;
use hessra_proto::v1::raft::{AppendRequest, InspectRequest, VoteRequest};
use hessra_sled::{Entry, LogId, codec};
use openraft::{CommittedLeaderId, EntryPayload, TokioRuntime};
use tonic::Request;

use super::harness::{Cluster, Node};
use crate::api::peers::PeerService;
use crate::between;
use crate::tls::PeerCertificate;

fn service(node: &Node) -> PeerService {
    let inbound = Inbound::new(
        node.consensus.clone(),
        node.inspector.clone(),
        BTreeSet::new(),
    );
    PeerService::new(node.consensus.raft().identity().clone(), inbound, None)
}

fn by<T>(names: &[&str], message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(PeerCertificate {
        der: Vec::new(),
        sha256: [0; 32],
        san_uris: names.iter().map(ToString::to_string).collect(),
        san_dns: Vec::new(),
        ends_at: u64::MAX,
        is_of_files: true,
    });
    request
}

/// A request of a member, which names its store as members do.
fn of_member<T>(cluster: &Cluster, id: u64, message: T) -> Request<T> {
    let name = format!("urn:hessra:node:test:{id}");
    let mut request = by(&[&name], message);
    let between = Between {
        from: cluster.nodes[&id].consensus.raft().start(),
        ..Between::default()
    };
    between::show(&between, request.metadata_mut());
    request
}

fn vote(cluster_id: Vec<u8>, node: u64) -> VoteRequest {
    // A vote of the past: what is refused here is refused for its sender.
    let vote = log::Vote {
        term: 0,
        node,
        committed: false,
    };
    VoteRequest {
        cluster_id,
        vote: Some(vote),
        last_log: None,
    }
}

/// A blank entry of a term that is over.
fn blank(index: u64) -> Vec<u8> {
    codec::encode_entry(&Entry::<TokioRuntime> {
        log_id: LogId::new(CommittedLeaderId::new(0, 0), index),
        payload: EntryPayload::Blank,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_speaks_for_itself_only_and_nobody_else_speaks() {
    let cluster = Cluster::three().await;
    let node = &cluster.nodes[&1];
    let service = service(node);
    let cluster_id = node.consensus.raft().identity().cluster_id().to_vec();
    let reason = |refused: Result<_, tonic::Status>| {
        refused.map_err(|status| Reason::from(&status)).map(drop)
    };

    let own = of_member(&cluster, 2, vote(cluster_id.clone(), 2));
    assert!(service.vote(own).await.is_ok());
    let anothers = of_member(&cluster, 2, vote(cluster_id.clone(), 3));
    assert_eq!(
        reason(service.vote(anothers).await.map(drop)),
        Err(Reason::NotPermitted)
    );
    let client = by(&["urn:hessra:alice"], vote(cluster_id.clone(), 2));
    assert_eq!(
        reason(service.vote(client).await.map(drop)),
        Err(Reason::NotPermitted)
    );
    let elsewhere = by(&["urn:hessra:node:other:2"], vote(cluster_id.clone(), 2));
    assert_eq!(
        reason(service.vote(elsewhere).await.map(drop)),
        Err(Reason::NotPermitted)
    );
    let nobody = Request::new(vote(cluster_id.clone(), 2));
    assert_eq!(
        reason(service.vote(nobody).await.map(drop)),
        Err(Reason::Unauthenticated)
    );
    let lost = of_member(&cluster, 2, vote(vec![1; 16], 2));
    let refusal = service.vote(lost).await.unwrap_err();
    assert!(refusal.message().contains("another cluster"), "{refusal}");

    let append = AppendRequest {
        cluster_id: cluster_id.clone(),
        vote: vote(Vec::new(), 3).vote,
        ..Default::default()
    };
    let forged = of_member(&cluster, 2, append);
    assert_eq!(
        reason(service.append(forged).await.map(drop)),
        Err(Reason::NotPermitted)
    );

    let append = |prev: Option<u64>, entries: &[u64]| AppendRequest {
        cluster_id: cluster_id.clone(),
        vote: vote(Vec::new(), 2).vote,
        prev: prev.map(|index| log::LogId { term: 0, index }),
        entries: entries.iter().map(|index| blank(*index).into()).collect(),
        ..Default::default()
    };
    let broken: [(_, &[u64]); 7] = [
        (Some(4), &[6]),
        (Some(4), &[5, 7]),
        (Some(4), &[4, 5]),
        (Some(4), &[u64::MAX]),
        (Some(u64::MAX), &[]),
        (Some(u64::MAX - 1), &[u64::MAX]),
        (None, &[1]),
    ];
    for (prev, entries) in broken {
        let broken = of_member(&cluster, 2, append(prev, entries));
        assert_eq!(
            reason(service.append(broken).await.map(drop)),
            Err(Reason::InvalidArgument),
            "{entries:?} after {prev:?}"
        );
    }
    for (prev, entries) in [(Some(4), &[5, 6][..]), (Some(4), &[]), (None, &[0])] {
        let whole = of_member(&cluster, 2, append(prev, entries));
        assert!(service.append(whole).await.is_ok());
    }

    let inspect = InspectRequest {
        cluster_id,
        verifiers: false,
    };
    let stranger = by(&["urn:hessra:node:test:9"], inspect.clone());
    assert_eq!(
        reason(service.inspect(stranger).await.map(drop)),
        Err(Reason::NotPermitted)
    );
    assert!(
        service
            .inspect(of_member(&cluster, 3, inspect))
            .await
            .is_ok()
    );
}
