//! Vote, stored twice: one that went back in time would break Raft, and no chain holds it.

use crate::engine::Engine;
use crate::error::name;
use crate::layout::{Space, mark};
use crate::{Batch, StoreError, Vote, codec, frame};

/// Batch with both copies of a vote.
pub(super) fn put_vote(vote: &Vote) -> Batch {
    let mut batch = Batch::default();
    let body = prost::Message::encode_to_vec(&codec::encode_vote(vote));
    for space in [Space::Marks, Space::Copies] {
        batch.put(space, mark::VOTE, frame::wrap(space, mark::VOTE, &body).0);
    }
    batch
}

/// Reads the stored vote; also at opening, so that a damaged one is found before anything is asked of the node.
pub(crate) fn read_vote(engine: &impl Engine) -> Result<Option<Vote>, StoreError> {
    let vote = read_vote_in(engine, Space::Marks)?;
    if vote == read_vote_in(engine, Space::Copies)? {
        return Ok(vote);
    }
    let key = name(Space::Marks, mark::VOTE);
    Err(StoreError::corrupt(
        engine.location(),
        key,
        "it is not the same as its copy: one of them is old or gone",
    ))
}

fn read_vote_in(engine: &impl Engine, space: Space) -> Result<Option<Vote>, StoreError> {
    let Some(value) = engine.get(space, mark::VOTE)? else {
        return Ok(None);
    };
    let (body, _) = frame::unwrap(engine, space, mark::VOTE, &value)?;
    let vote = codec::decode("vote", body).map_err(|error| {
        StoreError::undecodable(engine.location(), name(space, mark::VOTE), &error)
    })?;
    Ok(Some(codec::decode_vote(&vote)))
}
