//! Requests to the other members over gRPC.
//!
//! Whether the peer is who it should be is decided by the dialer: it connects only to a certificate of the cluster's
//! own authority that names the expected node. An entry is encoded once, whatever the number of followers it goes to
//! ([`EncodedEntries`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hessra_consensus::{Change, Lately, NodeIdentity, Peer, PeerError, Peers, Proposed, ReadIndex};
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::log;
use hessra_proto::v1::raft as wire;
use hessra_proto::v1::raft::change_membership_request::Change as WireChange;
use hessra_proto::v1::raft::raft_client::RaftClient;
use hessra_sled::{Member, SnapshotImage, TokioTypes as Types, Vote, codec};
use hessra_state::{Applied, Stamped};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{Snapshot, TokioRuntime};
use prost::bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::between;
use crate::join::JoinSecret;
use crate::tls::PeerTls;

/// Largest message between members. One revocation of 10,000 identities of 512 bytes each is about 5.3 MB, and an
/// inspection of 100,000 verifiers about 20 MB.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Encoded entries kept for followers that have not been sent them yet.
const ENCODED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes above which the entries of one append are split: well below the message limit, and short enough to be written
/// to disk within a heartbeat interval.
const APPEND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a snapshot in one message.
const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;

/// A dialer that opens channels to peers.
pub trait PeerDialer: Send + Sync + 'static {
    /// A channel that connects when it is first used, again when it broke, and only to node `id`.
    fn channel(&self, id: u64, address: &str) -> Channel;
}

impl PeerDialer for PeerTls {
    fn channel(&self, id: u64, address: &str) -> Channel {
        self.channel(id, address)
    }
}

/// Kinds of traffic. Snapshots have a connection of their own: a heartbeat must not wait behind a gigabyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Traffic {
    Calls,
    Snapshots,
}

/// Connections to the other members, shared by everything that talks to them.
pub struct PeerClients {
    cluster_id: Vec<u8>,
    join_secret: Option<JoinSecret>,
    dialer: Arc<dyn PeerDialer>,
    channels: Mutex<BTreeMap<(u64, Traffic, String), Channel>>,
    encoded: Mutex<EncodedEntries>,
}

impl PeerClients {
    /// Clients without a connection yet, which show the join secret when there is one.
    #[must_use]
    pub fn new(
        identity: &NodeIdentity,
        dialer: Arc<dyn PeerDialer>,
        join_secret: Option<JoinSecret>,
    ) -> Self {
        Self {
            cluster_id: identity.cluster_id().to_vec(),
            join_secret,
            dialer,
            channels: Mutex::default(),
            encoded: Mutex::default(),
        }
    }

    /// Client of a member; the connection is shared and made when first used.
    fn client(&self, traffic: Traffic, peer: &Peer) -> RaftClient<Channel> {
        let (id, peer_address) = (peer.id, &peer.member.peer_address);
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        // Another address of the same node is another connection: the old one is dropped with its key.
        channels.retain(|(known, _, address), _| *known != id || address == peer_address);
        let channel = channels
            .entry((id, traffic, peer_address.clone()))
            .or_insert_with(|| self.dialer.channel(id, peer_address));
        RaftClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn calls(&self, peer: &Peer) -> RaftClient<Channel> {
        self.client(Traffic::Calls, peer)
    }

    /// A request that names the stores between which it is made, and shows the join secret: the receiver may be a node that
    /// no membership names yet.
    fn ask<T>(&self, to: &Peer, message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        // The peer sees the deadline too.
        request.set_timeout(timeout);
        between::show(&to.between, request.metadata_mut());
        if let Some(secret) = &self.join_secret {
            secret.show(request.metadata_mut());
        }
        request
    }

    fn encode(&self, entries: &[openraft::Entry<Types>]) -> Vec<Bytes> {
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .map(|entry| encoded.bytes_of(entry))
            .collect()
    }
}

impl Peers<TokioRuntime> for PeerClients {
    async fn append(
        &self,
        to: &Peer,
        append: AppendEntriesRequest<Types>,
        timeout: Duration,
    ) -> Result<AppendEntriesResponse<u64>, PeerError> {
        let entries = self.encode(&append.entries);
        refuse_too_large(&entries)?;
        let request = wire::AppendRequest {
            cluster_id: self.cluster_id.clone(),
            vote: Some(codec::encode_vote(&append.vote)),
            prev: append.prev_log_id.as_ref().map(codec::encode_log_id),
            entries,
            leader_commit: append.leader_commit.as_ref().map(codec::encode_log_id),
        };
        let answered = self.calls(to).append(self.ask(to, request, timeout)).await;
        append_response(&answered.map_err(failed)?.into_inner())
    }

    async fn vote(
        &self,
        to: &Peer,
        vote: VoteRequest<u64>,
        timeout: Duration,
    ) -> Result<VoteResponse<u64>, PeerError> {
        let request = wire::VoteRequest {
            cluster_id: self.cluster_id.clone(),
            vote: Some(codec::encode_vote(&vote.vote)),
            last_log: vote.last_log_id.as_ref().map(codec::encode_log_id),
        };
        let answered = self.calls(to).vote(self.ask(to, request, timeout)).await;
        let response = answered.map_err(failed)?.into_inner();
        Ok(VoteResponse::new(
            decoded_vote(response.vote.as_ref())?,
            response.last_log.as_ref().map(codec::decode_log_id),
            response.granted,
        ))
    }

    async fn snapshot(
        &self,
        to: &Peer,
        vote: Vote,
        snapshot: Snapshot<Types>,
        timeout: Duration,
    ) -> Result<SnapshotResponse<u64>, PeerError> {
        let chunks = snapshot_chunks(self.cluster_id.clone(), &vote, snapshot);
        let request = self.ask(to, tokio_stream::iter(chunks), timeout);
        let answered = self.client(Traffic::Snapshots, to).snapshot(request).await;
        let response = answered.map_err(failed)?.into_inner();
        Ok(SnapshotResponse::new(decoded_vote(response.vote.as_ref())?))
    }

    async fn propose(
        &self,
        to: &Peer,
        commands: Vec<Stamped>,
        timeout: Duration,
    ) -> Result<Proposed, PeerError> {
        let request = wire::ProposeRequest {
            cluster_id: self.cluster_id.clone(),
            batch: Some(codec::encode_batch(&commands)),
        };
        let answered = self.calls(to).propose(self.ask(to, request, timeout)).await;
        let response = answered.map_err(failed)?.into_inner();
        let answers: Result<Vec<Applied>, _> =
            response.applied.iter().map(codec::decode_applied).collect();
        Ok(Proposed {
            answers: answers.map_err(|_| unreadable_answer())?,
            index: response.log_index,
            holders: response.holders as usize,
        })
    }

    async fn read_index(&self, to: &Peer, timeout: Duration) -> Result<ReadIndex, PeerError> {
        let request = wire::ReadIndexRequest {
            cluster_id: self.cluster_id.clone(),
        };
        let mut client = self.calls(to);
        let answered = within(timeout, client.read_index(self.ask(to, request, timeout))).await;
        let wire::ReadIndexResponse {
            index,
            leads_for_ms,
            asked,
        } = answered.map_err(failed)?.into_inner();
        let asked = asked.into_iter();
        let asked = asked.map(|asked| (asked.node, Duration::from_millis(asked.ago_ms)));
        let lately = Lately {
            leads_for: Duration::from_millis(leads_for_ms),
            asked: asked.collect(),
        };
        Ok(ReadIndex { index, lately })
    }

    async fn stand(&self, to: &Peer, timeout: Duration) -> Result<(), PeerError> {
        let request = wire::StandRequest {
            cluster_id: self.cluster_id.clone(),
        };
        let answered = self.calls(to).stand(self.ask(to, request, timeout)).await;
        answered.map_err(failed)?;
        Ok(())
    }

    async fn change_members(
        &self,
        to: &Peer,
        change: &Change,
        timeout: Duration,
    ) -> Result<u64, PeerError> {
        let request = wire::ChangeMembershipRequest {
            cluster_id: self.cluster_id.clone(),
            change: Some(encode_change(change)),
        };
        let mut client = self.calls(to);
        let answered = client
            .change_membership(self.ask(to, request, timeout))
            .await;
        Ok(answered.map_err(failed)?.into_inner().log_index)
    }

    async fn inspect(
        &self,
        to: &Peer,
        verifiers: bool,
        timeout: Duration,
    ) -> Result<wire::InspectResponse, PeerError> {
        let request = wire::InspectRequest {
            cluster_id: self.cluster_id.clone(),
            verifiers,
        };
        let mut client = self.calls(to);
        let answered = within(timeout, client.inspect(self.ask(to, request, timeout))).await;
        Ok(answered.map_err(failed)?.into_inner())
    }
}

/// Waits for an answer, and for the connection that it needs: the time-out of a request begins only when there is one, and a
/// machine that is gone without a word is connected to for seconds. For questions, which may be given up at any moment.
async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let answered = tokio::time::timeout(timeout, call).await;
    answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}

fn failed(status: Status) -> PeerError {
    Failure::from(&status).into()
}

fn refuse_too_large(entries: &[Bytes]) -> Result<(), PeerError> {
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
    Err(PeerError::TooLarge {
        fitting: fitting.count().max(1) as u64,
    })
}

fn append_response(
    response: &wire::AppendResponse,
) -> Result<AppendEntriesResponse<u64>, PeerError> {
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
        Outcome::Unspecified => Err(malformed("outcome")),
    }
}

fn decoded_vote(vote: Option<&log::Vote>) -> Result<Vote, PeerError> {
    vote.map(codec::decode_vote)
        .ok_or_else(|| malformed("vote"))
}

fn malformed(what: &str) -> PeerError {
    PeerError::Unreadable(format!(
        "a peer's answer has no valid {what}: it runs another version. Upgrade it"
    ))
}

fn unreadable_answer() -> PeerError {
    PeerError::Unreadable(
        "the leader's answer cannot be read: it runs another version. Upgrade this node".to_owned(),
    )
}

/// The snapshot in pieces; the first also says whose and of what.
fn snapshot_chunks(
    cluster_id: Vec<u8>,
    vote: &Vote,
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

fn encode_change(change: &Change) -> WireChange {
    match change {
        Change::AddLearner { id, member } => WireChange::AddLearner(log::Node {
            id: *id,
            peer_address: member.peer_address.clone(),
            public_address: member.public_address.clone(),
            incarnation: Vec::new(),
        }),
        Change::Promote(id) => WireChange::Promote(*id),
        Change::Remove(id) => WireChange::Remove(*id),
        Change::TransferTo(id) => WireChange::TransferTo(*id),
    }
}

/// Decodes a change from the wire.
///
/// # Errors
/// A change that only a newer version knows.
pub(crate) fn decode_change(change: Option<WireChange>) -> Result<Change, Failure> {
    Ok(match change {
        Some(WireChange::AddLearner(node)) => Change::AddLearner {
            id: node.id,
            member: Member {
                peer_address: node.peer_address,
                public_address: node.public_address,
                incarnation: None,
            },
        },
        Some(WireChange::Promote(id)) => Change::Promote(id),
        Some(WireChange::Remove(id)) => Change::Remove(id),
        Some(WireChange::TransferTo(id)) => Change::TransferTo(id),
        None => {
            let message = "this change is not known here. Upgrade this node";
            return Err(Failure::new(Reason::Unsupported, message));
        }
    })
}

/// The newest entries as they go over the wire, by log id: one log id has one payload for ever.
#[derive(Default)]
struct EncodedEntries {
    by_log_id: BTreeMap<(u64, u64), Bytes>,
    bytes: usize,
}

impl EncodedEntries {
    fn bytes_of(&mut self, entry: &openraft::Entry<Types>) -> Bytes {
        let key = (entry.log_id.index, entry.log_id.leader_id.term);
        if let Some(bytes) = self.by_log_id.get(&key) {
            return bytes.clone();
        }
        let bytes = Bytes::from(codec::encode_entry(entry));
        self.bytes += bytes.len();
        self.by_log_id.insert(key, bytes.clone());
        self.shrink();
        bytes
    }

    fn shrink(&mut self) {
        while self.bytes > ENCODED_BYTES_MAX {
            let Some((_, oldest)) = self.by_log_id.pop_first() else {
                return;
            };
            self.bytes -= oldest.len();
        }
    }
}
