//! Index from a digest to the revisions about it; it only grows.
//!
//! Sorted runs, each at least twice as long as the one after it; a run that grew too long for its place is merged into the
//! one before (the logarithmic method of J. L. Bentley and J. B. Saxe, *Decomposable searching problems I*, 1980). Runs
//! never change, so a clone shares them, and an insertion touches one short run instead of the path to a leaf.

use std::sync::Arc;

use hessra_revocation::{Digest, Revision};

/// Entries of the run that is still written: the most that an insertion after a clone copies, 12 KiB.
const OPEN_MAX: usize = 512;

type Entry = (Digest, Revision);

/// Revisions by digest. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// Full runs, sorted, long ones first.
    runs: Vec<Arc<Vec<Entry>>>,
    /// Newest entries, sorted.
    open: Arc<Vec<Entry>>,
}

impl Index {
    /// Adds an entry that is not there yet.
    pub(crate) fn insert(&mut self, digest: Digest, revision: Revision) {
        let entry = (digest, revision);
        let open = Arc::make_mut(&mut self.open);
        let at = open.partition_point(|before| *before < entry);
        open.insert(at, entry);
        if open.len() == OPEN_MAX {
            let run = std::mem::take(&mut self.open);
            self.push(run);
        }
    }

    /// Revisions under the digest, oldest first.
    pub(crate) fn revisions(&self, digest: Digest) -> Vec<Revision> {
        let of_run = |run: &'_ Arc<Vec<Entry>>| {
            let first = run.partition_point(|(before, _)| *before < digest);
            let same = run[first..].iter().take_while(|(at, _)| *at == digest);
            same.map(|(_, revision)| *revision).collect::<Vec<_>>()
        };
        // INVARIANT: revisions rise, so a run holds later ones than the runs before it.
        self.runs
            .iter()
            .chain([&self.open])
            .flat_map(of_run)
            .collect()
    }

    fn push(&mut self, mut run: Arc<Vec<Entry>>) {
        while let Some(before) = self.runs.pop_if(|before| before.len() < 2 * run.len()) {
            run = Arc::new(merged(&before, &run));
        }
        self.runs.push(run);
    }
}

impl FromIterator<Entry> for Index {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        let mut run: Vec<Entry> = entries.into_iter().collect();
        run.sort_unstable();
        Self {
            runs: vec![Arc::new(run)],
            open: Arc::default(),
        }
    }
}

fn merged(one: &[Entry], other: &[Entry]) -> Vec<Entry> {
    let mut both = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(left), Some(right)) = (one.peek(), other.peek()) {
        let least = if left <= right {
            one.next()
        } else {
            other.next()
        };
        both.extend(least);
    }
    both.extend(one);
    both.extend(other);
    both
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn digest(number: u64) -> Digest {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Digest(bytes)
    }

    #[test]
    fn every_entry_is_found_however_many_there_are() {
        let (mut index, mut expected) = (Index::default(), BTreeMap::<u64, Vec<Revision>>::new());
        for revision in 1..20_000 {
            let number = revision % 7_001;
            index.insert(digest(number), Revision(revision));
            expected.entry(number).or_default().push(Revision(revision));
        }
        for (number, revisions) in &expected {
            assert_eq!(&index.revisions(digest(*number)), revisions);
        }
        assert!(index.revisions(digest(9_999)).is_empty());
        assert!(index.runs.len() < 10, "{} runs", index.runs.len());
    }

    #[test]
    fn a_clone_does_not_see_what_is_inserted_after_it() {
        let mut index: Index = [(digest(1), Revision(1))].into_iter().collect();
        let before = index.clone();
        index.insert(digest(1), Revision(2));
        assert_eq!(index.revisions(digest(1)), [Revision(1), Revision(2)]);
        assert_eq!(before.revisions(digest(1)), [Revision(1)]);
    }
}
