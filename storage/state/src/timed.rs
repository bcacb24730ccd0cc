//! Entries that are kept until they end, findable by name and by end.

use hessra_revocation::{Identity, UnixMillis, UnixSeconds};
use imbl::{OrdMap, OrdSet};

use crate::refusal::{Refusal, RefusalCode};
use crate::revocations::base_of;

/// Entry of somebody, with an end.
pub(crate) trait Kept {
    /// Instant beyond which it may be forgotten.
    fn until(&self) -> UnixSeconds;

    /// Identity that it is of.
    fn subject(&self) -> &Identity;
}

/// Entries by name and by end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Timed<K, V> {
    entries: OrdMap<K, V>,
    ends: OrdSet<(UnixSeconds, K)>,
    by_base: OrdMap<String, usize>,
}

impl<K: Ord + Copy, V: Kept + Clone> Timed<K, V> {
    pub(crate) fn find(&self, name: &K) -> Option<&V> {
        self.entries.get(name)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// Puts an entry in the place of the one of that name; true when there was one.
    pub(crate) fn put(&mut self, name: K, entry: V) -> bool {
        let former = self.remove(&name).is_some();
        self.ends.insert((entry.until(), name));
        let base = base_of(entry.subject());
        let count = self.len_below(base);
        self.by_base.insert(base.to_owned(), count + 1);
        self.entries.insert(name, entry);
        former
    }

    /// Number of entries of one base subject.
    pub(crate) fn len_below(&self, base: &str) -> usize {
        self.by_base.get(base).copied().unwrap_or(0)
    }

    pub(crate) fn remove(&mut self, name: &K) -> Option<V> {
        let former = self.entries.remove(name)?;
        self.ends.remove(&(former.until(), *name));
        let base = base_of(former.subject());
        match self.len_below(base) {
            0 | 1 => _ = self.by_base.remove(base),
            count => _ = self.by_base.insert(base.to_owned(), count - 1),
        }
        Some(former)
    }

    /// Names of entries that ended before `end`, the earliest first, at most `max`.
    pub(crate) fn ended(&self, end: UnixSeconds, max: usize) -> Vec<K> {
        let before = self.ends.iter().take_while(|(until, _)| *until < end);
        before.take(max).map(|(_, name)| *name).collect()
    }

    pub(crate) fn has_ended(&self, now: UnixSeconds) -> bool {
        self.ends.get_min().is_some_and(|(until, _)| *until < now)
    }
}

impl<K, V> std::fmt::Debug for Timed<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = self.entries.len();
        f.debug_struct("Timed")
            .field("len", &len)
            .finish_non_exhaustive()
    }
}

impl<K: Ord + Copy, V: Clone> Default for Timed<K, V> {
    fn default() -> Self {
        Self {
            entries: OrdMap::new(),
            ends: OrdSet::new(),
            by_base: OrdMap::new(),
        }
    }
}

/// Refuses an end that has passed on the state's clock, or so far away that the entry would never be collected.
pub(crate) fn check_end(
    clock: UnixMillis,
    end: UnixSeconds,
    seconds_max: u64,
) -> Result<(), Refusal> {
    let now = clock.seconds();
    if end <= now {
        let message = format!("it ended at {end} (unix seconds); ask for a new one");
        return Err(Refusal::invalid(message));
    }
    if end.0 - now.0 > seconds_max {
        let message =
            format!("it lives for more than {seconds_max} seconds; ask for one that ends earlier");
        return Err(Refusal::new(RefusalCode::Limit, message));
    }
    Ok(())
}
