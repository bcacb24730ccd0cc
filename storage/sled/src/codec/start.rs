//! Starts of stores.

use hessra_proto::v1::log;
use hessra_state::{Incarnation, Line, Start};

use super::message::{CodecError, array};

/// Encodes a start.
#[must_use]
pub fn encode_start(start: &Start) -> log::Start {
    log::Start {
        incarnation: start.incarnation.0.to_vec(),
        count: start.count,
        nonce: start.nonce.to_vec(),
        line: Some(encode_line(&start.line)),
        after: Some(encode_line(&start.after)),
        earlier: start.earlier.to_vec(),
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
        line: decode_line(start.line.as_ref())?,
        after: decode_line(start.after.as_ref())?,
        earlier: start
            .earlier
            .as_slice()
            .try_into()
            .map_err(|_| CodecError::Unknown("earlier starts"))?,
    })
}

fn encode_line(line: &Line) -> log::StartLine {
    log::StartLine {
        number: line.number,
        nonce: line.nonce.to_vec(),
    }
}

fn decode_line(line: Option<&log::StartLine>) -> Result<Line, CodecError> {
    let line = line.ok_or(CodecError::Unknown("line of starts"))?;
    Ok(Line {
        number: line.number,
        nonce: array("nonce", &line.nonce)?,
    })
}

pub(super) fn decode_node_start(stored: &log::NodeStart) -> Result<(u64, Start), CodecError> {
    let start = stored.start.as_ref().ok_or(CodecError::Unknown("start"))?;
    Ok((stored.node, decode_start(start)?))
}
