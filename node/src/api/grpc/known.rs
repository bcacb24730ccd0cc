//! Names that this cluster has heard of, so that a misspelt one is not revoked without a word.
//!
//! The policy names clients, members and operators; delegates lie below them. A name that has left the policy is in one of
//! its versions that the state keeps, or was revoked before.

use hessra_revocation::{Identity, Target};
use hessra_state::State;

use crate::policy::PolicyView;

/// True when something has this name, may have it, or had it.
pub(super) fn has_heard_of(policy: &PolicyView, state: &State, identity: &Identity) -> bool {
    policy.has_heard_of(identity) || was_revoked(state, identity) || was_named(state, identity)
}

fn was_revoked(state: &State, identity: &Identity) -> bool {
    let targets = [Target::Subtree, Target::Exact, Target::Lock];
    let mut targets = targets.into_iter().map(|target| target(identity.clone()));
    targets.any(|target| state.find(&target).is_some())
}

/// True when a version of the policy that is kept names it, or what it lies below. Looks for the text alone: to parse a
/// hundred versions would take too long at night.
fn was_named(state: &State, identity: &Identity) -> bool {
    let paths = identity.ancestors_and_self();
    let spellings: Vec<String> = paths
        .flat_map(|(_, path)| {
            [
                format!("\"{path}\""),
                format!(":{path}\""),
                format!("'{path}'"),
            ]
        })
        .collect();
    state.policies().iter().any(|version| {
        let lines = version.policy.clients_toml.lines();
        // Bounds of operators and of stubs name what need not exist.
        let mut names = lines.filter(|line| line.contains("value") || line.contains("subject"));
        names.any(|line| spellings.iter().any(|spelling| line.contains(spelling)))
    })
}
