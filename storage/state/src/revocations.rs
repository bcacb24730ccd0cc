//! Revocations as people see them, and the rule that all revocations of one target imply together.
//!
//! The data plane has one [`Rule`] per target; people have every revocation that was ever made of it, also the lifted
//! ones. Only `implied` makes the rule from the revocations, so a lift cannot forget what else was revoked.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hessra_revocation::{
    Cutoff, Digest, Epoch, FeedSalt, Identity, Revision, Rule, RuleKind, Target, UnixMillis,
    UnixSeconds,
};
use imbl::{OrdMap, OrdSet};

use crate::index::Index;
use crate::limits::{BASE_SEGMENTS, REVOCATION_KEPT_SECONDS};

/// Forgotten revisions that the index keeps at least, so that it is not made anew for a few.
const LEFT_OVER_MIN: usize = 1024;

/// Revocation of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Revision that made it.
    pub revision: Revision,
    /// Target that was revoked.
    pub target: Target,
    /// Cut-off: tokens from this revision on escape.
    pub cutoff: Cutoff,
    /// End of a lock.
    pub until: Option<UnixSeconds>,
    /// Time of the revocation, on the state's clock.
    pub at: UnixMillis,
    /// Author and reason: the revocations of one incident share them.
    pub why: Arc<Why>,
    /// Lift, once there is one.
    pub lifted: Option<Lifted>,
}

/// Author and reason of a revocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// Operator who revoked.
    pub by: String,
    /// Short code of the reason.
    pub reason: String,
    /// Ticket that tells the story.
    pub ticket: String,
    /// Message for people who are denied.
    pub message: String,
}

impl Revocation {
    /// Name of the revocation, for people.
    #[must_use]
    pub fn id(&self, epoch: Epoch) -> RevocationId {
        RevocationId {
            epoch,
            revision: self.revision,
        }
    }

    /// True when it is a lock that ended before `now`.
    #[must_use]
    pub fn has_ended(&self, now: UnixSeconds) -> bool {
        self.until.is_some_and(|until| until < now)
    }

    /// Instant from which on nothing is left that it was about, so that it may be forgotten; `None` = never.
    ///
    /// A revocation of what was issued before it, and a lift, are about tokens that have all ended some time later. One
    /// that stands for good is not, nor is one of a key or a certificate, whose ends are not known here.
    pub(crate) fn forgotten_from(&self) -> Option<UnixSeconds> {
        let made = self.lifted.as_ref().map_or(self.at, |lifted| lifted.at);
        let is_about_the_past = match (&self.target, self.cutoff) {
            _ if self.lifted.is_some() || self.until.is_some() => true,
            (Target::Token(_), _) | (_, Cutoff::Before(_)) => true,
            (_, Cutoff::Permanent) => false,
        };
        let last = made.seconds().max(self.until.unwrap_or(UnixSeconds(0)));
        let from = last.0.saturating_add(REVOCATION_KEPT_SECONDS);
        is_about_the_past.then_some(UnixSeconds(from))
    }

    /// Base subject, when it is about an identity.
    pub(crate) fn base(&self) -> Option<&str> {
        self.target.identity().map(base_of)
    }

    /// Rule that this revocation alone implies, and the revision that it comes from; `None` for a lifted lock, and for
    /// a lift that restored everything.
    fn effect(&self) -> Option<(Revision, Cutoff)> {
        match &self.lifted {
            None => Some((self.revision, self.cutoff)),
            Some(_) if self.until.is_some() => None,
            Some(lifted) if lifted.restored => None,
            // Undo never deletes: tokens issued before the lift stay dead.
            Some(lifted) => Some((lifted.revision, Cutoff::Before(lifted.revision))),
        }
    }
}

/// Lift of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifted {
    /// Revision of the lift.
    pub revision: Revision,
    /// Time of the lift, on the state's clock.
    pub at: UnixMillis,
    /// Operator who lifted it.
    pub by: String,
    /// True when tokens issued before live again.
    pub restored: bool,
}

/// Operator whose revocations are being removed, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undoing {
    /// Operator, as the revocations name it.
    pub operator: String,
    /// Time from which on, on the state's clock.
    pub since: UnixMillis,
    /// Newest revision that may be left: what the operator revokes later is not removed.
    pub next: Revision,
}

/// Name of a revocation: `rv_17`, or `rv_2.17` in the history that began with the first restore from a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevocationId {
    /// Number of the history that it belongs to.
    pub epoch: Epoch,
    /// Revision that made it.
    pub revision: Revision,
}

/// Error of a text that is not the name of a revocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a revocation; it looks like `rv_17` or `rv_2.17`, copy it from the list of revocations"
)]
pub struct RevocationIdError(String);

const FIRST_EPOCH: Epoch = Epoch(1);

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch == FIRST_EPOCH {
            write!(f, "rv_{}", self.revision)
        } else {
            write!(f, "rv_{}.{}", self.epoch, self.revision)
        }
    }
}

impl FromStr for RevocationId {
    type Err = RevocationIdError;

    /// Reads exactly the texts that [`fmt::Display`] writes, so that one revocation has one name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |number: &str| number.parse::<u64>().ok();
        let numbers = text.strip_prefix("rv_").unwrap_or_default();
        let id = match numbers.split_once('.') {
            Some((epoch, revision)) => parse(epoch).zip(parse(revision)),
            None => parse(numbers).map(|revision| (FIRST_EPOCH.0, revision)),
        };
        id.map(|(epoch, revision)| Self {
            epoch: Epoch(epoch),
            revision: Revision(revision),
        })
        .filter(|id| id.to_string() == text)
        .ok_or_else(|| RevocationIdError(text.chars().take(64).collect()))
    }
}

/// All revocations, findable by revision and by target. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Revocations {
    by_revision: OrdMap<Revision, Arc<Revocation>>,
    /// Revisions by the digest of the target, which covers its kind. Forgotten ones are left in it for a while.
    by_digest: Index,
    /// Number of revisions in the index that are forgotten.
    left_over: usize,
    by_author: OrdMap<String, OrdSet<Revision>>,
    /// Number of those about identities, by base subject.
    by_base: OrdMap<String, usize>,
    /// Revisions by the instant from which on they may be forgotten.
    ends: OrdSet<(UnixSeconds, Revision)>,
}

/// Base subject of an identity: its first segments.
pub(crate) fn base_of(identity: &Identity) -> &str {
    let path = identity.path();
    let mut ends = path.match_indices(':').map(|(at, _)| at);
    let end = ends.nth(BASE_SEGMENTS - 1);
    &path[..end.unwrap_or(path.len())]
}

impl Revocations {
    pub(crate) fn by_revision(&self) -> &OrdMap<Revision, Arc<Revocation>> {
        &self.by_revision
    }

    pub(crate) fn find(&self, revision: Revision) -> Option<&Arc<Revocation>> {
        self.by_revision.get(&revision)
    }

    /// Shares author and reason with the newest revocation, if they are equal.
    pub(crate) fn share(&self, why: Why) -> Arc<Why> {
        let newest = self.by_revision.get_max();
        let same = newest.filter(|(_, newest)| *newest.why == why);
        same.map_or_else(|| Arc::new(why), |(_, newest)| Arc::clone(&newest.why))
    }

    /// Rebuilds the revocations from stored ones, in any order.
    ///
    /// # Errors
    /// The revision that is there twice.
    pub(crate) fn rebuild(salt: &FeedSalt, mut stored: Vec<Revocation>) -> Result<Self, Revision> {
        let mut by_revision = OrdMap::new();
        stored.sort_by_key(|revocation| revocation.revision);
        let mut why: Arc<Why> = Arc::default();
        for mut revocation in stored {
            let revision = revocation.revision;
            if revocation.why != why {
                why = revocation.why;
            }
            revocation.why = Arc::clone(&why);
            if by_revision.insert(revision, Arc::new(revocation)).is_some() {
                return Err(revision);
            }
        }
        let mut rebuilt = Self {
            by_digest: index(salt, &by_revision),
            ..Self::default()
        };
        by_revision
            .values()
            .for_each(|revocation| rebuilt.note(revocation));
        rebuilt.by_revision = by_revision;
        Ok(rebuilt)
    }

    /// Number that is remembered.
    pub(crate) fn len(&self) -> usize {
        self.by_revision.len()
    }

    /// Number of one author's that is remembered.
    pub(crate) fn len_by(&self, author: &str) -> usize {
        self.by_author.get(author).map_or(0, OrdSet::len)
    }

    /// Revisions of one author's, the newest first, of those up to `next`.
    pub(crate) fn newest_by(&self, author: &str, next: Revision) -> impl Iterator<Item = Revision> {
        let own = self.by_author.get(author);
        let up_to = own.map(|own| own.range(..=next).rev());
        up_to.into_iter().flatten().copied()
    }

    /// Number about identities of one base subject that is remembered.
    pub(crate) fn len_below(&self, base: &str) -> usize {
        self.by_base.get(base).copied().unwrap_or(0)
    }

    /// Revisions that may be forgotten before `end`, the earliest first, at most `max`.
    pub(crate) fn ended(&self, end: UnixSeconds, max: usize) -> Vec<Revision> {
        let before = self.ends.iter().take_while(|(from, _)| *from < end);
        before.take(max).map(|(_, revision)| *revision).collect()
    }

    pub(crate) fn has_ended(&self, now: UnixSeconds) -> bool {
        self.ends.get_min().is_some_and(|(from, _)| *from < now)
    }

    /// Forgets a revocation, and returns it.
    pub(crate) fn forget(
        &mut self,
        salt: &FeedSalt,
        revision: Revision,
    ) -> Option<Arc<Revocation>> {
        let revocation = self.by_revision.remove(&revision)?;
        self.unnote(&revocation);
        self.left_over += 1;
        if self.left_over > self.by_revision.len() + LEFT_OVER_MIN {
            self.by_digest = index(salt, &self.by_revision);
            self.left_over = 0;
        }
        Some(revocation)
    }

    fn note(&mut self, revocation: &Revocation) {
        let revision = revocation.revision;
        let author = revocation.why.by.clone();
        let mut own = self.by_author.get(&author).cloned().unwrap_or_default();
        own.insert(revision);
        self.by_author.insert(author, own);
        if let Some(base) = revocation.base() {
            let count = self.len_below(base);
            self.by_base.insert(base.to_owned(), count + 1);
        }
        if let Some(from) = revocation.forgotten_from() {
            self.ends.insert((from, revision));
        }
    }

    fn unnote(&mut self, revocation: &Revocation) {
        let revision = revocation.revision;
        let author = &revocation.why.by;
        let own = self.by_author.get(author).map(|own| own.without(&revision));
        match own {
            Some(own) if !own.is_empty() => _ = self.by_author.insert(author.clone(), own),
            _ => _ = self.by_author.remove(author),
        }
        if let Some(base) = revocation.base() {
            match self.len_below(base) {
                0 | 1 => _ = self.by_base.remove(base),
                count => _ = self.by_base.insert(base.to_owned(), count - 1),
            }
        }
        if let Some(from) = revocation.forgotten_from() {
            self.ends.remove(&(from, revision));
        }
    }

    /// Puts a revocation, in the place of one of the same revision.
    pub(crate) fn put(&mut self, salt: &FeedSalt, revocation: Revocation) {
        let (revision, digest) = (revocation.revision, revocation.target.digest(salt));
        let revocation = Arc::new(revocation);
        let before = self.by_revision.insert(revision, Arc::clone(&revocation));
        match before {
            None => self.by_digest.insert(digest, revision),
            Some(before) => self.unnote(&before),
        }
        self.note(&revocation);
    }

    /// Gives revocations and lifts that are later than `clock` that time.
    pub(crate) fn none_after(&mut self, salt: &FeedSalt, clock: UnixMillis) {
        let is_late = |revocation: &&Arc<Revocation>| {
            let lifted = revocation.lifted.as_ref();
            revocation.at > clock || lifted.is_some_and(|lifted| lifted.at > clock)
        };
        let late: Vec<_> = self.by_revision.values().filter(is_late).cloned().collect();
        for revocation in late {
            let mut revocation = Revocation::clone(&revocation);
            revocation.at = revocation.at.min(clock);
            if let Some(lifted) = &mut revocation.lifted {
                lifted.at = lifted.at.min(clock);
            }
            self.put(salt, revocation);
        }
    }

    /// All revocations of one target, oldest first.
    pub(crate) fn of(&self, kind: RuleKind, digest: Digest) -> impl Iterator<Item = &Revocation> {
        let revisions = self.by_digest.revisions(digest).into_iter();
        let found = revisions.filter_map(|revision| self.by_revision.get(&revision));
        // A digest is of one kind only.
        found
            .map(Arc::as_ref)
            .inspect(move |found| debug_assert_eq!(found.target.kind(), kind))
    }

    /// All targets, each once.
    pub(crate) fn targets(&self, salt: &FeedSalt) -> BTreeSet<(RuleKind, Digest)> {
        let revocations = self.by_revision.values();
        revocations
            .map(|revocation| (revocation.target.kind(), revocation.target.digest(salt)))
            .collect()
    }

    /// Rule that one author's revocations of a target imply, with the revision it comes from.
    pub(crate) fn implied_by(
        &self,
        salt: &FeedSalt,
        (kind, digest): (RuleKind, Digest),
        author: &str,
    ) -> Option<(Revision, Rule)> {
        let of_author = |revocation: &&Revocation| revocation.why.by == author;
        implied(salt, self.of(kind, digest).filter(of_author))
    }

    /// Rule that the revocations of one target imply together, with the revision it comes from. Locks that ended before
    /// `now` imply nothing.
    pub(crate) fn implied(
        &self,
        salt: &FeedSalt,
        (kind, digest): (RuleKind, Digest),
        now: UnixSeconds,
    ) -> Option<(Revision, Rule)> {
        implied(
            salt,
            self.of(kind, digest)
                .filter(|revocation| !revocation.has_ended(now)),
        )
    }
}

fn index(salt: &FeedSalt, by_revision: &OrdMap<Revision, Arc<Revocation>>) -> Index {
    let entry = |(revision, revocation): (&Revision, &Arc<Revocation>)| {
        (revocation.target.digest(salt), *revision)
    };
    by_revision.iter().map(entry).collect()
}

/// Strongest of several revocations of one target; of equally strong ones the oldest.
fn implied<'a>(
    salt: &FeedSalt,
    revocations: impl Iterator<Item = &'a Revocation>,
) -> Option<(Revision, Rule)> {
    revocations.fold(None, |strongest: Option<(Revision, Rule)>, revocation| {
        let Some((revision, cutoff)) = revocation.effect() else {
            return strongest;
        };
        let rule = Rule::new(salt, &revocation.target, cutoff, revocation.until);
        match strongest {
            Some((older, existing)) if existing.merge(rule) == existing => Some((older, existing)),
            Some((_, existing)) => Some((revision, existing.merge(rule))),
            None => Some((revision, rule)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_has_one_name() {
        for text in ["rv_1", "rv_17", "rv_2.17", "rv_18446744073709551615"] {
            let id: RevocationId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
        for text in [
            "", "rv_", "17", "rv_017", "rv_+17", "rv_1.17", "rv_2.", "rv_2.1.7", "RV_17", "rv_17 ",
        ] {
            assert!(text.parse::<RevocationId>().is_err(), "{text}");
        }
    }
}
