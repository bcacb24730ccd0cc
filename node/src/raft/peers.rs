//! Connections to the other members, shared by everything that talks to them.
//!
//! An entry is encoded once, whatever the number of followers it goes to ([`EncodedEntries`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hessra_proto::v1::raft::raft_client::RaftClient;
use hessra_sled::{Member, TokioTypes as Types, codec};
use prost::bytes::Bytes;
use tonic::Request;
use tonic::transport::Channel;

use super::NodeIdentity;

/// Largest message between members. One revocation of 10,000 identities of 512 bytes each is about 5.3 MB, and an
/// inspection of 100,000 verifiers about 20 MB.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Encoded entries kept for followers that have not been sent them yet.
const ENCODED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Opens channels to peers.
pub trait PeerDialer: Send + Sync + 'static {
    /// A channel that connects when it is first used, again when it broke, and only to node `id`.
    fn channel(&self, id: u64, address: &str) -> Channel;
}

/// Client of one peer.
pub type PeerClient = RaftClient<Channel>;

/// Snapshots have a connection of their own: a heartbeat must not wait behind a gigabyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Traffic {
    Calls,
    Snapshots,
}

/// Connections to the other members, shared by everything that talks to them.
pub struct Peers {
    identity: NodeIdentity,
    cluster_id: Vec<u8>,
    dialer: Arc<dyn PeerDialer>,
    channels: Mutex<BTreeMap<(u64, Traffic, String), Channel>>,
    encoded: Mutex<EncodedEntries>,
}

impl Peers {
    /// No connection yet.
    #[must_use]
    pub fn new(identity: NodeIdentity, dialer: Arc<dyn PeerDialer>) -> Self {
        let cluster_id = identity.cluster_id().to_vec();
        Self {
            identity,
            cluster_id,
            dialer,
            channels: Mutex::default(),
            encoded: Mutex::default(),
        }
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// Names the cluster in every request.
    #[must_use]
    pub fn cluster_id(&self) -> Vec<u8> {
        self.cluster_id.clone()
    }

    /// Client of a member; the connection is shared and made when first used.
    #[must_use]
    pub fn client(&self, id: u64, member: &Member) -> PeerClient {
        self.client_for(Traffic::Calls, id, &member.peer_address)
    }

    pub(super) fn client_for(&self, traffic: Traffic, id: u64, peer_address: &str) -> PeerClient {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        // Another address of the same node is another connection: the old one is dropped with its key.
        channels.retain(|(known, _, address), _| *known != id || *address == peer_address);
        let key = (id, traffic, peer_address.to_owned());
        let channel = channels
            .entry(key)
            .or_insert_with(|| self.dialer.channel(id, peer_address));
        RaftClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn encode(&self, entries: &[openraft::Entry<Types>]) -> Vec<Bytes> {
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .map(|entry| encoded.bytes_of(entry))
            .collect()
    }
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

/// A request with a deadline that the peer sees too.
pub fn within<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}
