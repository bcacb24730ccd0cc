//! Mark `applied`: how far the state is applied, and its history there.
//!
//! It finds a binary that applies an entry in another way than the one that wrote the mark, before the node answers
//! anybody.

use hessra_proto::v1::log;
use hessra_revocation::{Hash, Revision};
use hessra_state::State;

use super::readers::Published;
use crate::engine::Engine;
use crate::error::name;
use crate::layout::{Space, mark};
use crate::{Batch, LogId, StoreError, codec, frame};

/// Entry up to which the state is applied, with the revision and the root of its history. Body: `term u64 · index u64 ·
/// revision u64 · log_root 32`, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) applied: LogId,
    revision: Revision,
    log_root: Hash,
}

impl Reached {
    pub(super) fn of(applied: LogId, state: &State) -> Self {
        let view = state.view();
        Self {
            applied,
            revision: view.revision,
            log_root: view.log_root(),
        }
    }

    /// Puts the mark of a published state, if anything is applied.
    pub(super) fn batch(published: &Published) -> Batch {
        let mut batch = Batch::default();
        if let Some(applied) = published.applied {
            Self::of(applied, &published.state).put(&mut batch);
        }
        batch
    }

    fn put(&self, batch: &mut Batch) {
        let mut body = self.applied.leader_id.term.to_be_bytes().to_vec();
        body.extend(self.applied.index.to_be_bytes());
        body.extend(self.revision.0.to_be_bytes());
        body.extend(self.log_root);
        let (value, _) = frame::wrap(Space::Marks, mark::APPLIED, &body);
        batch.put(Space::Marks, mark::APPLIED, value);
    }

    pub(super) fn read(engine: &impl Engine) -> Result<Option<Self>, StoreError> {
        let Some(value) = engine.get(Space::Marks, mark::APPLIED)? else {
            return Ok(None);
        };
        let (body, _) = frame::unwrap(engine, Space::Marks, mark::APPLIED, &value)?;
        let decoded = Self::decode(body).ok_or_else(|| wrong(engine, "it has another form"))?;
        Ok(Some(decoded))
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (term, rest) = body.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (revision, rest) = rest.split_first_chunk()?;
        let (term, index) = (u64::from_be_bytes(*term), u64::from_be_bytes(*index));
        Some(Self {
            applied: codec::decode_log_id(&log::LogId { term, index }),
            revision: Revision(u64::from_be_bytes(*revision)),
            log_root: rest.try_into().ok()?,
        })
    }
}

/// Error of a mark that does not fit the rest.
pub(super) fn wrong(engine: &impl Engine, what: &str) -> StoreError {
    StoreError::corrupt(engine.location(), name(Space::Marks, mark::APPLIED), what)
}
