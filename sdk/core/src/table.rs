//! Table of what was computed before. Bounded, and never waited for: a place that another thread uses is passed over.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Places of a shelf: what is put there when all are taken replaces the oldest.
const PLACES: usize = 4;

/// Table of a fixed number of places, on shelves of a few. Compared by value: equal hashes say nothing.
pub(crate) struct Table<T> {
    shelves: Box<[Mutex<Shelf<T>>]>,
    hasher: RandomState,
}

/// A few places of a table, lent to one thread.
pub(crate) struct Shelf<T> {
    places: [Option<T>; PLACES],
    /// Place that is taken next.
    next: usize,
}

impl<T> Table<T> {
    /// Empty table of so many places. `hasher`: keyed, so that nobody outside can aim at one place.
    pub(crate) fn new(size: usize, hasher: RandomState) -> Self {
        let shelf = || {
            Mutex::new(Shelf {
                places: [const { None }; PLACES],
                next: 0,
            })
        };
        Self {
            shelves: std::iter::repeat_with(shelf).take(size / PLACES).collect(),
            hasher,
        }
    }

    /// Shelf of a key; `None` when another thread uses it, or there is none.
    pub(crate) fn shelf(&self, key: &impl Hash) -> Option<MutexGuard<'_, Shelf<T>>> {
        let shelves = u64::try_from(self.shelves.len()).ok()?;
        let number = self.hasher.hash_one(key).checked_rem(shelves)?;
        let shelf = self.shelves.get(usize::try_from(number).ok()?)?;
        match shelf.try_lock() {
            Ok(shelf) => Some(shelf),
            // No code panics while it holds the lock.
            Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T> Shelf<T> {
    pub(crate) fn find(&mut self, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        self.places.iter().flatten().find(|value| is_it(value))
    }

    /// Puts a value in the place of one that is the same, else of the oldest.
    pub(crate) fn put(&mut self, value: T, is_same: impl Fn(&T) -> bool) {
        let same = |place: &Option<T>| place.as_ref().is_some_and(&is_same);
        match self.places.iter_mut().find(|place| same(place)) {
            Some(place) => *place = Some(value),
            None => {
                self.places[self.next] = Some(value);
                self.next = (self.next + 1) % PLACES;
            }
        }
    }
}

/// Hides what is in it.
impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("places", &(self.shelves.len() * PLACES))
            .finish_non_exhaustive()
    }
}
