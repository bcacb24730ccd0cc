//! Revoking, lifting, collecting.
//!
//! **Repeating a revoke.** A retry carries the request id of the first try and gets its answer. A *second* revoke, of
//! somebody else or with a new id, answers `already` only where it would add nothing: a permanent rule stands, or a lock
//! that ends no sooner, or the target was named twice in this very command. A second cut-off is never `already`: tokens
//! may have been issued between the two, at the very revision of the first cut-off, and the second means them too. It
//! gets a revision of its own and makes the cut-off later.
//!
//! **Lifting** never deletes history. The rule that remains is what the other revocations of the target imply, and for
//! a permanent rule the cut-off at the lift: tokens issued before stay dead. A lock that is lifted early is gone. A
//! cut-off cannot be lifted, because all it ever denied is old tokens.
//!
//! **Lifting with restore** leaves nothing of the one revocation: tokens issued before live again, unless another
//! revocation covers them. It is for a revocation made by mistake, of anything but a key, and may follow a plain lift.
//!
//! **Collecting** forgets a revocation when everything that it was about has ended, so that what is remembered does not grow
//! for ever. One that stands for good is never forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use hessra_revocation::{Cutoff, Revision, Rule, RuleKind, SignerKey, Target, UnixSeconds};

use crate::applied::{Applied, Revoked};
use crate::command::{Lift, Revoke};
use crate::limits::{
    COLLECTED_MAX, MESSAGE_BYTES_MAX, REASON_BYTES_MAX, REVOCATIONS_KEPT, REVOCATIONS_MAX,
    REVOCATIONS_PER_AUTHOR_MAX, REVOCATIONS_PER_BASE_MAX, TARGETS_MAX, TICKET_BYTES_MAX,
};
use crate::refusal::{Refusal, RefusalCode};
use crate::revocations::{Lifted, Revocation, Why, base_of};
use crate::state::State;

impl State {
    /// Revokes all targets or none.
    pub(crate) fn revoke(&mut self, revoke: &Revoke, by: &str) -> Result<Applied, Refusal> {
        check_texts(revoke)?;
        check_number(revoke.targets.len())?;
        self.check_room(revoke, by)?;
        revoke
            .targets
            .iter()
            .try_for_each(|target| self.check_target(target, revoke))?;
        let before = self.view.revision;
        let why = self.revocations.share(Why {
            by: by.to_owned(),
            reason: revoke.reason.clone(),
            ticket: revoke.ticket.clone(),
            message: revoke.message.clone(),
        });
        let answers = revoke
            .targets
            .iter()
            .map(|target| self.revoke_one(target, revoke, &why, before))
            .collect();
        Ok(Applied::Revoked(answers))
    }

    /// Lifts one revocation.
    pub(crate) fn lift(&mut self, lift: &Lift, by: &str) -> Result<Applied, Refusal> {
        check_length("reason", &lift.reason, REASON_BYTES_MAX)?;
        let name = lift.revision;
        let Some(revocation) = self.revocations.find(name).cloned() else {
            let message =
                format!("no revocation has revision {name}; copy it from the list of revocations");
            return Err(Refusal::new(RefusalCode::NotFound, message));
        };
        if let Some(of) = &lift.of
            && revocation.target.identity() != Some(of)
        {
            let message = format!(
                "the revocation at revision {name} is not of `{of}`; list the revocations and name the one that is meant"
            );
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        if let Some(lifted) = &revocation.lifted
            && (lifted.restored || !lift.restore)
        {
            return Ok(Applied::Lifted {
                revision: lifted.revision,
                already: true,
            });
        }
        self.check_liftable(&revocation, lift.restore)?;
        let revision = self.view.revision.next();
        let lifted = Some(Lifted {
            revision,
            at: self.clock,
            by: by.to_owned(),
            restored: lift.restore,
        });
        self.put_revocation(Revocation {
            lifted,
            ..(*revocation).clone()
        });
        self.follow_revocations(&revocation.target);
        Ok(Applied::Lifted {
            revision,
            already: false,
        })
    }

    /// Refuses what would take more than its author's or its base subject's share of what is remembered, or more than
    /// there is. What contains an incident is taken last.
    fn check_room(&self, revoke: &Revoke, by: &str) -> Result<(), Refusal> {
        let targets = revoke.targets.len();
        let full = |message: String| Err(Refusal::new(RefusalCode::Limit, message));
        let contains = revoke.targets.iter().all(|target| {
            matches!(
                target,
                Target::Subtree(_) | Target::Lock(_) | Target::Key(_) | Target::Signer(_)
            )
        });
        let most = match contains {
            true => REVOCATIONS_MAX + REVOCATIONS_KEPT,
            false => REVOCATIONS_MAX,
        };
        if self.revocations.len() + targets > most {
            return full(format!(
                "the cluster remembers {REVOCATIONS_MAX} revocations, the most it can; revoke subtrees instead, or undo \
                 what an operator should not have revoked"
            ));
        }
        if !contains && self.revocations.len_by(by) + targets > REVOCATIONS_PER_AUTHOR_MAX {
            return full(format!(
                "`{by}` has {REVOCATIONS_PER_AUTHOR_MAX} revocations that are remembered, the most that one operator can; \
                 revoke subtrees instead"
            ));
        }
        let named = revoke.targets.iter().filter_map(Target::identity);
        let mut bases: BTreeMap<&str, usize> = BTreeMap::new();
        for base in named.map(base_of) {
            *bases.entry(base).or_default() += 1;
        }
        let is_full = |(base, more): &(&str, usize)| {
            self.revocations.len_below(base) + more > REVOCATIONS_PER_BASE_MAX
        };
        match bases.into_iter().find(is_full).filter(|_| !contains) {
            Some((base, _)) => full(format!(
                "{REVOCATIONS_PER_BASE_MAX} revocations below `{base}` are remembered, the most that can be; revoke a \
                 subtree instead"
            )),
            None => Ok(()),
        }
    }

    /// Removes the locks that ended longest ago, revocations of what has ended by now or is being
    /// undone, retired keys whose tokens have expired, pending actions that nobody approved, spent facets and sessions. `now` never reaches beyond what is settled: a lock must not end early
    /// because clocks jumped.
    pub(crate) fn collect(&mut self, now: UnixSeconds) -> Applied {
        let end = now.min(self.settled.seconds());
        let ended: Vec<_> = self
            .locks
            .iter()
            .take_while(|(until, _)| *until < end)
            .take(COLLECTED_MAX)
            .copied()
            .collect();
        for (_, digest) in &ended {
            self.remove_rule(RuleKind::Lock, *digest);
        }
        let forgotten = self.collect_revocations(end, COLLECTED_MAX - ended.len());
        let mut removed = ended.len() + forgotten;
        removed += self.collect_timed(end, COLLECTED_MAX - removed);
        removed += self.collect_undone(COLLECTED_MAX - removed);
        removed += self.forget_keys() + self.pending.collect(self.settled);
        Applied::Collected {
            removed: removed as u64,
        }
    }

    /// Forgets revocations of what had ended before `end`, at most `room` of them, and returns their number. The rule of a
    /// target stays as far as other revocations imply it.
    fn collect_revocations(&mut self, end: UnixSeconds, room: usize) -> usize {
        let ended = self.revocations.ended(end, room);
        ended.iter().for_each(|revision| self.forget(*revision));
        ended.len()
    }

    /// Forgets a revocation, and what it alone implied.
    pub(crate) fn forget(&mut self, revision: Revision) {
        let salt = *self.view.set.salt();
        let Some(revocation) = self.revocations.forget(&salt, revision) else {
            return;
        };
        let target = &revocation.target;
        let (kind, digest) = (target.kind(), target.digest(&salt));
        let implied = self
            .revocations
            .implied(&salt, (kind, digest), self.settled.seconds());
        match (implied, self.view.set.rule(kind, &digest)) {
            (Some((_, rule)), stands) if stands != Some(rule) => _ = self.put_rule(rule),
            (None, Some(_)) => _ = self.remove_rule(kind, digest),
            _ => {}
        }
    }

    /// Removes facets and sessions that ended before `end`, at most `room` of them, and returns their number.
    fn collect_timed(&mut self, end: UnixSeconds, room: usize) -> usize {
        let facets = self.ledger.ended(end, room);
        for facet in &facets {
            self.ledger.remove(facet);
        }
        let sessions = self.contexts.ended(end, room - facets.len());
        for session in &sessions {
            self.contexts.remove(session);
        }
        facets.len() + sessions.len()
    }

    fn revoke_one(
        &mut self,
        target: &Target,
        revoke: &Revoke,
        why: &Arc<Why>,
        before: Revision,
    ) -> Revoked {
        let revision = self.view.revision.next();
        let cutoff = if is_permanent(target, revoke) {
            Cutoff::Permanent
        } else {
            Cutoff::Before(revision)
        };
        let rule = Rule::new(self.view.set.salt(), target, cutoff, revoke.until);
        let existing = self.view.set.rule(rule.kind, &rule.digest);
        if existing.is_some_and(|existing| adds_nothing(&rule, &existing, before)) {
            // Only what its author has revoked adds nothing: what another one has may be undone.
            let own = self.revocations.implied_by(
                self.view.set.salt(),
                (rule.kind, rule.digest),
                &why.by,
            );
            if let Some((revision, _)) = own.filter(|(_, own)| adds_nothing(&rule, own, before)) {
                return Revoked {
                    revision,
                    already: true,
                };
            }
        }
        self.put_rule(existing.map_or(rule, |existing| existing.merge(rule)));
        self.contexts.end(target);
        self.put_revocation(Revocation {
            revision,
            target: target.clone(),
            cutoff,
            until: revoke.until,
            at: self.clock,
            why: Arc::clone(why),
            lifted: None,
        });
        Revoked {
            revision,
            already: false,
        }
    }

    /// Makes the rule of a target what its revocations imply, also when it does not change: a lift has a revision.
    fn follow_revocations(&mut self, target: &Target) {
        let salt = *self.view.set.salt();
        let (kind, digest) = (target.kind(), target.digest(&salt));
        match self
            .revocations
            .implied(&salt, (kind, digest), self.settled.seconds())
        {
            Some((_, rule)) => self.put_rule(rule),
            None => self.remove_rule(kind, digest),
        };
    }

    fn check_target(&self, target: &Target, revoke: &Revoke) -> Result<(), Refusal> {
        match (target, revoke.until) {
            (Target::Lock(_), None) => Err(Refusal::invalid("a lock needs an end; say until when")),
            (Target::Lock(_), Some(_)) if revoke.permanent => Err(Refusal::invalid(
                "a lock ends by itself and cannot be permanent; drop one of the two",
            )),
            (Target::Lock(identity), Some(until)) if until <= self.ends_by().seconds() => {
                Err(Refusal::invalid(format!(
                    "the lock of `{identity}` would have ended at {until}, it is {} now; choose a later end",
                    self.ends_by().seconds()
                )))
            }
            (Target::Lock(_), Some(_)) => Ok(()),
            (_, Some(_)) => Err(Refusal::invalid(
                "only locks end by themselves; drop the end or lock a subtree",
            )),
            (Target::Key(id), None) if self.keys.contains_key(id) => Err(Refusal::invalid(
                format!("key {id} is a key of this cluster; use `hessra keys revoke {id}`"),
            )),
            (Target::Signer(key), None) => match self.own_key(key) {
                Some(id) => Err(Refusal::invalid(format!(
                    "`{key}` is key {id} of this cluster; use `hessra keys revoke {id}`"
                ))),
                None => Ok(()),
            },
            (_, None) => Ok(()),
        }
    }

    /// Id of the key of this cluster that these are the bytes of.
    fn own_key(&self, key: &SignerKey) -> Option<u32> {
        let SignerKey::Ed25519(bytes) = key else {
            return None;
        };
        let mut keys = self.keys.values();
        keys.find(|own| own.public_key == *bytes).map(|own| own.id)
    }

    fn check_liftable(&self, revocation: &Revocation, restore: bool) -> Result<(), Refusal> {
        let because = match (&revocation.target, revocation.cutoff) {
            // A thief of a key writes any revision into a token: no cut-off could keep old forgeries dead.
            (Target::Key(_), _) => "a revoked key stays revoked; use a new one",
            (Target::Lock(_), _) if revocation.has_ended(self.clock.seconds()) => {
                "this lock ended by itself; there is nothing to lift"
            }
            _ if restore => return Ok(()),
            (Target::Token(_), _) => "a revoked token stays revoked; issue a new one",
            (Target::Signer(_), _) => {
                "the revoked key of a signer stays revoked; name a new one in the policy"
            }
            (Target::Certificate(_), _) => {
                "a revoked certificate stays revoked; enrol with a new one"
            }
            (Target::Subtree(_) | Target::Exact(_), Cutoff::Before(_)) => {
                "it denies only what was issued before it, and old tokens stay dead; issue a fresh one, that works"
            }
            (Target::Subtree(_) | Target::Exact(_), Cutoff::Permanent) | (Target::Lock(_), _) => {
                return Ok(());
            }
        };
        let message = format!(
            "the revocation at revision {} cannot be lifted: {because}",
            revocation.revision
        );
        Err(Refusal::new(RefusalCode::NotLiftable, message))
    }
}

fn is_permanent(target: &Target, revoke: &Revoke) -> bool {
    match target {
        Target::Subtree(_) | Target::Exact(_) => revoke.permanent,
        Target::Token(_)
        | Target::Certificate(_)
        | Target::Key(_)
        | Target::Signer(_)
        | Target::Lock(_) => true,
    }
}

/// True when `existing` denies all that `rule` would. `before` is the revision at which this command began: a cut-off
/// that it made itself is as late as any that it could still make.
fn adds_nothing(rule: &Rule, existing: &Rule, before: Revision) -> bool {
    match (existing.cutoff, rule.cutoff) {
        (Cutoff::Permanent, _) => match (existing.until, rule.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(existing), Some(asked)) => existing >= asked,
        },
        (Cutoff::Before(_), Cutoff::Permanent) => false,
        (Cutoff::Before(existing), Cutoff::Before(_)) => existing > before,
    }
}

fn check_number(targets: usize) -> Result<(), Refusal> {
    match targets {
        0 => Err(Refusal::invalid(
            "nothing to revoke; name at least one target",
        )),
        1..=TARGETS_MAX => Ok(()),
        _ => {
            let message = format!(
                "{targets} targets, at most {TARGETS_MAX} go into one command; send several"
            );
            Err(Refusal::new(RefusalCode::Limit, message))
        }
    }
}

fn check_texts(revoke: &Revoke) -> Result<(), Refusal> {
    check_length("reason", &revoke.reason, REASON_BYTES_MAX)?;
    check_length("ticket", &revoke.ticket, TICKET_BYTES_MAX)?;
    check_length("message", &revoke.message, MESSAGE_BYTES_MAX)
}

pub(crate) fn check_length(name: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.len() <= max {
        return Ok(());
    }
    let message = format!(
        "the {name} has {} bytes, at most {max} are kept; shorten it",
        text.len()
    );
    Err(Refusal::new(RefusalCode::Limit, message))
}
