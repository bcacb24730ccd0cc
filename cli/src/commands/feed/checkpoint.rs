//! A checkpoint, for programs.

use data_encoding::HEXLOWER;
use hessra_sdk_rust::revocation::Checkpoint;
use serde_json::{Value, json};

use crate::output::timestamp;

/// A checkpoint for programs.
pub(super) fn checkpoint_json(checkpoint: &Checkpoint) -> Value {
    json!({
        "feed_id": checkpoint.feed_id.to_string(),
        "epoch": checkpoint.epoch.0,
        "revision": checkpoint.revision.0,
        "floor": checkpoint.floor_revision.0,
        "log_root": HEXLOWER.encode(&checkpoint.log_root),
        "state_root": HEXLOWER.encode(&checkpoint.state_root),
        "keyset_version": checkpoint.keyset_version,
        "issued_at": timestamp(checkpoint.issued_at.0),
        "fresh_for_ms": checkpoint.fresh_for_ms,
        "node": checkpoint.node,
    })
}
