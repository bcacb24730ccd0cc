//! Age of the knowledge, and whether it is young enough to permit.

use std::time::Duration;

use hessra_revocation::{Monotonic, Revision, UnixSeconds};

use super::config::StalenessPolicy;
use super::knowledge::Knowledge;
use crate::UnknownReason;

/// Age of the knowledge; `None` = not known.
pub(super) fn of(knowledge: &Knowledge<'_>, now: Monotonic) -> Option<Duration> {
    knowledge.freshness?.age(now)
}

/// Reason not to rely on the knowledge, if there is one.
pub(super) fn doubt(
    knowledge: &Knowledge<'_>,
    policy: StalenessPolicy,
    now: Monotonic,
) -> Option<UnknownReason> {
    if knowledge.view.is_none() {
        return Some(UnknownReason::RevocationNotChecked);
    }
    let Some(age) = of(knowledge, now) else {
        return Some(UnknownReason::NeverSynced);
    };
    let age_max = age_max(
        policy,
        knowledge.freshness.map(|freshness| freshness.fresh_for),
    );
    (age > age_max).then_some(UnknownReason::Stale { age, age_max })
}

/// Reason not to rely on the knowledge for this token: a token from a later revision proves that something is missing
/// here, however young the knowledge seems.
pub(super) fn behind(token: Option<Revision>, verifier: Revision) -> Option<UnknownReason> {
    let token = token?;
    (token > verifier).then_some(UnknownReason::Behind { token, verifier })
}

/// True when the policy permits in spite of the reason.
pub(super) fn tolerates(
    policy: StalenessPolicy,
    reason: &UnknownReason,
    expires_at: UnixSeconds,
    now: UnixSeconds,
) -> bool {
    match (policy, reason) {
        (StalenessPolicy::BestEffort, _) => true,
        (StalenessPolicy::Bounded { token_life_max, .. }, UnknownReason::Stale { .. }) => {
            let life = expires_at.0.saturating_sub(now.0);
            Duration::from_secs(life) <= token_life_max
        }
        _ => false,
    }
}

/// Strictest bound that applies. A `fresh_for` of zero is one that was never said.
fn age_max(policy: StalenessPolicy, fresh_for: Option<Duration>) -> Duration {
    let own = match policy {
        StalenessPolicy::Strict { max } | StalenessPolicy::Bounded { max, .. } => max,
        StalenessPolicy::BestEffort => Duration::MAX,
    };
    match fresh_for {
        Some(wanted) if !wanted.is_zero() => own.min(wanted),
        _ => own,
    }
}
