//! What openraft sends: appends, votes, snapshots, one [`Network`] per replication stream.
//!
//! A peer that cannot be reached is tried again after a pause that grows; timeouts are those that openraft gives.
//!
//! Whether the peer is who it should be is decided by the dialer: it connects only to a certificate of the cluster's
//! own authority that names the expected node.
#![allow(
    clippy::result_large_err,
    reason = "openraft's error type, made only when a message failed"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hessra_proto::v1::raft as wire;
use hessra_sled::{Member, SnapshotImage, TokioTypes as Types, codec};
use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{Snapshot, Vote};
use prost::bytes::Bytes;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::peers::{PeerClient, Peers, Traffic, within};
use super::{Candidacy, RaftSettings};

/// Entries of one append are split above this: well below the message limit, and short enough to be written to disk
/// within a heartbeat interval.
const APPEND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a snapshot in one message.
const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;
/// Pauses before an unreachable peer is tried again: from short, because a restart takes a second, to two seconds.
const BACKOFF_MS: [u64; 6] = [50, 100, 200, 400, 800, 2_000];

/// Makes one [`Network`] per replication stream.
pub struct Factory {
    peers: Arc<Peers>,
    candidacy: Arc<Candidacy>,
    snapshot_timeout: Duration,
}

impl Factory {
    /// Over shared connections.
    #[must_use]
    pub fn new(peers: Arc<Peers>, candidacy: Arc<Candidacy>, settings: &RaftSettings) -> Self {
        Self {
            peers,
            candidacy,
            snapshot_timeout: settings.snapshot_timeout,
        }
    }
}

impl RaftNetworkFactory<Types> for Factory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, member: &Member) -> Network {
        let (client, address) = (
            self.peers.client(target, member),
            member.peer_address.clone(),
        );
        Network {
            target,
            address,
            client,
            peers: Arc::clone(&self.peers),
            candidacy: Arc::clone(&self.candidacy),
            snapshot_timeout: self.snapshot_timeout,
        }
    }
}

/// What openraft sends to one peer.
pub struct Network {
    target: u64,
    address: String,
    client: PeerClient,
    peers: Arc<Peers>,
    candidacy: Arc<Candidacy>,
    snapshot_timeout: Duration,
}

type RpcError = RPCError<u64, Member, RaftError<u64>>;

impl RaftNetwork<Types> for Network {
    async fn append_entries(
        &mut self,
        append: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let entries = self.peers.encode(&append.entries);
        refuse_too_large(&entries)?;
        let request = wire::AppendRequest {
            cluster_id: self.peers.cluster_id(),
            vote: Some(codec::encode_vote(&append.vote)),
            prev: append.prev_log_id.as_ref().map(codec::encode_log_id),
            entries,
            leader_commit: append.leader_commit.as_ref().map(codec::encode_log_id),
        };
        let begun = Instant::now();
        let response = self
            .client
            .append(within(request, option.hard_ttl()))
            .await
            .map_err(rpc_error)?;
        crate::telemetry::metrics()
            .raft_append_duration
            .record(begun.elapsed().as_secs_f64(), &[]);
        append_response(response.into_inner())
    }

    async fn vote(
        &mut self,
        vote: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        let request = wire::VoteRequest {
            cluster_id: self.peers.cluster_id(),
            vote: Some(codec::encode_vote(&vote.vote)),
            last_log: vote.last_log_id.as_ref().map(codec::encode_log_id),
        };
        let response = self
            .client
            .vote(within(request, option.hard_ttl()))
            .await
            .map_err(rpc_error)?
            .into_inner();
        let answer = VoteResponse::new(
            decoded_vote(response.vote.as_ref())?,
            response.last_log.as_ref().map(codec::decode_log_id),
            response.granted,
        );
        self.candidacy.heard(&vote, &answer);
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let bytes = snapshot.snapshot.len();
        tracing::info!(peer = self.target, bytes, "started to send a snapshot");
        let chunks = snapshot_chunks(self.peers.cluster_id(), &vote, snapshot);
        let request = within(tokio_stream::iter(chunks), self.snapshot_timeout);
        let mut client = self
            .peers
            .client_for(Traffic::Snapshots, self.target, &self.address);
        let response = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            response = client.snapshot(request) => response.map_err(streaming_error)?.into_inner(),
        };
        tracing::info!(peer = self.target, bytes, "sent a snapshot");
        let vote =
            decoded_vote(response.vote.as_ref()).map_err(|_| streaming_error(malformed("vote")))?;
        Ok(SnapshotResponse::new(vote))
    }

    fn backoff(&self) -> Backoff {
        let last = BACKOFF_MS[BACKOFF_MS.len() - 1];
        Backoff::new(
            BACKOFF_MS
                .into_iter()
                .chain(std::iter::repeat(last))
                .map(Duration::from_millis),
        )
    }
}

fn refuse_too_large(entries: &[Bytes]) -> Result<(), RpcError> {
    let bytes: usize = entries.iter().map(Bytes::len).sum();
    if entries.len() < 2 || bytes <= APPEND_BYTES_MAX {
        return Ok(());
    }
    let mut room = APPEND_BYTES_MAX;
    let fitting = entries
        .iter()
        .take_while(|entry| match room.checked_sub(entry.len()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
    Err(PayloadTooLarge::new_entries_hint(fitting.count().max(1) as u64).into())
}

fn append_response(response: wire::AppendResponse) -> Result<AppendEntriesResponse<u64>, RpcError> {
    use wire::append_response::Outcome;
    match response.outcome() {
        Outcome::Success => Ok(AppendEntriesResponse::Success),
        Outcome::Partial => Ok(AppendEntriesResponse::PartialSuccess(
            response.matching.as_ref().map(codec::decode_log_id),
        )),
        Outcome::Conflict => Ok(AppendEntriesResponse::Conflict),
        Outcome::HigherVote => Ok(AppendEntriesResponse::HigherVote(decoded_vote(
            response.vote.as_ref(),
        )?)),
        Outcome::Unspecified => Err(rpc_error(malformed("outcome"))),
    }
}

fn decoded_vote(vote: Option<&hessra_proto::v1::log::Vote>) -> Result<Vote<u64>, RpcError> {
    vote.map(codec::decode_vote)
        .ok_or_else(|| rpc_error(malformed("vote")))
}

fn malformed(what: &str) -> Status {
    Status::internal(format!(
        "a peer's answer has no valid {what}: it runs another version. Upgrade it"
    ))
}

/// The snapshot in pieces; the first also says whose and of what.
fn snapshot_chunks(
    cluster_id: Vec<u8>,
    vote: &Vote<u64>,
    snapshot: Snapshot<Types>,
) -> impl Iterator<Item = wire::SnapshotChunk> + Send + use<> {
    let Snapshot { meta, snapshot } = snapshot;
    let size = snapshot.len() as u64;
    let head = wire::SnapshotChunk {
        cluster_id,
        vote: Some(codec::encode_vote(vote)),
        meta: Some(codec::encode_snapshot_meta(&meta, size)),
        ..wire::SnapshotChunk::default()
    };
    let data = (0..).map_while(move |number: usize| piece(&snapshot, number));
    std::iter::once(head).chain(data)
}

fn piece(snapshot: &SnapshotImage, number: usize) -> Option<wire::SnapshotChunk> {
    let bytes = snapshot.as_bytes();
    let start = number * SNAPSHOT_CHUNK_BYTES;
    // An empty snapshot still needs its last message.
    if start >= bytes.len() && number > 0 {
        return None;
    }
    let end = bytes.len().min(start + SNAPSHOT_CHUNK_BYTES);
    Some(wire::SnapshotChunk {
        data: bytes[start..end].to_vec(),
        last: end == bytes.len(),
        ..Default::default()
    })
}

/// Unreachable peers are left alone for a while; everything else is tried again at once.
fn rpc_error(status: Status) -> RpcError {
    match status.code() {
        Code::Unavailable
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented
        | Code::FailedPrecondition => RPCError::Unreachable(Unreachable::new(&status)),
        _ => RPCError::Network(NetworkError::new(&status)),
    }
}

fn streaming_error(status: Status) -> StreamingError<Types, Fatal<u64>> {
    StreamingError::Unreachable(Unreachable::new(&status))
}
