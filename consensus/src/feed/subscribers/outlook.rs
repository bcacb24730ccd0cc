//! Outlook of a revision: which verifiers hold it, which may still permit without it and until when, and which cannot any
//! more.
//!
//! A checkpoint that was confirmed after a revision was applied anywhere holds it. So whoever permits without the
//! revision does so on the strength of an earlier checkpoint, and for no longer than `permits_for` after this node had
//! applied it: whether this node has heard of it or not, and whatever became of its node. Before that instant the answer
//! rests on lists. A list is whole when its node had applied the revision before it was made, because who came later was
//! given the revision; and when the process that made it has run for long enough to know all who may permit. A node of
//! which there is no such list may have verifiers for as long as lasts what it was confirmed last: its leader knows when it
//! asked (`askers`).
//!
//! The one exception is a verifier that holds another history: revisions say nothing about it, so it counts for as long
//! as what it was given lasts.

use std::collections::BTreeMap;
use std::time::Duration;

use hessra_policy::PolicyView;
use hessra_proto::v1::unheard::Reason;
use hessra_proto::v1::verifier_status::Refused;
use hessra_proto::v1::{Unheard, VerifierStatus};
use hessra_revocation::{Monotonic, Revision};

use super::enrolled::{Seen, Source, percentile};
use super::{Subscribers, signed_millis};
use crate::askers::LastAsked;
use crate::neighbours::{Listed, Neighbour, Others};
use crate::plant::{Plant, is_planted};
use crate::world::World;

/// Streams of the processes of one verifier, by process.
type Processes = BTreeMap<(Vec<u8>, usize), Vec<Seen>>;

/// A member that has not answered for so long does not answer; before, its answer is under way.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// A revision, and what is known of the cluster.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct Wanted<'a> {
    pub revision: Revision,
    /// Instant at which this node had applied it, read before the verifiers are; `None` = it has not.
    pub reached: Option<Monotonic>,
    /// This node.
    pub node: u64,
    pub others: &'a Others,
    pub policy: &'a PolicyView,
}

/// Progress of a revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Verifiers, by id: those below and those that hold it.
    pub enrolled: usize,
    /// Verifiers of which every process that may permit holds it.
    pub applied: usize,
    /// Verifiers that may still permit without it; of each its worst process.
    pub laggards: Vec<VerifierStatus>,
    /// Verifiers of which no process holds it and none may permit.
    pub failed_closed: usize,
    /// Those, and processes that are connected beside one that holds it.
    pub closed: Vec<VerifierStatus>,
    /// Nodes whose verifiers are not known.
    pub unheard: Vec<Unheard>,
    /// Delay of the median holder.
    pub p50_ms: f64,
    /// Delay of the last holder but one in a hundred.
    pub p99_ms: f64,
}

impl Progress {
    /// True when nobody may permit without the revision.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        self.laggards.is_empty() && self.unheard.is_empty()
    }
}

/// One process of a verifier, as all nodes together know it.
struct Known {
    status: VerifierStatus,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Holds,
    MayPermit,
    FailedClosed,
}

impl<W: World> Subscribers<W> {
    /// Looks how far a revision has come.
    #[must_use]
    pub fn progress(&self, wanted: &Wanted<'_>) -> Progress {
        let now = self.world.monotonic();
        let limits = Limits {
            permits_for_ms: signed_millis(self.settings.permits_for()),
            now,
            wanted: *wanted,
        };
        let mut progress = Progress {
            unheard: self.unheard(&limits),
            ..Progress::default()
        };
        let mut delays = Vec::new();
        for processes in self.processes(&limits).into_values() {
            let holding = processes
                .iter()
                .filter(|one| one.standing == Standing::Holds);
            let delay = holding
                .map(|one| one.status.delay_ms)
                .max_by(f64::total_cmp);
            let of = |standing| processes.iter().filter(move |one| one.standing == standing);
            let worst = of(Standing::MayPermit)
                .min_by_key(|one| (one.status.applied, -one.status.may_permit_for_ms))
                .filter(|_| delay.is_none() || !is_planted(Plant::BetterOfEqualNames));
            progress.enrolled += 1;
            match (worst, delay) {
                (Some(worst), _) => progress.laggards.push(VerifierStatus {
                    processes: u32::try_from(
                        of(Standing::Holds).count() + of(Standing::MayPermit).count(),
                    )
                    .unwrap_or(u32::MAX),
                    ..worst.status.clone()
                }),
                (None, Some(delay)) => {
                    delays.push(delay);
                    let frozen = of(Standing::FailedClosed).filter(|one| one.status.connected);
                    progress.closed.extend(frozen.map(|one| one.status.clone()));
                }
                (None, None) => {
                    progress.failed_closed += 1;
                    let last =
                        of(Standing::FailedClosed).max_by_key(|one| one.status.may_permit_for_ms);
                    progress.closed.extend(last.map(|one| one.status.clone()));
                }
            }
        }
        progress.applied = delays.len();
        delays.sort_by(f64::total_cmp);
        (progress.p50_ms, progress.p99_ms) = (percentile(&delays, 50), percentile(&delays, 99));
        progress
    }

    /// The processes of every verifier that counts.
    fn processes(&self, limits: &Limits<'_>) -> BTreeMap<String, Vec<Known>> {
        let Wanted {
            node,
            others,
            policy,
            ..
        } = limits.wanted;
        let wall = self.world.wall().0;
        let mut processes: BTreeMap<String, Processes> = BTreeMap::new();
        for (number, seen) in self.seen(node, others, limits.now).into_iter().enumerate() {
            // One that does not say which process it is may be any.
            let unsaid = if seen.status.process.is_empty() {
                number
            } else {
                0
            };
            let of_id = processes.entry(seen.status.id.clone()).or_default();
            let process = of_id
                .entry((seen.status.process.clone(), unsaid))
                .or_default();
            process.push(seen);
        }
        let known = |seen: Vec<Seen>| limits.known(&seen, policy, wall);
        processes
            .into_iter()
            .map(|(id, of_id)| {
                (
                    id,
                    of_id.into_values().filter_map(known).collect::<Vec<_>>(),
                )
            })
            .filter(|(_, known)| !known.is_empty())
            .collect()
    }

    /// Nodes whose verifiers may permit without the revision and cannot be named.
    fn unheard(&self, limits: &Limits<'_>) -> Vec<Unheard> {
        let Wanted { node, others, .. } = limits.wanted;
        let started = limits.permits_for_ms - signed_millis(others.up);
        let own = Some((node, Reason::Started, limits.capped(started)));
        let members = others.members.iter().map(|(id, last)| {
            let (reason, for_ms) = limits.of_node(last.as_ref())?;
            Some((
                *id,
                reason,
                limits.capped(for_ms.min(limits.confirmed(*id))),
            ))
        });
        let departed = others.departed.iter().map(|(id, departed)| {
            let (reason, for_ms) = limits.of_node(departed.last.as_ref())?;
            let reason = match reason {
                Reason::Started => Reason::Started,
                _ => Reason::Removed,
            };
            let since = limits.left_since(departed.since);
            Some((*id, reason, limits.capped(for_ms.min(since))))
        });
        let wall = self.world.wall().0;
        std::iter::once(own)
            .chain(members)
            .chain(departed)
            .flatten()
            .filter(|(.., for_ms)| *for_ms > 0)
            .map(|(node, reason, for_ms)| Unheard {
                node,
                reason: reason.into(),
                until_ms: match limits.wanted.reached {
                    Some(_) => wall.saturating_add_signed(for_ms),
                    None => 0,
                },
            })
            .collect()
    }
}

/// Times after which nobody may permit, as of one instant.
struct Limits<'a> {
    permits_for_ms: i64,
    now: Monotonic,
    wanted: Wanted<'a>,
}

impl Limits<'_> {
    /// What is left of the time for which something permits that was confirmed at this instant.
    fn left_since(&self, instant: Monotonic) -> i64 {
        self.permits_for_ms - signed_millis(self.now.since(instant))
    }

    /// What is left of the time within which anybody may permit without the revision.
    fn left(&self) -> i64 {
        self.wanted
            .reached
            .map_or(self.permits_for_ms, |reached| self.left_since(reached))
    }

    fn capped(&self, for_ms: i64) -> i64 {
        for_ms.min(self.left())
    }

    /// Time left within which a node's verifiers may permit on the strength of a confirmation before the revision. It is over
    /// where the node has asked the leader for nothing for longer.
    fn confirmed(&self, node: u64) -> i64 {
        let proved = |asked: &&LastAsked| {
            let reached = self.wanted.reached;
            reached.is_some_and(|reached| asked.confirmed >= reached)
        };
        let asked = self.wanted.others.asked.as_ref().filter(proved);
        asked.map_or(i64::MAX, |asked| self.left_since(asked.of(node)))
    }

    /// Reason for which the verifiers of a node are not all known, and how long they may permit as far as that says.
    fn of_node(&self, last: Option<&Neighbour>) -> Option<(Reason, i64)> {
        let Some(last) = last else {
            return Some((Reason::Silent, i64::MAX));
        };
        let is_whole = |listed: &Listed| listed.revision >= self.wanted.revision.0;
        let Some(listed) = last.listed.as_ref().filter(|listed| is_whole(listed)) else {
            let silent = self.now.since(last.heard) > SILENT_AFTER;
            let reason = if silent {
                Reason::Silent
            } else {
                Reason::Behind
            };
            return Some((reason, i64::MAX));
        };
        if last.former.as_ref().is_some_and(is_whole) {
            return None;
        }
        let up = listed.up + self.now.since(listed.heard);
        Some((Reason::Started, self.permits_for_ms - signed_millis(up)))
    }

    /// A process of which this was seen. `None` = it does not count.
    fn known(&self, seen: &[Seen], policy: &PolicyView, wall: u64) -> Option<Known> {
        let Wanted { revision, .. } = self.wanted;
        let is_named = |seen: &&Seen| policy.is_verifier(&seen.status.identity, &seen.status.id);
        let holds = |seen: &Seen| {
            let status = &seen.status;
            status.applied >= revision.0 && !status.root_differs && status.refused() == Refused::No
        };
        let is_elsewhere = |seen: &Seen| {
            let differs = seen.status.root_differs && seen.was_connected;
            differs || seen.status.refused() == Refused::Fork
        };
        let shown = seen.iter().max_by_key(|seen| seen.rank())?;
        let for_ms = seen.iter().map(|seen| self.permits(seen)).max()?;
        let standing = match () {
            () if seen.iter().any(holds) && !seen.iter().any(is_elsewhere) => Standing::Holds,
            () if for_ms > 0 => Standing::MayPermit,
            () => Standing::FailedClosed,
        };
        // One that the policy named when it connected is waited for while it may permit, and counts for nothing else.
        let not_in_policy = !seen.iter().any(|seen| is_named(&seen));
        if not_in_policy && standing != Standing::MayPermit {
            return None;
        }
        let status = VerifierStatus {
            may_permit_for_ms: for_ms,
            may_permit_until_ms: wall.saturating_add_signed(for_ms),
            not_in_policy,
            ..shown.status.clone()
        };
        Some(Known { status, standing })
    }

    /// Time for which a process may permit on the strength of what it was given where it was seen.
    fn permits(&self, seen: &Seen) -> i64 {
        let own = seen.status.may_permit_for_ms;
        let departed = match seen.source {
            Source::Departed { since, .. } => self.left_since(since),
            Source::Here | Source::Listed { .. } | Source::Former => i64::MAX,
        };
        let holds_another = seen.status.root_differs || seen.status.refused() == Refused::Fork;
        if holds_another {
            // What its node has given it since the list was made is not known.
            let given = seen.was_connected && seen.source != Source::Here;
            return if given {
                self.permits_for_ms.min(departed)
            } else {
                own
            };
        }
        let is_whole = match seen.source {
            Source::Here => self.wanted.reached.is_some(),
            Source::Listed { revision } | Source::Departed { revision, .. } => {
                revision >= self.wanted.revision.0
            }
            Source::Former => false,
        };
        let given = if is_whole { own } else { departed };
        let confirmed = match seen.source {
            Source::Listed { .. } | Source::Former => self.confirmed(seen.status.node),
            Source::Here | Source::Departed { .. } => i64::MAX,
        };
        self.capped(given.min(confirmed))
    }
}
