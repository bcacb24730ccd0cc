//! The two marks that hold the chain at its ends: `tail` and `purged`.

use openraft::CommittedLeaderId;

use crate::engine::Engine;
use crate::error::name;
use crate::frame::{self, RecordHash};
use crate::{Batch, LogId, Space, StoreError};

/// A log id and the hash of the chain there. Body: `present u8, term u64, index u64` (big-endian), `hash 32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Entry, or none when the log was empty.
    pub(super) id: Option<LogId>,
    /// Hash of the pack at this end; all zero where the chain begins.
    pub(super) hash: RecordHash,
}

const BODY_BYTES: usize = 1 + 8 + 8 + 32;

impl Mark {
    pub(super) fn read(engine: &impl Engine, key: &[u8]) -> Result<Option<Self>, StoreError> {
        let Some(value) = engine.get(Space::Marks, key)? else {
            return Ok(None);
        };
        let (body, _) = frame::unwrap(engine, Space::Marks, key, &value)?;
        let wrong = || {
            StoreError::corrupt(
                engine.location(),
                name(Space::Marks, key),
                "it has another form",
            )
        };
        Self::decode(body).map(Some).ok_or_else(wrong)
    }

    pub(super) fn put(&self, batch: &mut Batch, key: &[u8]) {
        batch.put(
            Space::Marks,
            key,
            frame::wrap(Space::Marks, key, &self.encode()).0,
        );
    }

    fn encode(&self) -> Vec<u8> {
        let (term, index) = self.id.map_or((0, 0), |id| (id.leader_id.term, id.index));
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.push(u8::from(self.id.is_some()));
        body.extend(term.to_be_bytes());
        body.extend(index.to_be_bytes());
        body.extend(self.hash);
        body
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (present, rest) = body.split_first()?;
        let (term, rest) = rest.split_first_chunk()?;
        let (index, hash) = rest.split_first_chunk()?;
        let id = LogId::new(
            CommittedLeaderId::new(u64::from_be_bytes(*term), 0),
            u64::from_be_bytes(*index),
        );
        Some(Self {
            id: (*present == 1).then_some(id),
            hash: hash.try_into().ok()?,
        })
    }
}
