//! Signatures over the head of a chain: an intruder who can write files, but not sign, cannot make another past.
//!
//! A checkpoint is a record `audit.checkpoint`. It signs the head before itself twice:
//!
//! | signature | key | what it shows |
//! |---|---|---|
//! | the node's | made by the node at its first start, its public half in the replicated state | which node wrote the chain; no other member can sign it |
//! | the cluster's | the active key of purpose *audit*, in the JWK set that collectors have | that it is a chain of this cluster, without asking it |
//!
//! Between two checkpoints a chain is as good as the disk it is on; the bound is in the node's background work: a minute,
//! or a thousand records but at least a second. A node without an active cluster key leaves the second signature out.

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;

use crate::record::{Chain, Record};
use crate::{ChainId, Head};

/// Names of the fields in `change`.
pub mod field {
    /// Feed id of the cluster, hexadecimal.
    pub const CLUSTER: &str = "cluster";
    /// Id of the cluster's key that signed.
    pub const KEY: &str = "key";
    /// Ed25519 signature by that key, hexadecimal.
    pub const SIGNATURE: &str = "signature";
    /// Public half of the node's key, hexadecimal.
    pub const NODE_KEY: &str = "node_key";
    /// Ed25519 signature by the node's key, hexadecimal.
    pub const NODE_SIGNATURE: &str = "node_signature";
    /// The first log entry whose administrative records are not in the chain yet.
    pub const NEXT_INDEX: &str = "next_index";
}

/// The public half of an audit key of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CheckpointKey {
    pub id: u32,
    /// Ed25519.
    pub public_key: [u8; 32],
}

/// Result of a check of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// No signature.
    No,
    /// Right signature.
    Yes,
    /// Signature by a key that was not given: it can be neither believed nor refused.
    UnknownKey(u32),
    /// Wrong signature.
    Wrong(u32),
}

/// Subject of a signature: the head of one chain of one node at one time.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Statement<'a> {
    /// Feed id of the cluster, hexadecimal.
    pub cluster: &'a str,
    pub node: u64,
    pub chain: Chain,
    pub chain_id: ChainId,
    pub head: &'a Head,
    pub ts: &'a str,
}

impl Statement<'_> {
    /// The bytes that are signed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let Self {
            cluster,
            node,
            chain,
            chain_id,
            head,
            ts,
        } = self;
        let (seq, hash, chain_id) = (head.seq, head.hex(), chain_id.hex());
        format!(
            "hessra audit checkpoint v1\n{cluster}\n{node}\n{chain}\n{chain_id}\n{seq}\n{hash}\n{ts}\n"
        )
        .into_bytes()
    }
}

/// A checkpoint, read from its record.
pub(crate) struct Checkpoint<'a> {
    record: &'a Record,
    statement: Vec<u8>,
}

impl<'a> Checkpoint<'a> {
    /// Reads a checkpoint. `before` is the head of the chain that the record follows.
    pub(crate) fn read(record: &'a Record, before: &Head, chain_id: ChainId) -> Self {
        let statement = Statement {
            cluster: text(record, field::CLUSTER).unwrap_or_default(),
            node: record.node,
            chain: record.chain,
            chain_id,
            head: before,
            ts: &record.ts,
        };
        Self {
            record,
            statement: statement.bytes(),
        }
    }

    /// Checks the cluster's signature.
    pub(crate) fn by_cluster(&self, keys: &[CheckpointKey]) -> Signed {
        let Some(signature) = text(self.record, field::SIGNATURE) else {
            return Signed::No;
        };
        let id = self.record.change.get(field::KEY).and_then(Value::as_u64);
        let id = id.and_then(|id| u32::try_from(id).ok()).unwrap_or_default();
        let Some(key) = keys.iter().find(|key| key.id == id) else {
            return Signed::UnknownKey(id);
        };
        match is_signed(&key.public_key, &self.statement, signature) {
            true => Signed::Yes,
            false => Signed::Wrong(id),
        }
    }

    /// The node's key that the checkpoint names, when its signature is right; `None` when there is none or it is wrong.
    pub(crate) fn by_node(&self) -> Option<[u8; 32]> {
        let key = HEXLOWER.decode(text(self.record, field::NODE_KEY)?.as_bytes());
        let key: [u8; 32] = key.ok()?.try_into().ok()?;
        let signature = text(self.record, field::NODE_SIGNATURE)?;
        is_signed(&key, &self.statement, signature).then_some(key)
    }
}

fn text<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.change.get(name).and_then(Value::as_str)
}

fn is_signed(public_key: &[u8; 32], message: &[u8], signature: &str) -> bool {
    let Ok(bytes) = HEXLOWER.decode(signature.as_bytes()) else {
        return false;
    };
    let (Ok(signature), Ok(key)) = (
        Signature::from_slice(&bytes),
        VerifyingKey::from_bytes(public_key),
    ) else {
        return false;
    };
    key.verify_strict(message, &signature).is_ok()
}
