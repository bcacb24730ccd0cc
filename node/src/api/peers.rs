//! The peer port: the gRPC service between members.
//!
//! Proves who the sender is and that it means this cluster, reads its message, and hands it to [`Inbound`], which decides
//! what a sender may. That the certificate is of the cluster's own authority was checked by TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::{Next, from_fn_with_state};
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::raft as wire;
use hessra_proto::v1::raft::raft_server::{Raft as Service, RaftServer};
use hessra_sled::{SnapshotImage, TokioTypes as Types, codec};
use openraft::Snapshot;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use hessra_consensus::{Inbound, NodeIdentity, ReadIndex, Sender};

use super::deadline::deadline_of;
use crate::between;
use crate::join::JoinSecret;
use crate::peers::{MESSAGE_BYTES_MAX, decode_change};
use crate::tls::PeerCertificate;
use crate::world::NodeWorld;

/// Largest snapshot that is taken from a peer: as much as its blocks may have when they are unpacked.
const SNAPSHOT_BYTES_MAX: u64 = hessra_sled::snapshot::PLAIN_BYTES_MAX;

/// Longest silence within a snapshot: a part has 256 KiB.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// The service of the peer port.
pub struct PeerService {
    identity: NodeIdentity,
    inbound: Inbound<NodeWorld>,
    join_secret: Option<JoinSecret>,
    /// A snapshot may have gigabytes, and there is one leader: one body at a time is read.
    snapshots: Semaphore,
}

/// The router of the peer port, with its limits set: a sender is heard before a byte of its request is read.
pub fn router(
    identity: NodeIdentity,
    inbound: Inbound<NodeWorld>,
    join_secret: Option<JoinSecret>,
) -> Router {
    let service = Arc::new(PeerService::new(identity, inbound, join_secret));
    tonic::service::Routes::new(server(Arc::clone(&service)))
        .into_axum_router()
        .layer(from_fn_with_state(service, heard))
}

/// The service, with the limits of its messages set.
pub(crate) fn server(service: Arc<PeerService>) -> RaftServer<PeerService> {
    RaftServer::from_arc(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Middleware that refuses a sender that is not heard, without reading what it sends.
async fn heard(
    State(service): State<Arc<PeerService>>,
    request: axum::extract::Request,
    next: Next,
) -> axum::response::Response {
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let sender = service.sender_of(request.extensions(), &metadata);
    match sender.and_then(|sender| service.inbound.hear(sender)) {
        Ok(()) => next.run(request).await,
        Err(failure) => Status::from(failure).into_http(),
    }
}

impl PeerService {
    /// A service over the answering side of this node.
    #[must_use]
    pub fn new(
        identity: NodeIdentity,
        inbound: Inbound<NodeWorld>,
        join_secret: Option<JoinSecret>,
    ) -> Self {
        Self {
            identity,
            inbound,
            join_secret,
            snapshots: Semaphore::new(1),
        }
    }

    fn sender<T>(&self, request: &Request<T>) -> Result<Sender, Failure> {
        self.sender_of(request.extensions(), request.metadata())
    }

    /// The node that the certificate of the connection names.
    fn sender_of(
        &self,
        extensions: &http::Extensions,
        metadata: &MetadataMap,
    ) -> Result<Sender, Failure> {
        let certificate = extensions.get::<PeerCertificate>();
        let certificate = certificate
            .ok_or_else(|| Failure::new(Reason::Unauthenticated, "no certificate was presented"))?;
        let cluster = &self.identity.cluster;
        let id = certificate.node_id(cluster).ok_or_else(|| {
            let names = certificate.san_uris.join(", ");
            let message =
                format!("the certificate names `{names}`, which is no node of cluster `{cluster}`");
            Failure::new(Reason::NotPermitted, message)
        })?;
        let secret = self.join_secret.as_ref();
        Ok(Sender {
            id,
            shows_join_secret: secret.is_some_and(|secret| secret.is_shown(metadata)),
            between: between::read(metadata)?,
        })
    }

    fn same_cluster(&self, cluster_id: &[u8]) -> Result<(), Failure> {
        if cluster_id == self.identity.cluster_id() {
            return Ok(());
        }
        let NodeIdentity { id, cluster } = &self.identity;
        let message = format!(
            "this is node {id} of cluster `{cluster}`, and the request is of another cluster. Correct the peer address"
        );
        Err(Failure::new(Reason::NotPermitted, message))
    }
}

#[tonic::async_trait]
impl Service for PeerService {
    async fn append(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let sender = self.sender(&request)?;
        let append = request.into_inner();
        self.same_cluster(&append.cluster_id)?;
        let entries = append
            .entries
            .iter()
            .map(|bytes| codec::decode_entry(bytes))
            .collect::<Result<Vec<_>, _>>();
        let append = AppendEntriesRequest::<Types> {
            vote: codec::decode_vote(append.vote.as_ref().ok_or_else(|| malformed("vote"))?),
            prev_log_id: append.prev.as_ref().map(codec::decode_log_id),
            entries: entries.map_err(|error| unsupported(&error))?,
            leader_commit: append.leader_commit.as_ref().map(codec::decode_log_id),
        };
        let response = self.inbound.append(sender, append).await?;
        Ok(Response::new(encode_append_response(&response)))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let sender = self.sender(&request)?;
        let vote = request.into_inner();
        self.same_cluster(&vote.cluster_id)?;
        let candidate = codec::decode_vote(vote.vote.as_ref().ok_or_else(|| malformed("vote"))?);
        let vote = VoteRequest::new(candidate, vote.last_log.as_ref().map(codec::decode_log_id));
        let response = self.inbound.vote(sender, vote).await?;
        Ok(Response::new(wire::VoteResponse {
            vote: Some(codec::encode_vote(&response.vote)),
            granted: response.vote_granted,
            last_log: response.last_log_id.as_ref().map(codec::encode_log_id),
        }))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let sender = self.sender(&request)?;
        let mut chunks = request.into_inner();
        let head = next(&mut chunks).await?.ok_or_else(|| malformed("head"))?;
        self.same_cluster(&head.cluster_id)?;
        let vote = codec::decode_vote(head.vote.as_ref().ok_or_else(|| malformed("vote"))?);
        if let Some(known) = self.inbound.may_send_snapshot(sender, &vote)? {
            return Ok(Response::new(encode_snapshot_response(&known)));
        }
        let meta = head.meta.as_ref().ok_or_else(|| malformed("meta"))?;
        let (meta, size) =
            codec::decode_snapshot_meta(meta).map_err(|error| unsupported(&error))?;
        let busy = |_| refuse(Reason::Limit, "another snapshot is being received");
        let _permit = self.snapshots.try_acquire().map_err(busy)?;
        let image = receive(&mut chunks, size).await?;
        tracing::info!(
            bytes = size,
            index = meta.last_log_id.map_or(0, |id| id.index),
            "received a snapshot"
        );
        let snapshot = Snapshot {
            meta,
            snapshot: Box::new(image),
        };
        let response = self.inbound.snapshot(sender, vote, snapshot).await?;
        Ok(Response::new(encode_snapshot_response(&response)))
    }

    async fn propose(
        &self,
        request: Request<wire::ProposeRequest>,
    ) -> Result<Response<wire::ProposeResponse>, Status> {
        let sender = self.sender(&request)?;
        self.same_cluster(&request.get_ref().cluster_id)?;
        let deadline = deadline_of(&request);
        let batch = request.into_inner().batch.unwrap_or_default();
        self.inbound.may_propose(sender, batch.commands.len())?;
        let commands = codec::decode_batch(&batch).map_err(|error| unsupported(&error))?;
        let proposed = self.inbound.propose(sender, commands, deadline).await?;
        Ok(Response::new(wire::ProposeResponse {
            applied: proposed.answers.iter().map(codec::encode_applied).collect(),
            log_index: proposed.index,
            holders: u32::try_from(proposed.holders).unwrap_or(u32::MAX),
        }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        let sender = self.sender(&request)?;
        self.same_cluster(&request.get_ref().cluster_id)?;
        let deadline = deadline_of(&request);
        let ReadIndex { index, lately } = self.inbound.read_index(sender, deadline).await?;
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let asked = lately.asked.into_iter();
        Ok(Response::new(wire::ReadIndexResponse {
            index,
            leads_for_ms: millis(lately.leads_for),
            asked: asked
                .map(|(node, age)| wire::read_index_response::Asked {
                    node,
                    ago_ms: millis(age),
                })
                .collect(),
        }))
    }

    async fn stand(
        &self,
        request: Request<wire::StandRequest>,
    ) -> Result<Response<wire::StandResponse>, Status> {
        let sender = self.sender(&request)?;
        self.same_cluster(&request.get_ref().cluster_id)?;
        self.inbound.stand(sender).await?;
        Ok(Response::new(wire::StandResponse {}))
    }

    async fn change_membership(
        &self,
        request: Request<wire::ChangeMembershipRequest>,
    ) -> Result<Response<wire::ChangeMembershipResponse>, Status> {
        let sender = self.sender(&request)?;
        self.same_cluster(&request.get_ref().cluster_id)?;
        let change = decode_change(request.into_inner().change)?;
        let log_index = self.inbound.change_members(sender, &change).await?;
        Ok(Response::new(wire::ChangeMembershipResponse { log_index }))
    }

    async fn inspect(
        &self,
        request: Request<wire::InspectRequest>,
    ) -> Result<Response<wire::InspectResponse>, Status> {
        let sender = self.sender(&request)?;
        self.same_cluster(&request.get_ref().cluster_id)?;
        let described = self.inbound.inspect(sender, request.get_ref().verifiers)?;
        Ok(Response::new(described))
    }
}

async fn receive(
    chunks: &mut Streaming<wire::SnapshotChunk>,
    size: u64,
) -> Result<SnapshotImage, Status> {
    if size > SNAPSHOT_BYTES_MAX {
        return Err(refuse(
            Reason::Limit,
            format!("a snapshot has at most {SNAPSHOT_BYTES_MAX} bytes, this one {size}"),
        ));
    }
    let mut bytes = Vec::new();
    let mut complete = false;
    while let Some(chunk) = next(chunks).await? {
        bytes.extend_from_slice(&chunk.data);
        complete |= chunk.last;
        if bytes.len() as u64 > size {
            return Err(refuse(
                Reason::InvalidArgument,
                "the snapshot is longer than it said",
            ));
        }
    }
    if !complete || bytes.len() as u64 != size {
        return Err(refuse(Reason::InvalidArgument, "the snapshot ended early"));
    }
    Ok(SnapshotImage::from(bytes))
}

/// The next part of a snapshot. A sender that falls silent does not keep the next one out.
async fn next(
    chunks: &mut Streaming<wire::SnapshotChunk>,
) -> Result<Option<wire::SnapshotChunk>, Status> {
    let late = |_| refuse(Reason::Deadline, "the snapshot fell silent");
    timeout(CHUNK_TIMEOUT, chunks.message())
        .await
        .map_err(late)?
}

fn encode_snapshot_response(response: &SnapshotResponse<u64>) -> wire::SnapshotResponse {
    wire::SnapshotResponse {
        vote: Some(codec::encode_vote(&response.vote)),
    }
}

fn encode_append_response(response: &AppendEntriesResponse<u64>) -> wire::AppendResponse {
    use wire::append_response::Outcome;
    let mut encoded = wire::AppendResponse::default();
    match response {
        AppendEntriesResponse::Success => encoded.set_outcome(Outcome::Success),
        AppendEntriesResponse::PartialSuccess(matching) => {
            encoded.set_outcome(Outcome::Partial);
            encoded.matching = matching.as_ref().map(codec::encode_log_id);
        }
        AppendEntriesResponse::Conflict => encoded.set_outcome(Outcome::Conflict),
        AppendEntriesResponse::HigherVote(vote) => {
            encoded.set_outcome(Outcome::HigherVote);
            encoded.vote = Some(codec::encode_vote(vote));
        }
    }
    encoded
}

fn refuse(reason: Reason, message: impl Into<String>) -> Status {
    Failure::new(reason, message).into()
}

fn malformed(what: &str) -> Status {
    refuse(
        Reason::InvalidArgument,
        format!("the request has no {what}: the sender runs another version. Upgrade it"),
    )
}

fn unsupported(error: &codec::CodecError) -> Status {
    refuse(Reason::Unsupported, error.to_string())
}
