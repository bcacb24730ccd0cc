//! Start of the process on this store: made durable before the store is used.

use hessra_state::Start;

use super::marks;
use crate::engine::{Engine, synced};
use crate::error::name;
use crate::layout::{Space, mark};
use crate::{StoreError, codec};

/// Keeps the start of a process on its store.
#[derive(Clone, Debug)]
pub struct StartKeeper<E> {
    engine: E,
}

impl<E: Engine> StartKeeper<E> {
    pub(super) fn new(engine: E) -> Self {
        Self { engine }
    }

    /// Returns when the start is durable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn keep(&self, start: &Start) -> Result<(), StoreError> {
        let body = prost::Message::encode_to_vec(&codec::encode_start(start));
        self.engine.write(marks::put(mark::START, &body))?;
        synced(&self.engine).await
    }
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
