//! All verifiers of the cluster: those of this node, and those of the other members as they last reported them.

use std::collections::BTreeMap;

use hessra_policy::PolicyView;
use hessra_proto::v1::VerifierStatus;
use hessra_revocation::Revision;

use super::{Subscribers, millis};
use crate::neighbours::Neighbour;
use crate::world::World;

/// Progress of a revision: how many verifiers hold it.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Progress {
    pub enrolled: Vec<VerifierStatus>,
    pub applied: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl<W: World> Subscribers<W> {
    /// All enrolled verifiers of the cluster, by id: those of this node, and those that other members last reported. Only such
    /// as the policy ties to the identity that they proved, whatever a member reports.
    #[must_use]
    pub fn enrolled(
        &self,
        node: u64,
        neighbours: &BTreeMap<u64, Neighbour>,
        policy: &PolicyView,
    ) -> Vec<VerifierStatus> {
        let now = self.world.monotonic();
        let theirs = neighbours.values().flat_map(|neighbour| {
            let passed = millis(now.since(neighbour.heard));
            neighbour
                .verifiers
                .iter()
                .map(move |status| self.aged(status, passed))
        });
        let mut best: BTreeMap<String, VerifierStatus> = BTreeMap::new();
        let all = self.local(node).into_iter().chain(theirs);
        for status in all.filter(|status| policy.is_verifier(&status.identity, &status.id)) {
            let better = best
                .get(&status.id)
                .is_none_or(|known| is_newer(&status, known));
            if better && millis(self.settings.forget_after) >= status.age_ms {
                best.insert(status.id.clone(), status);
            }
        }
        best.into_values().collect()
    }

    /// A report of another member, `passed_ms` old, as of now. A member that fell silent serves nobody.
    fn aged(&self, status: &VerifierStatus, passed_ms: u64) -> VerifierStatus {
        let age_ms = status.age_ms.saturating_add(passed_ms);
        let silent = passed_ms > millis(self.settings.fresh_for);
        VerifierStatus {
            age_ms,
            connected: status.connected && !silent,
            fails_closed_in_ms: millis(self.settings.fresh_for).saturating_sub(age_ms),
            ..status.clone()
        }
    }

    /// Counts the enrolled verifiers that hold a revision.
    #[must_use]
    pub fn progress(
        &self,
        revision: Revision,
        node: u64,
        neighbours: &BTreeMap<u64, Neighbour>,
        policy: &PolicyView,
    ) -> Progress {
        let enrolled = self.enrolled(node, neighbours, policy);
        let holders = enrolled
            .iter()
            .filter(|status| status.applied >= revision.0 && !status.root_differs);
        let mut delays: Vec<f64> = holders.map(|status| status.delay_ms).collect();
        delays.sort_by(f64::total_cmp);
        let (p50_ms, p99_ms) = (percentile(&delays, 50), percentile(&delays, 99));
        Progress {
            applied: delays.len(),
            p50_ms,
            p99_ms,
            enrolled,
        }
    }
}

fn is_newer(status: &VerifierStatus, known: &VerifierStatus) -> bool {
    let rank =
        |status: &VerifierStatus| (status.connected, status.applied, u64::MAX - status.age_ms);
    rank(status) > rank(known)
}

/// Nearest rank, of sorted values; 0 of none.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}
