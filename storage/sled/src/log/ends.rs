//! Mark `ends`, which holds the chain at both ends.

use openraft::CommittedLeaderId;

use crate::engine::Engine;
use crate::error::name;
use crate::frame::{self, RecordHash};
use crate::layout::{Space, mark};
use crate::{Batch, LogId, StoreError};

/// Both ends of the stored chain. Body: both ends, each `present u8 · term u64 · index u64` (big-endian) `· hash 32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Purged end, and the hash that the first pack is linked to.
    pub(super) purged: End,
    /// Last entry, and the hash of its pack.
    pub(super) tail: End,
}

/// One end: an entry, if there is one, and the hash of the chain there. All zero where the log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) id: Option<LogId>,
    pub(super) hash: RecordHash,
}

impl Ends {
    pub(super) fn read(engine: &impl Engine) -> Result<Self, StoreError> {
        let Some(value) = engine.get(Space::Marks, mark::ENDS)? else {
            return Ok(Self::default());
        };
        let (body, _) = frame::unwrap(engine, Space::Marks, mark::ENDS, &value)?;
        let wrong = || {
            StoreError::corrupt(
                engine.location(),
                name(Space::Marks, mark::ENDS),
                "it has another form",
            )
        };
        Self::decode(body).ok_or_else(wrong)
    }

    pub(super) fn put(&self, batch: &mut Batch) {
        let mut body = Vec::new();
        self.purged.encode(&mut body);
        self.tail.encode(&mut body);
        batch.put(
            Space::Marks,
            mark::ENDS,
            frame::wrap(Space::Marks, mark::ENDS, &body).0,
        );
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (purged, rest) = End::decode(body)?;
        let (tail, rest) = End::decode(rest)?;
        rest.is_empty().then_some(Self { purged, tail })
    }
}

impl End {
    fn encode(&self, body: &mut Vec<u8>) {
        let (term, index) = self.id.map_or((0, 0), |id| (id.leader_id.term, id.index));
        body.push(u8::from(self.id.is_some()));
        body.extend(term.to_be_bytes());
        body.extend(index.to_be_bytes());
        body.extend(self.hash);
    }

    fn decode(body: &[u8]) -> Option<(Self, &[u8])> {
        let (present, rest) = body.split_first()?;
        let (term, rest) = rest.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let id = LogId::new(
            CommittedLeaderId::new(u64::from_be_bytes(*term), 0),
            u64::from_be_bytes(*index),
        );
        Some((
            Self {
                id: (*present == 1).then_some(id),
                hash: *hash,
            },
            rest,
        ))
    }
}
