//! First answers by request id: a retry has one effect and one answer, also after a leader change or from a snapshot.
//!
//! Bounded by number and by age on the state's clock ([`crate::limits`]), oldest first, so every replica forgets the
//! same answers at the same entry. An id is bound to author and content: somebody else, or the same one with something
//! else, gets no answer by it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hessra_revocation::UnixMillis;

use crate::limits::{REQUEST_AGE_MILLIS_MAX, REQUESTS_MAX};
use crate::{Applied, RequestId};

/// Answers that share an allocation: a clone of all of them copies one pointer for so many.
const CHUNK: usize = 256;

/// First answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstAnswer {
    /// Digest of who asked for what, see [`crate::Author::binding`].
    pub asked: [u8; 32],
    /// Time of the answer, on the state's clock.
    pub at: UnixMillis,
    /// Answer.
    pub applied: Applied,
    /// Order of arrival, dense.
    pub sequence: u64,
}

/// Answers that are remembered, findable by request.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    answers: Answers,
    /// Sequence of each request. Never part of a snapshot, so it need not be cheap to clone: changed in place.
    sequences: BTreeMap<RequestId, u64>,
}

/// Answers in the order of their arrival. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Chunks of answers; all full but the last.
    chunks: VecDeque<Arc<Vec<(RequestId, FirstAnswer)>>>,
    /// Number of answers at the front of the first chunk that are forgotten.
    forgotten: usize,
    len: usize,
    next_sequence: u64,
}

impl Requests {
    /// First answer to a request, while it is remembered.
    #[must_use]
    pub fn answer(&self, request: &RequestId) -> Option<&FirstAnswer> {
        let sequence = self.sequences.get(request)?;
        self.answers.get(*sequence).map(|(_, answer)| answer)
    }

    /// All answers, the oldest first.
    #[must_use]
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Remembers a first answer.
    pub(crate) fn remember(
        &mut self,
        request: RequestId,
        asked: [u8; 32],
        at: UnixMillis,
        applied: Applied,
    ) {
        let sequence = self.answers.next_sequence;
        self.sequences.insert(request, sequence);
        let answer = FirstAnswer {
            asked,
            at,
            applied,
            sequence,
        };
        self.answers.push(request, answer);
    }

    /// Forgets answers that are too old or too many.
    pub(crate) fn forget(&mut self, settled: UnixMillis) {
        while let Some(request) = self.answers.oldest_expired(settled) {
            self.sequences.remove(&request);
            self.answers.forget_oldest();
        }
    }

    /// Gives answers that are later than `clock` that time.
    pub(crate) fn none_after(&mut self, clock: UnixMillis) {
        for chunk in &mut self.answers.chunks {
            if chunk.iter().any(|(_, answer)| answer.at > clock) {
                for (_, answer) in Arc::make_mut(chunk) {
                    answer.at = answer.at.min(clock);
                }
            }
        }
    }

    /// Rebuilds the answers from stored ones, in any order.
    ///
    /// # Errors
    /// [`StoredAnswersError`]: two answers share an id or a sequence, one is missing between others or at the end, or a
    /// later one has an earlier time or one after `clock`.
    pub(crate) fn rebuild(
        mut stored: Vec<(RequestId, FirstAnswer)>,
        next_sequence: u64,
        clock: UnixMillis,
    ) -> Result<Self, StoredAnswersError> {
        if stored.len() > REQUESTS_MAX {
            return Err(StoredAnswersError::TooMany {
                count: stored.len(),
            });
        }
        if stored.is_empty() && next_sequence > 0 {
            return Err(StoredAnswersError::None {
                given: next_sequence,
            });
        }
        stored.sort_by_key(|(_, answer)| answer.sequence);
        // Answers are forgotten from the oldest on, and the newest never, so what is left has no gap.
        let mut requests = Self::default();
        requests.answers.next_sequence = stored
            .first()
            .map_or(next_sequence, |(_, oldest)| oldest.sequence);
        let mut before = UnixMillis(0);
        for (request, answer) in stored {
            let (expected, sequence, at) =
                (requests.answers.next_sequence, answer.sequence, answer.at);
            if sequence >= next_sequence || at > clock {
                return Err(StoredAnswersError::Future(sequence));
            }
            if at < before {
                return Err(StoredAnswersError::Time(sequence));
            }
            before = at;
            let twice = requests.sequences.insert(request, sequence).is_some();
            match sequence.cmp(&expected) {
                Ordering::Equal if !twice => requests.answers.push(request, answer),
                Ordering::Greater => return Err(StoredAnswersError::Missing(expected)),
                Ordering::Less | Ordering::Equal => {
                    return Err(StoredAnswersError::Twice(sequence));
                }
            }
        }
        let given = requests.answers.next_sequence;
        if given != next_sequence {
            return Err(StoredAnswersError::End {
                found: given,
                given: next_sequence,
            });
        }
        Ok(requests)
    }
}

/// Error of stored answers that are not those of one state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoredAnswersError {
    #[error("{count} answers, at most {REQUESTS_MAX} are kept")]
    TooMany { count: usize },
    #[error("no answer, {given} were given")]
    None { given: u64 },
    #[error("answer {0} is from the future")]
    Future(u64),
    #[error("answer {0} has the time of another one")]
    Time(u64),
    #[error("answer {0} is missing")]
    Missing(u64),
    #[error("answer {0} or its request is there twice")]
    Twice(u64),
    #[error("answers go up to {found}, {given} were given")]
    End { found: u64, given: u64 },
}

impl Answers {
    /// Requests and their answers, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&RequestId, &FirstAnswer)> {
        let all = self.chunks.iter().flat_map(|chunk| chunk.iter());
        all.skip(self.forgotten)
            .map(|(request, answer)| (request, answer))
    }

    /// Number of remembered answers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no answer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sequence of the next answer.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    fn get(&self, sequence: u64) -> Option<&(RequestId, FirstAnswer)> {
        let oldest = self.next_sequence - self.len as u64;
        let above_oldest = usize::try_from(sequence.checked_sub(oldest)?).ok()?;
        let at = self.forgotten + above_oldest;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    fn push(&mut self, request: RequestId, answer: FirstAnswer) {
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push_back(Arc::new(Vec::with_capacity(CHUNK)));
        }
        let chunk = self
            .chunks
            .back_mut()
            .expect("one was pushed if there was none");
        Arc::make_mut(chunk).push((request, answer));
        self.len += 1;
        self.next_sequence += 1;
    }

    // INVARIANT: times rise with sequences, also when the clock was set back: the oldest is the first to expire.
    fn oldest_expired(&self, settled: UnixMillis) -> Option<RequestId> {
        let (request, answer) = self.chunks.front()?.get(self.forgotten)?;
        let expired = settled.0.saturating_sub(answer.at.0) > REQUEST_AGE_MILLIS_MAX;
        (expired || self.len > REQUESTS_MAX).then_some(*request)
    }

    fn forget_oldest(&mut self) {
        self.len -= 1;
        self.forgotten += 1;
        if self.forgotten == CHUNK {
            self.chunks.pop_front();
            self.forgotten = 0;
        }
    }
}
