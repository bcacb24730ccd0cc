//! One durable write of either side, of the same size on the wire.

use hessra_proto::v1::authority_client::AuthorityClient;
use hessra_proto::v1::{RevokeRequest, Target, target};
use hessra_sdk_rust::admin::RequestSigner;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::transport::Channel;

use crate::cluster::{Cluster, Side};
use crate::etcd::PutRequest;
use crate::etcd::kv_client::KvClient;
use crate::failure::BenchError;

/// Message that an operator writes beside the target: with it, a revoke has about 256 bytes, as etcd's own benchmark
/// has.
const MESSAGE: &str = "laptop of the on-call engineer was lost in a train; every agent that it started is contained \
                       until the owner has confirmed which of them were hers, and which were not";
/// Subtree of the revoked identities: below an identity of the development policy, deep enough for its minimum.
const SUBTREE: &str = "urn:hessra:alice:agent";

/// Names of one run: unique, because a second write of a name would be answered without a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    run: u64,
}

impl Names {
    /// Names that no earlier run used.
    pub(crate) fn new(run: u64) -> Self {
        Self { run }
    }

    /// Prefix of every identity of the run.
    pub(crate) fn prefix(self) -> String {
        format!("{SUBTREE}:{:08x}-", self.run as u32)
    }

    /// The identity that write `number` revokes.
    pub(crate) fn identity(self, number: u64) -> String {
        format!("{}{number:012}", self.prefix())
    }

    /// Number of the write that named this identity.
    pub(crate) fn number(self, identity: &str) -> Option<u64> {
        identity.strip_prefix(&self.prefix())?.parse().ok()
    }

    /// Request id without a pattern, as those of all clients.
    fn request_id(self, number: u64) -> Vec<u8> {
        let mut chance = SmallRng::seed_from_u64(self.run.rotate_left(32) ^ number);
        chance.r#gen::<[u8; 16]>().to_vec()
    }

    /// The revoke that write `number` is.
    pub(crate) fn revoke(self, number: u64) -> RevokeRequest {
        RevokeRequest {
            request_id: self.request_id(number),
            targets: vec![Target {
                kind: Some(target::Kind::Subtree(self.identity(number))),
            }],
            reason: "compromised".to_owned(),
            ticket: "INC-2041".to_owned(),
            message: MESSAGE.to_owned(),
            ..RevokeRequest::default()
        }
    }

    /// The put that write `number` is: the identity is the key, and the rest of the revoke the value.
    pub(crate) fn put(self, number: u64) -> PutRequest {
        // Request id, reason and ticket, and the tags and lengths that a revoke has more than a put.
        const OTHER_FIELDS: usize = 43;
        PutRequest {
            key: self.identity(number).into_bytes(),
            value: vec![b'v'; MESSAGE.len() + OTHER_FIELDS],
        }
    }
}

/// A client of either side, over a connection that others share.
#[derive(Clone)]
pub(crate) enum Writer {
    /// Revokes a subtree.
    Hessra(AuthorityClient<Channel>, RequestSigner),
    /// Puts a key.
    Etcd(KvClient<Channel>),
}

impl Writer {
    /// Writer over this connection.
    ///
    /// # Errors
    /// The cluster does not say which one it is, so that no request to it can be signed.
    pub(crate) async fn new(cluster: &Cluster, channel: Channel) -> Result<Self, BenchError> {
        Ok(match cluster.side {
            Side::Hessra => {
                let signer = cluster.signer().await?;
                Self::Hessra(AuthorityClient::new(channel), signer)
            }
            Side::Etcd => Self::Etcd(KvClient::new(channel)),
        })
    }

    /// The same writer over another connection.
    pub(crate) fn over(&self, channel: Channel) -> Self {
        match self {
            Self::Hessra(_, signer) => Self::Hessra(AuthorityClient::new(channel), signer.clone()),
            Self::Etcd(_) => Self::Etcd(KvClient::new(channel)),
        }
    }

    /// Writes once; returns when a quorum has it on disk.
    ///
    /// # Errors
    /// As the server said.
    pub(crate) async fn write(&mut self, names: Names, number: u64) -> Result<(), tonic::Status> {
        match self {
            Self::Hessra(client, signer) => {
                let request = signer.sign(names.revoke(number));
                let request =
                    request.map_err(|error| tonic::Status::internal(error.to_string()))?;
                client.revoke(request).await.map(|_| ())
            }
            Self::Etcd(client) => client.put(names.put(number)).await.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn both_sides_send_the_same_number_of_bytes() {
        let names = Names::new(7);
        let (revoke, put) = (names.revoke(1).encoded_len(), names.put(1).encoded_len());
        assert_eq!(revoke, put);
        assert!((240..=300).contains(&revoke), "{revoke} bytes");
    }

    #[test]
    fn no_two_writes_have_one_name_or_one_request_id() {
        let names = Names::new(u64::MAX);
        assert_ne!(names.revoke(1).targets, names.revoke(2).targets);
        assert_ne!(names.revoke(1).request_id, names.revoke(2).request_id);
        assert_eq!(names.revoke(1).request_id.len(), 16);
        assert_eq!(
            (
                names.number(&names.identity(41)),
                names.number("urn:hessra:alice")
            ),
            (Some(41), None)
        );
    }
}
