//! Members speak on the peer port, each for itself, and no other does.

use hessra_consensus::Inbound;
use hessra_proto::Reason;
use hessra_proto::v1::log;
use hessra_proto::v1::raft::raft_server::Raft as Service;
use hessra_proto::v1::raft::{AppendRequest, InspectRequest, VoteRequest};
use tonic::Request;

use super::harness::{Cluster, Node};
use crate::api::peers::PeerService;
use crate::tls::PeerCertificate;

fn service(node: &Node) -> PeerService {
    let inbound = Inbound::new(node.consensus.clone(), node.inspector.clone());
    PeerService::new(node.consensus.raft().identity().clone(), inbound)
}

fn by<T>(names: &[&str], message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(PeerCertificate {
        der: Vec::new(),
        sha256: [0; 32],
        san_uris: names.iter().map(ToString::to_string).collect(),
        san_dns: Vec::new(),
    });
    request
}

fn vote(cluster_id: Vec<u8>, node: u64) -> VoteRequest {
    // A vote of the past: what is refused here is refused for who says it.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_speaks_for_itself_only_and_nobody_else_speaks() {
    let cluster = Cluster::three().await;
    let node = &cluster.nodes[&1];
    let service = service(node);
    let cluster_id = node.consensus.raft().identity().cluster_id().to_vec();
    let reason = |refused: Result<_, tonic::Status>| {
        refused.map_err(|status| Reason::from(&status)).map(drop)
    };

    let own = by(&["urn:hessra:node:test:2"], vote(cluster_id.clone(), 2));
    assert!(service.vote(own).await.is_ok());
    let anothers = by(&["urn:hessra:node:test:2"], vote(cluster_id.clone(), 3));
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
    let lost = by(&["urn:hessra:node:test:2"], vote(vec![1; 16], 2));
    let refusal = service.vote(lost).await.unwrap_err();
    assert!(refusal.message().contains("another cluster"), "{refusal}");

    let append = AppendRequest {
        cluster_id: cluster_id.clone(),
        vote: vote(Vec::new(), 3).vote,
        ..Default::default()
    };
    let forged = by(&["urn:hessra:node:test:2"], append);
    assert_eq!(
        reason(service.append(forged).await.map(drop)),
        Err(Reason::NotPermitted)
    );

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
            .inspect(by(&["urn:hessra:node:test:3"], inspect))
            .await
            .is_ok()
    );
}
