//! Marks that are stored twice, in two spaces: the vote and the start. One that went back in time would break what others
//! were promised, and no chain holds them.

use crate::engine::Engine;
use crate::error::name;
use crate::layout::Space;
use crate::{Batch, StoreError, frame};

/// Spaces that hold one copy each.
const SPACES: [Space; 2] = [Space::Marks, Space::Copies];

/// Batch with both copies of a mark.
pub(super) fn put(key: &'static [u8], body: &[u8]) -> Batch {
    let mut batch = Batch::default();
    for space in SPACES {
        batch.put(space, key, frame::wrap(space, key, body).0);
    }
    batch
}

/// Body of a mark; `None` when it was never put.
///
/// # Errors
/// When the copies differ, or one is not as it was written.
pub(super) fn get(engine: &impl Engine, key: &'static [u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let [mark, copy] = SPACES.map(|space| get_in(engine, space, key));
    let mark = mark?;
    if mark == copy? {
        return Ok(mark);
    }
    Err(StoreError::corrupt(
        engine.location(),
        name(Space::Marks, key),
        "it is not the same as its copy: one of them is old or gone",
    ))
}

fn get_in(
    engine: &impl Engine,
    space: Space,
    key: &'static [u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(value) = engine.get(space, key)? else {
        return Ok(None);
    };
    let (body, _) = frame::unwrap(engine, space, key, &value)?;
    Ok(Some(body.to_vec()))
}
