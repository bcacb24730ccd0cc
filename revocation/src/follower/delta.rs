//! Delta: new revisions, applied all or none.

use super::believing::check_roots;
use super::messages::Alarm;
use super::trouble::{Trouble, fork_at};
use crate::publisher::DELTA_ENTRIES_MAX;
use crate::{Checkpoint, DecodeError, FeedEntry, Revision, View};

/// Entries of a delta, beside its checkpoint.
pub(super) struct Entries<'a> {
    pub(super) from: Revision,
    pub(super) to: Revision,
    pub(super) bytes: &'a [Vec<u8>],
}

impl Entries<'_> {
    /// Checks that the next revision comes first, with one entry for each.
    pub(super) fn check_range(&self, view: &View) -> Result<(), Trouble> {
        let count = self.bytes.len();
        let last = self
            .from
            .0
            .checked_add(count as u64)
            .and_then(|after| after.checked_sub(1));
        if count == 0 || count > DELTA_ENTRIES_MAX || last != Some(self.to.0) {
            return Err(Trouble::ELSEWHERE);
        }
        if self.from != view.revision.next() {
            Err(Trouble::RESUME)
        } else {
            Ok(())
        }
    }

    /// Applies all entries and returns the new view, or an error and no view. The log root is compared before anything
    /// is read, so that an entry that cannot be understood is known to be the cluster's own and not the carrier's
    /// invention.
    pub(super) fn apply_to(&self, view: &View, checkpoint: &Checkpoint) -> Result<View, Trouble> {
        let mut log = view.log.clone();
        self.bytes.iter().for_each(|entry| log.append(entry));
        if checkpoint.revision != self.to || checkpoint.log_root != log.root() {
            return Err(fork_at(self.to));
        }
        let mut next = view.clone();
        for bytes in self.bytes {
            let unreadable = Trouble::Alarm(Alarm::Unreadable {
                revision: next.revision.next(),
            });
            match FeedEntry::from_bytes(bytes).map(|entry| next.apply(&entry)) {
                Ok(Ok(())) => {}
                Err(DecodeError::Unknown(variant)) => {
                    return Err(Trouble::Alarm(Alarm::Upgrade { variant }));
                }
                Err(_) | Ok(Err(_)) => return Err(unreadable),
            }
        }
        if next.epoch != view.epoch {
            // A new epoch is begun by a snapshot only: entries of two histories never meet in one delta.
            return Err(Trouble::RESUME);
        }
        check_roots(&next, checkpoint).map(|_| next)
    }
}
