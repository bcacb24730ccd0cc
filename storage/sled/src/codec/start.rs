//! Starts of stores.

use hessra_proto::v1::log;
use hessra_state::{Incarnation, Start};

use super::message::{CodecError, array};

/// Encodes a start.
#[must_use]
pub fn encode_start(start: &Start) -> log::Start {
    log::Start {
        incarnation: start.incarnation.0.to_vec(),
        count: start.count,
        nonce: start.nonce.to_vec(),
    }
}

/// Decodes a start.
///
/// # Errors
/// [`CodecError::Invalid`] when a number has another length.
pub fn decode_start(start: &log::Start) -> Result<Start, CodecError> {
    Ok(Start {
        incarnation: Incarnation(array("incarnation", &start.incarnation)?),
        count: start.count,
        nonce: array("nonce", &start.nonce)?,
    })
}

pub(super) fn decode_node_start(stored: &log::NodeStart) -> Result<(u64, Start), CodecError> {
    let start = stored.start.as_ref().ok_or(CodecError::Unknown("start"))?;
    Ok((stored.node, decode_start(start)?))
}
