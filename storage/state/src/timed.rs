//! Entries that are kept until they end, and found by how soon they do.

use hessra_revocation::UnixSeconds;
use imbl::{OrdMap, OrdSet};

/// What has an end.
pub(crate) trait Ends {
    /// It may be forgotten once the clock is beyond this instant.
    fn until(&self) -> UnixSeconds;
}

/// Entries by name and by end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Timed<K, V> {
    entries: OrdMap<K, V>,
    ends: OrdSet<(UnixSeconds, K)>,
}

impl<K: Ord + Copy, V: Ends + Clone> Timed<K, V> {
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
        self.entries.insert(name, entry);
        former
    }

    pub(crate) fn remove(&mut self, name: &K) -> Option<V> {
        let former = self.entries.remove(name)?;
        self.ends.remove(&(former.until(), *name));
        Some(former)
    }

    /// Those that ended before `end`, the earliest first, at most `max`.
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
        }
    }
}
