//! A signature over the head of a chain: an intruder who can write files, but not sign, cannot make another past.
//!
//! A checkpoint is a record `audit.checkpoint`. It signs the head before itself, with the key of purpose *audit* that is
//! active, and says which key. Between two checkpoints a chain is as good as the disk it is on; the bound is in
//! the node's background work: a minute, or a thousand records but at least a second. A node without an active audit key
//! writes the record without a signature.

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::Head;
use crate::record::Record;

/// Names of the fields in `change`.
pub mod field {
    /// Feed id of the cluster, hexadecimal.
    pub const CLUSTER: &str = "cluster";
    /// Id of the key that signed.
    pub const KEY: &str = "key";
    /// Ed25519 signature, hexadecimal.
    pub const SIGNATURE: &str = "signature";
    /// The first log entry whose administrative records are not in the chain yet.
    pub const NEXT_INDEX: &str = "next_index";
}

/// The public half of an audit key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CheckpointKey {
    pub id: u32,
    /// Ed25519.
    pub public_key: [u8; 32],
}

/// Result of a check of a checkpoint's signature.
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

/// The bytes that are signed: what `head` of which node of which cluster was at `ts`.
#[must_use]
pub fn statement(cluster: &str, node: u64, head: &Head, ts: &str) -> Vec<u8> {
    format!(
        "hessra audit checkpoint v1\n{cluster}\n{node}\n{}\n{}\n{ts}\n",
        head.seq,
        head.hex()
    )
    .into_bytes()
}

/// Checks the signature in a checkpoint record. `before` is the head of the chain that the record follows.
#[must_use]
pub fn check(record: &Record, before: &Head, keys: &[CheckpointKey]) -> Signed {
    let text = |name: &str| record.change.get(name).and_then(|value| value.as_str());
    let (Some(cluster), Some(signature)) = (text(field::CLUSTER), text(field::SIGNATURE)) else {
        return Signed::No;
    };
    let id = record
        .change
        .get(field::KEY)
        .and_then(serde_json::Value::as_u64);
    let id = id.and_then(|id| u32::try_from(id).ok()).unwrap_or_default();
    let Some(key) = keys.iter().find(|key| key.id == id) else {
        return Signed::UnknownKey(id);
    };
    let message = statement(cluster, record.node, before, &record.ts);
    if is_signed(key, &message, signature) {
        Signed::Yes
    } else {
        Signed::Wrong(id)
    }
}

fn is_signed(key: &CheckpointKey, message: &[u8], signature: &str) -> bool {
    let Ok(bytes) = HEXLOWER.decode(signature.as_bytes()) else {
        return false;
    };
    let (Ok(signature), Ok(key)) = (
        Signature::from_slice(&bytes),
        VerifyingKey::from_bytes(&key.public_key),
    ) else {
        return false;
    };
    key.verify_strict(message, &signature).is_ok()
}
