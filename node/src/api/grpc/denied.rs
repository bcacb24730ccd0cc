//! Revocations that deny a target: its own, and for an identity those of what is above it.

use hessra_revocation::{Cutoff, Identity, Target, UnixSeconds};
use hessra_state::{Revocation, State};

/// Revocations that an answer names as those that still deny.
const DENIED_BY_MAX: usize = 100;

/// Names of the revocations that deny a target for good or until they end: its own, or for an identity those of any
/// ancestor's subtree. `restored`: also those of what was issued before them.
pub(super) fn denied_by(
    state: &State,
    target: &Target,
    restored: bool,
    now: UnixSeconds,
) -> Vec<String> {
    let denies = |revocation: &&Revocation| {
        let is_cutoff = match &revocation.lifted {
            Some(lifted) => !lifted.restored && revocation.until.is_none(),
            None => revocation.cutoff != Cutoff::Permanent,
        };
        let stands = revocation.lifted.is_none() && !revocation.has_ended(now);
        (stands && !is_cutoff) || (restored && is_cutoff)
    };
    let covering = covering(target);
    let all = covering
        .iter()
        .flat_map(|target| state.revocations_of(target));
    let epoch = state.view().epoch;
    let names = all.filter(denies).map(|found| found.id(epoch).to_string());
    names.take(DENIED_BY_MAX).collect()
}

/// Targets of which a revocation covers this one.
pub(super) fn covering(target: &Target) -> Vec<Target> {
    match target {
        Target::Subtree(identity) | Target::Lock(identity) => at_or_above(identity),
        Target::Exact(identity) => {
            let mut targets = at_or_above(identity);
            targets.push(target.clone());
            targets
        }
        Target::Token(_) | Target::Key(_) | Target::Signer(_) | Target::Certificate(_) => {
            vec![target.clone()]
        }
    }
}

fn at_or_above(identity: &Identity) -> Vec<Target> {
    let ancestors = std::iter::successors(Some(identity.clone()), Identity::parent);
    ancestors
        .flat_map(|ancestor| [Target::Subtree(ancestor.clone()), Target::Lock(ancestor)])
        .collect()
}
