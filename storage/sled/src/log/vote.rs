//! Vote.

use super::marks;
use crate::engine::Engine;
use crate::error::name;
use crate::layout::{Space, mark};
use crate::{Batch, StoreError, Vote, codec};

/// Batch with a vote.
pub(super) fn put_vote(vote: &Vote) -> Batch {
    let body = prost::Message::encode_to_vec(&codec::encode_vote(vote));
    marks::put(mark::VOTE, &body)
}

/// Reads the stored vote; also at opening, so that a damaged one is found before anything is asked of the node.
pub(crate) fn read_vote(engine: &impl Engine) -> Result<Option<Vote>, StoreError> {
    let Some(body) = marks::get(engine, mark::VOTE)? else {
        return Ok(None);
    };
    let vote = codec::decode("vote", &body).map_err(|error| {
        StoreError::undecodable(engine.location(), name(Space::Marks, mark::VOTE), &error)
    })?;
    Ok(Some(codec::decode_vote(&vote)))
}
