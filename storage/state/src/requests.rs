//! First answers by request id: a retry has one effect and one answer, also after a leader change or from a snapshot.
//!
//! Bounded by number and by age on the state's clock ([`crate::limits`]), oldest first, so every replica forgets the
//! same answers at the same entry. The author is not part of the name: ids are random, and an answer holds nothing but
//! revisions and states.

use std::sync::Arc;

use hessra_revocation::UnixMillis;
use imbl::OrdMap;

use crate::limits::{REQUEST_AGE_MILLIS_MAX, REQUESTS_MAX};
use crate::{Applied, RequestId};

/// The first answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstAnswer {
    /// When, on the state's clock.
    pub at: UnixMillis,
    /// What was answered.
    pub applied: Applied,
    /// Order of arrival, dense.
    pub sequence: u64,
}

/// The answers that are remembered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    answers: OrdMap<RequestId, Arc<FirstAnswer>>,
    order: OrdMap<u64, RequestId>,
    next_sequence: u64,
}

impl Requests {
    /// The first answer to a request, while it is remembered.
    #[must_use]
    pub fn answer(&self, request: &RequestId) -> Option<&FirstAnswer> {
        self.answers.get(request).map(Arc::as_ref)
    }

    /// All answers by request id.
    pub fn iter(&self) -> impl Iterator<Item = (&RequestId, &FirstAnswer)> {
        self.answers
            .iter()
            .map(|(request, answer)| (request, answer.as_ref()))
    }

    /// Number of remembered answers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Sequence of the next answer.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Remembers a first answer.
    pub(crate) fn remember(&mut self, request: RequestId, at: UnixMillis, applied: Applied) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.order.insert(sequence, request);
        self.answers.insert(
            request,
            Arc::new(FirstAnswer {
                at,
                applied,
                sequence,
            }),
        );
    }

    /// Forgets what is too old or too many.
    pub(crate) fn forget(&mut self, clock: UnixMillis) {
        while let Some((sequence, request)) = self.oldest_expired(clock) {
            self.order.remove(&sequence);
            self.answers.remove(&request);
        }
    }

    /// From stored answers.
    ///
    /// # Errors
    /// A sentence, when two answers share an id or a sequence, one is missing between others or at the end, or a later
    /// one has an earlier time or one after `clock`.
    pub(crate) fn rebuild(
        stored: Vec<(RequestId, FirstAnswer)>,
        next_sequence: u64,
        clock: UnixMillis,
    ) -> Result<Self, String> {
        let mut requests = Self {
            next_sequence,
            ..Self::default()
        };
        for (request, answer) in stored {
            if answer.sequence >= next_sequence || answer.at > clock {
                return Err(format!(
                    "the answer with sequence {} is from the future",
                    answer.sequence
                ));
            }
            let sequence = answer.sequence;
            let twice = requests.order.insert(sequence, request).is_some();
            if requests.answers.insert(request, Arc::new(answer)).is_some() || twice {
                return Err(format!(
                    "the answer with sequence {sequence} is there twice"
                ));
            }
        }
        requests.check_order()?;
        Ok(requests)
    }

    fn oldest_expired(&self, clock: UnixMillis) -> Option<(u64, RequestId)> {
        let (sequence, request) = *self.order.get_min()?;
        // INVARIANT: times rise with sequences, because the clock never goes back: the oldest is the first to expire.
        let at = self.answers.get(&request)?.at;
        let expired = clock.0.saturating_sub(at.0) > REQUEST_AGE_MILLIS_MAX;
        (expired || self.len() > REQUESTS_MAX).then_some((sequence, request))
    }

    /// Answers are forgotten from the oldest on, and the newest never, so what is left has no gap.
    fn check_order(&self) -> Result<(), String> {
        if self.len() > REQUESTS_MAX {
            return Err(format!(
                "{} answers, at most {REQUESTS_MAX} are kept",
                self.len()
            ));
        }
        let oldest = self.order.get_min().map_or(0, |(sequence, _)| *sequence);
        if oldest + self.len() as u64 != self.next_sequence {
            return Err(format!(
                "{} answers follow number {oldest}, {} were given",
                self.len(),
                self.next_sequence
            ));
        }
        let answered = |request| self.answers.get(request).map(|answer| answer.at);
        if self.order.values().map(answered).is_sorted() {
            Ok(())
        } else {
            Err("a later answer has an earlier time".into())
        }
    }
}
