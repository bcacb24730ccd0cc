//! Long answers (watches, tails, exports): how many of one kind a node gives at once, and how many of them to one caller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Long answers of one kind. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(super) struct LongAnswers {
    limits: LongLimits,
    taken: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// Limits of one kind of long answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct LongLimits {
    /// Of all callers.
    pub(super) all: usize,
    /// Of one caller.
    pub(super) per_caller: usize,
    /// Of all, those that only callers have who need them first.
    pub(super) kept: usize,
}

/// One caller's long answer; dropping it ends it.
#[derive(Debug)]
pub(super) struct LongAnswer {
    answers: LongAnswers,
    caller: String,
}

/// Error of a caller for whom there is none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoneLeft {
    /// It has as many as one caller may.
    #[error("you have {0} of them open on this node, the most that one caller may")]
    OfYours(usize),
    /// All are taken.
    #[error("{0} of them are open on this node, the most that it gives")]
    AtAll(usize),
}

impl LongAnswers {
    pub(super) fn new(limits: LongLimits) -> Self {
        Self {
            limits,
            taken: Arc::default(),
        }
    }

    /// Begins one. `first`: the caller needs it before others do.
    pub(super) fn take(&self, caller: &str, first: bool) -> Result<LongAnswer, NoneLeft> {
        let mut taken = self.lock();
        let own = taken.get(caller).copied().unwrap_or(0);
        if own >= self.limits.per_caller {
            return Err(NoneLeft::OfYours(own));
        }
        let all: usize = taken.values().sum();
        let kept = if first { 0 } else { self.limits.kept };
        if all + kept >= self.limits.all {
            return Err(NoneLeft::AtAll(all));
        }
        taken.insert(caller.to_owned(), own + 1);
        drop(taken);
        Ok(LongAnswer {
            answers: self.clone(),
            caller: caller.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LongAnswer {
    fn drop(&mut self) {
        let mut taken = self.answers.lock();
        match taken.get(&self.caller).copied() {
            Some(own) if own > 1 => _ = taken.insert(self.caller.clone(), own - 1),
            _ => _ = taken.remove(&self.caller),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> LongAnswers {
        LongAnswers::new(LongLimits {
            all: 8,
            per_caller: 4,
            kept: 3,
        })
    }

    #[test]
    fn one_caller_cannot_have_all() {
        let answers = answers();
        let taken: Vec<LongAnswer> = (0..9)
            .filter_map(|_| answers.take("ann", true).ok())
            .collect();
        assert_eq!(taken.len(), 4);
        assert_eq!(answers.take("ann", true).err(), Some(NoneLeft::OfYours(4)));
        drop(taken);
        assert!(answers.lock().is_empty());
    }

    #[test]
    fn some_are_kept_for_callers_that_need_them_first() {
        let answers = answers();
        let readers = ["ann", "bob"]
            .map(|who| (0..4).map(move |_| who))
            .into_iter()
            .flatten();
        let taken: Vec<LongAnswer> = readers
            .filter_map(|who| answers.take(who, false).ok())
            .collect();
        assert_eq!(taken.len(), 5);
        assert_eq!(answers.take("cleo", false).err(), Some(NoneLeft::AtAll(5)));
        assert!(answers.take("responder", true).is_ok());
    }
}
