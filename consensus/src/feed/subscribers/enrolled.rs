//! All verifiers of the cluster: those of this node, and those of the other nodes as they last reported them.

use std::collections::BTreeMap;

use hessra_policy::PolicyView;
use hessra_proto::v1::VerifierStatus;
use hessra_revocation::Monotonic;

use super::{Subscribers, millis, signed_millis};
use crate::neighbours::{Listed, Neighbour, Others};
use crate::world::World;

/// Place where a process of a verifier was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// At this node, now.
    Here,
    /// In the last list of a member that had applied this revision before.
    Listed { revision: u64 },
    /// In the last list of a process of a member that has ended.
    Former,
    /// In the last list of a node that is no member since this instant.
    Departed { revision: u64, since: Monotonic },
}

/// A process of a verifier as one node saw it, as of now.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) status: VerifierStatus,
    pub(super) source: Source,
    /// True when it was connected when the list was made.
    pub(super) was_connected: bool,
}

impl Seen {
    /// Higher where more is known of the same process.
    pub(super) fn rank(&self) -> (bool, u64, u64) {
        let status = &self.status;
        (status.connected, status.applied, u64::MAX - status.age_ms)
    }
}

impl<W: World> Subscribers<W> {
    /// All enrolled verifiers of the cluster, by id: those of this node, and those that other nodes last reported. Only such
    /// as the policy ties to the identity that they proved, whatever a member reports. Of several processes with one id
    /// the worst that may permit is shown.
    #[must_use]
    pub fn enrolled(&self, node: u64, others: &Others, policy: &PolicyView) -> Vec<VerifierStatus> {
        let now = self.world.monotonic();
        let wall = self.world.wall().0;
        let mut processes: BTreeMap<(String, Vec<u8>, usize), Seen> = BTreeMap::new();
        let all = self.seen(node, others, now).into_iter().enumerate();
        let named =
            all.filter(|(_, Seen { status, .. })| policy.is_verifier(&status.identity, &status.id));
        for (number, seen) in named {
            let unsaid = if seen.status.process.is_empty() {
                number
            } else {
                0
            };
            let key = (seen.status.id.clone(), seen.status.process.clone(), unsaid);
            match processes.get_mut(&key) {
                Some(known) => known.join(seen),
                None => drop(processes.insert(key, seen)),
            }
        }
        let mut shown: BTreeMap<String, VerifierStatus> = BTreeMap::new();
        for Seen { mut status, .. } in processes.into_values() {
            let may_permit = u32::from(may_permit(&status));
            status.may_permit_until_ms = wall.saturating_add_signed(status.may_permit_for_ms);
            let Some(known) = shown.get_mut(&status.id) else {
                status.processes = may_permit;
                shown.insert(status.id.clone(), status);
                continue;
            };
            status.processes = known.processes + may_permit;
            known.processes = status.processes;
            if is_worse(&status, known) {
                *known = status;
            }
        }
        shown.into_values().collect()
    }

    /// Everything that was seen of verifiers anywhere and is not forgotten.
    pub(super) fn seen(&self, node: u64, others: &Others, now: Monotonic) -> Vec<Seen> {
        let here = self.local(node).into_iter().map(|status| Seen {
            was_connected: status.connected,
            source: Source::Here,
            status,
        });
        let members = others.members.values().flatten();
        let of_members = members.flat_map(|last| {
            let listed = |listed: &Listed| Source::Listed {
                revision: listed.revision,
            };
            self.listed(last, &listed, now)
        });
        let of_departed = others.departed.values().flat_map(|departed| {
            let since = departed.since;
            let listed = |listed: &Listed| Source::Departed {
                revision: listed.revision,
                since,
            };
            let last = departed.last.as_ref();
            last.map(|last| self.listed(last, &listed, now))
                .unwrap_or_default()
        });
        here.chain(of_members).chain(of_departed).collect()
    }

    /// Verifiers of the lists of a node that are not forgotten. The node forgets those that are gone for long; here a list is
    /// forgotten as a whole, when it is so old that nobody permits on the strength of what came before it. How long a
    /// verifier has said nothing decides nothing: one that is slow and connected may permit.
    fn listed(
        &self,
        last: &Neighbour,
        source: &dyn Fn(&Listed) -> Source,
        now: Monotonic,
    ) -> Vec<Seen> {
        let lists = last.listed.iter().map(|list| (list, source(list)));
        let lists = lists.chain(last.former.iter().map(|list| (list, Source::Former)));
        let settings = &self.settings;
        let forget_after = settings.forget_after.max(settings.permits_for());
        let lists = lists.filter(|(list, _)| now.since(list.heard) <= forget_after);
        let seen = |(list, source): (&Listed, Source)| {
            let age = now.since(list.heard);
            let of = |status: &VerifierStatus| {
                self.aged(status, (millis(age), signed_millis(age)), source)
            };
            list.verifiers.iter().map(of).collect::<Vec<_>>()
        };
        lists.flat_map(seen).collect()
    }

    /// What another node reported some time ago, as of now. A node that fell silent serves nobody that is known of.
    fn aged(
        &self,
        status: &VerifierStatus,
        (passed_ms, signed_ms): (u64, i64),
        source: Source,
    ) -> Seen {
        let age_ms = status.age_ms.saturating_add(passed_ms);
        let silent = passed_ms > millis(self.settings.fresh_for);
        let is_member = matches!(source, Source::Listed { .. });
        let aged = VerifierStatus {
            age_ms,
            connected: status.connected && !silent && is_member,
            fails_closed_in_ms: millis(self.settings.fresh_for).saturating_sub(age_ms),
            may_permit_for_ms: status.may_permit_for_ms.saturating_sub(signed_ms),
            node_removed: matches!(source, Source::Departed { .. }),
            ..status.clone()
        };
        Seen {
            status: aged,
            source,
            was_connected: status.connected && source != Source::Former,
        }
    }
}

impl Seen {
    /// Takes what another node saw of the same process.
    fn join(&mut self, other: Self) {
        let may_permit_for_ms = self
            .status
            .may_permit_for_ms
            .max(other.status.may_permit_for_ms);
        if other.rank() > self.rank() {
            *self = other;
        }
        self.status.may_permit_for_ms = may_permit_for_ms;
    }
}

fn may_permit(status: &VerifierStatus) -> bool {
    status.connected || status.may_permit_for_ms > 0
}

/// True when this process of a verifier says less good things of it than that one.
fn is_worse(status: &VerifierStatus, known: &VerifierStatus) -> bool {
    match (may_permit(status), may_permit(known)) {
        (true, true) => {
            (status.applied, known.may_permit_for_ms) < (known.applied, status.may_permit_for_ms)
        }
        (false, false) => status.age_ms < known.age_ms,
        (status, _) => status,
    }
}

/// Nearest rank, of sorted values; 0 of none.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}
