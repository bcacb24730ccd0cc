//! Places: how many long answers of one kind a node gives at once, and how many of them to one caller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places of one kind. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Places {
    limits: PlaceLimits,
    taken: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// Limits of one kind of places.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceLimits {
    /// Of all callers.
    pub(super) all: usize,
    /// Of one caller.
    pub(super) per_caller: usize,
    /// Of all, those that only callers have who need them first.
    pub(super) kept: usize,
}

/// One caller's place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    caller: String,
}

/// Error of a caller for whom there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    /// It has as many as one caller may.
    #[error("you have {0} of them open on this node, the most that one caller may")]
    OfYours(usize),
    /// All are taken.
    #[error("{0} of them are open on this node, the most that it gives")]
    AtAll(usize),
}

impl Places {
    pub(super) fn new(limits: PlaceLimits) -> Self {
        Self {
            limits,
            taken: Arc::default(),
        }
    }

    /// Takes a place. `first`: the caller needs it before others do.
    pub(super) fn take(&self, caller: &str, first: bool) -> Result<Place, NoPlace> {
        let mut taken = self.lock();
        let own = taken.get(caller).copied().unwrap_or(0);
        if own >= self.limits.per_caller {
            return Err(NoPlace::OfYours(own));
        }
        let all: usize = taken.values().sum();
        let kept = if first { 0 } else { self.limits.kept };
        if all + kept >= self.limits.all {
            return Err(NoPlace::AtAll(all));
        }
        taken.insert(caller.to_owned(), own + 1);
        drop(taken);
        Ok(Place {
            places: self.clone(),
            caller: caller.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        match taken.get(&self.caller).copied() {
            Some(own) if own > 1 => _ = taken.insert(self.caller.clone(), own - 1),
            _ => _ = taken.remove(&self.caller),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places::new(PlaceLimits {
            all: 8,
            per_caller: 4,
            kept: 3,
        })
    }

    #[test]
    fn one_caller_cannot_take_all_places() {
        let places = places();
        let taken: Vec<Place> = (0..9)
            .filter_map(|_| places.take("ann", true).ok())
            .collect();
        assert_eq!(taken.len(), 4);
        assert_eq!(places.take("ann", true).err(), Some(NoPlace::OfYours(4)));
        drop(taken);
        assert!(places.lock().is_empty());
    }

    #[test]
    fn places_are_kept_for_callers_that_need_them_first() {
        let places = places();
        let readers = ["ann", "bob"]
            .map(|who| (0..4).map(move |_| who))
            .into_iter()
            .flatten();
        let taken: Vec<Place> = readers
            .filter_map(|who| places.take(who, false).ok())
            .collect();
        assert_eq!(taken.len(), 5);
        assert_eq!(places.take("cleo", false).err(), Some(NoPlace::AtAll(5)));
        assert!(places.take("responder", true).is_ok());
    }
}
