//! The receiving half between members: the service on the peer port.
//!
//! Three questions before anything else: is the request of this cluster, does the certificate speak for a member, and
//! does the sender speak for itself? A vote or an append names the node that stands or leads; it is refused when it
//! comes over another node's certificate. That the certificate is of the cluster's own authority was checked by TLS.

use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::raft as wire;
use hessra_proto::v1::raft::raft_server::{Raft as Service, RaftServer};
use hessra_sled::{SnapshotImage, TokioTypes as Types, codec};
use openraft::Snapshot;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use tonic::{Request, Response, Status, Streaming};

use super::RaftHandle;
use super::deadline::deadline_of;
use super::membership::ChangeError;
use super::peers::MESSAGE_BYTES_MAX;
use crate::api::tls::PeerCertificate;
use crate::authority::inspector::Inspector;
use crate::authority::neighbours::decode_change;
use crate::authority::{Authority, ProposeError};

/// Largest snapshot that is taken from a peer: as much as its blocks may have when they are unpacked.
const SNAPSHOT_BYTES_MAX: u64 = hessra_sled::snapshot::PLAIN_BYTES_MAX;
/// Commands in one forwarded batch; members of this version send at most 256 and one more.
const FORWARDED_COMMANDS_MAX: usize = 1_024;

/// The service of the peer port.
pub struct PeerService {
    raft: RaftHandle,
    authority: Authority,
    inspector: Inspector,
    certificates: Certificates,
}

/// Whether members must show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Always, in production.
    Required,
    /// Tests of this crate, over plain connections inside one process.
    #[cfg(test)]
    None,
}

/// The service, with its limits set.
#[must_use]
pub fn service(
    authority: Authority,
    inspector: Inspector,
    certificates: Certificates,
) -> RaftServer<PeerService> {
    RaftServer::new(PeerService::new(authority, inspector, certificates))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Who sent a request: `None` only where certificates are not required.
type Sender = Option<u64>;

impl PeerService {
    /// Over the parts of this node.
    #[must_use]
    pub fn new(authority: Authority, inspector: Inspector, certificates: Certificates) -> Self {
        let raft = authority.raft().clone();
        Self {
            raft,
            authority,
            inspector,
            certificates,
        }
    }

    fn sender<T>(&self, request: &Request<T>) -> Result<Sender, Status> {
        if self.certificates != Certificates::Required {
            return Ok(None);
        }
        let certificate = request.extensions().get::<PeerCertificate>();
        let certificate = certificate
            .ok_or_else(|| refuse(Reason::Unauthenticated, "no certificate was presented"))?;
        let cluster = &self.raft.identity().cluster;
        let id = certificate.node_id(cluster).ok_or_else(|| {
            let names = certificate.san_uris.join(", ");
            refuse(
                Reason::NotPermitted,
                format!("the certificate names `{names}`, which is no node of cluster `{cluster}`"),
            )
        })?;
        Ok(Some(id))
    }

    fn same_cluster(&self, cluster_id: &[u8]) -> Result<(), Status> {
        if cluster_id == self.raft.identity().cluster_id() {
            return Ok(());
        }
        let cluster = &self.raft.identity().cluster;
        Err(refuse(
            Reason::NotPermitted,
            format!(
                "this is node {} of cluster `{cluster}`, and the request is of another cluster. Correct the peer address",
                self.raft.identity().id
            ),
        ))
    }

    /// A member may speak for itself only.
    fn speaks_for(&self, sender: Sender, claimed: Option<u64>) -> Result<(), Status> {
        match (sender, claimed) {
            (None, _) => Ok(()),
            (Some(sender), Some(claimed)) if sender == claimed => Ok(()),
            (Some(sender), claimed) => {
                let claimed =
                    claimed.map_or_else(|| "nobody".to_owned(), |id| format!("node {id}"));
                tracing::error!(sender, claimed, "refused a member that spoke for another");
                Err(refuse(
                    Reason::NotPermitted,
                    format!(
                        "the certificate is of node {sender}, the request speaks for {claimed}"
                    ),
                ))
            }
        }
    }

    /// Requests that change or reveal something come from members; a node that was removed is one no more.
    fn member(&self, sender: Sender) -> Result<(), Status> {
        match sender {
            None => Ok(()),
            Some(id) if self.raft.members().nodes.contains_key(&id) => Ok(()),
            Some(id) => Err(refuse(
                Reason::NotPermitted,
                format!("node {id} is not a member. Add it with `hessra cluster add`"),
            )),
        }
    }

    fn check_member<T>(&self, request: &Request<T>, cluster_id: &[u8]) -> Result<(), Status> {
        self.same_cluster(cluster_id)?;
        self.member(self.sender(request)?)
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
        let vote = codec::decode_vote(append.vote.as_ref().ok_or_else(|| malformed("vote"))?);
        self.speaks_for(sender, vote.leader_id().voted_for())?;
        let entries = append
            .entries
            .iter()
            .map(|bytes| codec::decode_entry(bytes))
            .collect::<Result<Vec<_>, _>>();
        let append = AppendEntriesRequest::<Types> {
            vote,
            prev_log_id: append.prev.as_ref().map(codec::decode_log_id),
            entries: entries.map_err(|error| refuse(Reason::Unsupported, error.to_string()))?,
            leader_commit: append.leader_commit.as_ref().map(codec::decode_log_id),
        };
        let response = self
            .raft
            .raft
            .append_entries(append)
            .await
            .map_err(|error| unavailable(&error))?;
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
        self.speaks_for(sender, candidate.leader_id().voted_for())?;
        let vote = VoteRequest::new(candidate, vote.last_log.as_ref().map(codec::decode_log_id));
        let response = self
            .raft
            .raft
            .vote(vote)
            .await
            .map_err(|error| unavailable(&error))?;
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
        let head = chunks.message().await?.ok_or_else(|| malformed("head"))?;
        self.same_cluster(&head.cluster_id)?;
        let vote = codec::decode_vote(head.vote.as_ref().ok_or_else(|| malformed("vote"))?);
        self.speaks_for(sender, vote.leader_id().voted_for())?;
        let meta = head.meta.as_ref().ok_or_else(|| malformed("meta"))?;
        let (meta, size) = codec::decode_snapshot_meta(meta)
            .map_err(|error| refuse(Reason::Unsupported, error.to_string()))?;
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
        let response = self
            .raft
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(Response::new(wire::SnapshotResponse {
            vote: Some(codec::encode_vote(&response.vote)),
        }))
    }

    async fn propose(
        &self,
        request: Request<wire::ProposeRequest>,
    ) -> Result<Response<wire::ProposeResponse>, Status> {
        self.check_member(&request, &request.get_ref().cluster_id)?;
        let deadline = deadline_of(&request);
        let commands = request.into_inner().commands;
        if commands.len() > FORWARDED_COMMANDS_MAX {
            return Err(refuse(
                Reason::Limit,
                format!("a batch has at most {FORWARDED_COMMANDS_MAX} commands"),
            ));
        }
        let commands = commands
            .iter()
            .map(codec::decode_stamped)
            .collect::<Result<Vec<_>, _>>();
        let commands = commands.map_err(|error| refuse(Reason::Unsupported, error.to_string()))?;
        let committed = self.authority.propose_forwarded(commands, deadline).await;
        let committed = committed.map_err(|error| match error {
            ProposeError::NoRoom(reason) => refuse(Reason::Degraded, reason),
            error => Failure::from(error).into(),
        })?;
        Ok(Response::new(wire::ProposeResponse {
            applied: committed
                .answers
                .iter()
                .map(codec::encode_applied)
                .collect(),
            log_index: committed.index,
            holders: u32::try_from(committed.holders).unwrap_or(u32::MAX),
        }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        self.check_member(&request, &request.get_ref().cluster_id)?;
        if !self.raft.is_leader() {
            return Err(refuse(Reason::NoLeader, "this node does not lead"));
        }
        let deadline = deadline_of(&request);
        match self.authority.confirm(deadline).await {
            Ok(confirmation) => Ok(Response::new(wire::ReadIndexResponse {
                index: confirmation.index,
            })),
            Err(error) => Err(Failure::from(error).into()),
        }
    }

    async fn stand(
        &self,
        request: Request<wire::StandRequest>,
    ) -> Result<Response<wire::StandResponse>, Status> {
        self.check_member(&request, &request.get_ref().cluster_id)?;
        self.raft.stand().await.map_err(refuse_change)?;
        Ok(Response::new(wire::StandResponse {}))
    }

    async fn change_membership(
        &self,
        request: Request<wire::ChangeMembershipRequest>,
    ) -> Result<Response<wire::ChangeMembershipResponse>, Status> {
        self.check_member(&request, &request.get_ref().cluster_id)?;
        let change = decode_change(request.into_inner().change);
        let change = change.ok_or_else(|| {
            refuse(
                Reason::Unsupported,
                "this change is not known here. Upgrade this node",
            )
        })?;
        let log_index = self
            .authority
            .change_members_here(&change)
            .await
            .map_err(refuse_change)?;
        Ok(Response::new(wire::ChangeMembershipResponse { log_index }))
    }

    async fn inspect(
        &self,
        request: Request<wire::InspectRequest>,
    ) -> Result<Response<wire::InspectResponse>, Status> {
        self.check_member(&request, &request.get_ref().cluster_id)?;
        Ok(Response::new(
            self.inspector.inspect(request.get_ref().verifiers),
        ))
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
    while let Some(chunk) = chunks.message().await? {
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

fn unavailable(error: &dyn std::fmt::Display) -> Status {
    tracing::error!(%error, "consensus could not serve a peer");
    refuse(
        Reason::Unavailable,
        "consensus has stopped on this node. Its log says why",
    )
}

/// A refused change, as clients and members read it.
#[must_use]
pub fn refuse_change(error: ChangeError) -> Status {
    let reason = match &error {
        ChangeError::NotLeader => Reason::NoLeader,
        ChangeError::Invalid(_) => Reason::InvalidArgument,
        ChangeError::NotFound(_) => Reason::NotFound,
        ChangeError::Conflict(_) => Reason::Conflict,
        ChangeError::QuorumLost(_) => Reason::QuorumLost,
        ChangeError::Unavailable(_) => Reason::Unavailable,
    };
    refuse(reason, error.to_string())
}
