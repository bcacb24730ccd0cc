//! Look-ups: the rule that stands about a target, and whether an identity may be issued anything.

use std::sync::Arc;

use hessra_revocation::{Cutoff, Identity, Revision, Rule, Target, UnixMillis, UnixSeconds};

use crate::{Revocation, SealedKey, State};

impl State {
    /// Rule that stands about a target, and the revision it comes from: that of the revocation, or of the lift that
    /// left a cut-off.
    #[must_use]
    pub fn find(&self, target: &Target) -> Option<(Revision, Rule)> {
        let salt = self.view.set.salt();
        let digest = target.digest(salt);
        let rule = self.view.set.rule(target.kind(), &digest)?;
        // The rule says when; a lock that ended but was not collected still stands in the feed.
        let now = UnixSeconds(0);
        let (revision, _) = self
            .revocations
            .implied(salt, (target.kind(), digest), now)?;
        Some((revision, rule))
    }

    /// Revocation that forbids to issue anything to `identity` at `now`: a permanent rule at or above it, a permanent
    /// rule about exactly it, or a lock at or above it that has not ended.
    ///
    /// Cut-offs forbid nothing here: a fresh token carries a later revision. `None` = may be issued.
    #[must_use]
    pub fn covered(&self, identity: &Identity, now: UnixSeconds) -> Option<&Revocation> {
        let at_or_above = std::iter::successors(Some(identity.clone()), Identity::parent);
        let targets =
            at_or_above.flat_map(|above| [Target::Subtree(above.clone()), Target::Lock(above)]);
        std::iter::once(Target::Exact(identity.clone()))
            .chain(targets)
            .find_map(|target| self.forbids(&target, now))
    }

    /// True when a collection at `now` would remove something: a lock, a revocation of what has ended or of an operator
    /// whose revocations are being removed, a retired key, a pending action, a spent facet, a session.
    #[must_use]
    pub fn has_ended(&self, now: UnixMillis) -> bool {
        let locks = || self.locks.get_min();
        let forgotten = |key: &SealedKey| key.forgotten_from().is_some_and(|from| from < now);
        locks().is_some_and(|(until, _)| *until < now.seconds())
            || self.keys.values().any(forgotten)
            || self.pending.iter().any(|pending| pending.has_ended(now))
            || !self.undoing.is_empty()
            || self.revocations.has_ended(now.seconds())
            || self.ledger.has_ended(now.seconds())
            || self.contexts.has_ended(now.seconds())
    }

    fn forbids(&self, target: &Target, now: UnixSeconds) -> Option<&Revocation> {
        let digest = target.digest(self.view.set.salt());
        let rule = self.view.set.rule(target.kind(), &digest)?;
        let forbids =
            rule.cutoff == Cutoff::Permanent && rule.until.is_none_or(|until| until >= now);
        let (revision, _) = self.find(target).filter(|_| forbids)?;
        self.revocations.find(revision).map(Arc::as_ref)
    }
}
