//! Meaning of a commit for the policy that stands. Pure: git and the cluster are asked by others.

use hessra_revocation::{Hash, Revision};
use hessra_state::{PolicyOrigin, PolicyVersions};

/// Exceptions that the settings allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permitted {
    /// A commit that does not descend from the one applied last.
    pub(super) rewind: bool,
    /// Replacing what an operator applied over the newest commit.
    pub(super) correct_drift: bool,
}

/// Decision on a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The policy that stands is that of the commit.
    InSync,
    /// The commit's policy takes the place of this revision.
    Apply { based_on: Revision },
    /// The newest commit was applied, and then something else by hand.
    Drift,
    /// The commit does not descend from this one, which was applied last.
    Rewind { applied: String },
}

/// The commit that was applied last, as far as versions are kept.
pub(super) fn applied_last(versions: &PolicyVersions) -> Option<&str> {
    versions
        .iter()
        .rev()
        .find_map(|version| match &version.change.origin {
            PolicyOrigin::Git(commit) => Some(commit.as_str()),
            _ => None,
        })
}

/// Decides on a commit. `descends`: it is the one applied last, or descends from it; true when none was applied.
pub(super) fn decide(
    versions: &PolicyVersions,
    commit: &str,
    digest: Hash,
    descends: bool,
    permitted: Permitted,
) -> Decision {
    let Some(current) = versions.newest() else {
        // Before the cluster began there is nothing to replace.
        return Decision::InSync;
    };
    if current.policy.digest == digest {
        return Decision::InSync;
    }
    let apply = Decision::Apply {
        based_on: current.revision,
    };
    match applied_last(versions) {
        Some(applied) if applied == commit && !permitted.correct_drift => Decision::Drift,
        Some(applied) if !descends && !permitted.rewind => Decision::Rewind {
            applied: applied.to_owned(),
        },
        _ => apply,
    }
}
