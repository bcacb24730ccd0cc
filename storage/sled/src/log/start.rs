//! Start of the process on this store: made durable before the store is used.

use hessra_state::{Incarnation, Start};

use super::marks;
use crate::engine::Engine;
use crate::error::name;
use crate::layout::{Space, mark};
use crate::{Batch, StoreError, codec};

/// Batch with a start.
pub(super) fn put_start(start: &Start) -> Batch {
    let body = prost::Message::encode_to_vec(&codec::encode_start(start));
    marks::put(mark::START, &body)
}

/// Reads the newest start; also at opening, so that a damaged one is found before anything is asked of the node.
pub(crate) fn read_start(engine: &impl Engine) -> Result<Option<Start>, StoreError> {
    let Some(body) = marks::get(engine, mark::START)? else {
        return Ok(None);
    };
    let start = codec::decode("start", &body).and_then(|start| codec::decode_start(&start));
    start.map(Some).map_err(|error| {
        StoreError::undecodable(engine.location(), name(Space::Marks, mark::START), &error)
    })
}

/// The start after `last`; the first of a new store when there is none. `random`: a name for a new store, and one for the
/// start.
pub(super) fn next(last: Option<Start>, random: [[u8; 16]; 2]) -> Start {
    let [store, nonce] = random;
    let last = last.unwrap_or_else(|| Start::of_store(Incarnation(store)));
    Start {
        count: last.count + 1,
        nonce,
        ..last
    }
}
