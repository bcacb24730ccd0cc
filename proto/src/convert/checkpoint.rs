//! Signed checkpoints, as they come from a carrier: not yet believed.

use hessra_revocation::SignedCheckpoint;

use super::error::{ConvertError, array, at_most};
use crate::v1::feed;

impl From<SignedCheckpoint> for feed::Checkpoint {
    fn from(signed: SignedCheckpoint) -> Self {
        Self {
            body: signed.body,
            key_id: signed.key_id,
            signature: signed.signature.to_vec(),
        }
    }
}

impl TryFrom<feed::Checkpoint> for SignedCheckpoint {
    type Error = ConvertError;

    fn try_from(wire: feed::Checkpoint) -> Result<Self, ConvertError> {
        // 1 KiB: a checkpoint's body is about 200 bytes.
        at_most("checkpoint.body", 1024, wire.body.len())?;
        Ok(Self {
            signature: array("checkpoint.signature", &wire.signature)?,
            body: wire.body,
            key_id: wire.key_id,
        })
    }
}
