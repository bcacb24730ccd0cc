//! Containment: at how many verifiers a revision is proven applied, as it happens.
//!
//! A report is given when something changed, at most twenty a second, and one at the end. *Committed* and *applied at
//! k of n* are two answers: this is the second. It rests on acknowledgements, here and as the other members report them,
//! and on time: a verifier that has not heard of the revision permits for `fresh_for` after its last checkpoint, and not
//! a moment longer. So nobody is waited for beyond that, and nothing is called done before it while somebody may be out
//! there: see `feed::subscribers`.

use std::time::Duration;

use hessra_audit::{Actor, Event, Outcome, Record};
use hessra_proto::v1::{AppliedProgress, VerifierStatus, WatchAppliedRequest};
use hessra_revocation::Revision;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::consensus::Consensus;
use crate::feed::FeedHub;
use crate::feed::subscribers::{Progress, Wanted};
use crate::neighbours::Watching;
use crate::world::World;

/// Pause between two reports: below what a person sees as a delay.
const SPACING: Duration = Duration::from_millis(50);
/// Longest time until ages of laggards are reported anew.
const REFRESH: Duration = Duration::from_secs(1);
/// Longest watch: at its end the caller asks again.
const WATCH_MAX: Duration = Duration::from_secs(3_600);
/// Verifiers of one kind that are named in one report.
const NAMED_MAX: usize = 100;

/// Follows one revision to the verifiers.
pub struct ContainmentWatch<W: World> {
    consensus: Consensus<W>,
    feed: FeedHub<W>,
    wanted: WatchAppliedRequest,
    deadline: Instant,
    subscribers: watch::Receiver<u64>,
    rounds: watch::Receiver<u64>,
    last: Option<AppliedProgress>,
    by: Actor,
    _watching: Watching,
}

impl<W: World> ContainmentWatch<W> {
    /// Begins to follow. `by`: the caller, for the record of the end.
    #[must_use]
    pub fn begin(
        consensus: Consensus<W>,
        feed: FeedHub<W>,
        wanted: WatchAppliedRequest,
        by: Actor,
    ) -> Self {
        Self {
            wanted,
            deadline: Instant::now() + WATCH_MAX,
            subscribers: feed.subscribers().changes(),
            rounds: consensus.neighbours().rounds(),
            last: None,
            by,
            _watching: consensus.neighbours().watch_closely(),
            consensus,
            feed,
        }
    }

    /// The next report; `None` = the last one was given.
    pub async fn next(&mut self) -> Option<AppliedProgress> {
        if self.last.as_ref().is_some_and(|last| last.done) || Instant::now() >= self.deadline {
            return None;
        }
        if self.last.is_some() {
            sleep(SPACING).await;
        } else {
            // A verifier that has connected to another member since the last round counts: nothing is called done on
            // what was heard before the question.
            self.consensus.neighbours().ask_all(true).await;
        }
        let refreshed = Instant::now() + REFRESH;
        loop {
            self.subscribers.mark_unchanged();
            self.rounds.mark_unchanged();
            let progress = self.look();
            let is_news = self
                .last
                .as_ref()
                .is_none_or(|last| !is_same(last, &progress));
            if is_news || Instant::now() >= refreshed {
                if progress.done {
                    self.record_completion(&progress);
                }
                self.last = Some(progress.clone());
                return Some(progress);
            }
            if !progress.unheard.is_empty() {
                self.prove_the_leader().await;
            }
            tokio::select! {
                biased;
                _ = self.rounds.changed() => {}
                () = sleep_until(refreshed) => {}
                _ = self.subscribers.changed() => sleep(SPACING / 5).await,
            }
        }
    }

    /// Confirms the leader once more after the revision was reached: it says since when a silent node has asked for nothing.
    async fn prove_the_leader(&self) {
        let Some(reached) = self.feed.reached(Revision(self.wanted.revision)) else {
            return;
        };
        let asked = self.consensus.raft().askers().last();
        if asked.is_none_or(|asked| asked.confirmed < reached) {
            let within = self.deadline.min(Instant::now() + SPACING);
            // Without a quorum it goes on as before: until the longest time is over.
            let _ = self.consensus.confirm(within).await;
        }
    }

    /// Records that the revocation has reached the verifiers it was to reach. The record is not waited for: the
    /// progress was proven before.
    fn record_completion(&self, progress: &AppliedProgress) {
        let at = self.consensus.world().wall();
        let mut record = Record::new(Event::RevocationCompleted, Outcome::Success, at.0)
            .with("applied", progress.applied)
            .with("enrolled", progress.enrolled)
            .with("failed_closed", progress.failed_closed)
            .with("p99_ms", progress.p99_ms);
        record.actor = self.by.clone();
        record.action = "watch".to_owned();
        record.target.r#type = "revision".to_owned();
        record.revision = self.wanted.revision;
        self.consensus.audit().tell(record);
    }

    fn look(&self) -> AppliedProgress {
        let revision = Revision(self.wanted.revision);
        // Before the verifiers: who comes later is given no less.
        let reached = self.feed.reached(revision);
        let others = self.consensus.neighbours().others();
        let progress = self.feed.subscribers().progress(&Wanted {
            revision,
            reached,
            node: self.consensus.raft().identity().id,
            others: &others,
            policy: &self.feed.policy(),
        });
        let named = |verifiers: &[VerifierStatus]| -> Vec<VerifierStatus> {
            verifiers.iter().take(NAMED_MAX).cloned().collect()
        };
        AppliedProgress {
            enrolled: count(progress.enrolled),
            applied: count(progress.applied),
            p50_ms: progress.p50_ms,
            p99_ms: progress.p99_ms,
            laggards: named(&progress.laggards),
            done: reached.is_some() && is_enough(&self.wanted, &progress),
            guests: self.feed.guests(&self.consensus.neighbours().last_heard()),
            failed_closed: count(progress.failed_closed),
            closed: named(&progress.closed),
            unheard: progress.unheard,
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// True when as much is proven as is waited for.
fn is_enough(wanted: &WatchAppliedRequest, progress: &Progress) -> bool {
    match wanted {
        _ if wanted.count > 0 => progress.applied >= wanted.count as usize,
        // At most 2^53 verifiers: exact. Of how many it is a share is known when every node was heard.
        _ if wanted.fraction > 0.0 => {
            let needed = (wanted.fraction * progress.enrolled as f64).ceil() as usize;
            progress.unheard.is_empty() && progress.applied + progress.failed_closed >= needed
        }
        _ => progress.is_contained(),
    }
}

fn is_same(last: &AppliedProgress, next: &AppliedProgress) -> bool {
    let names = |verifiers: &[VerifierStatus]| -> Vec<(String, bool)> {
        let named = verifiers.iter();
        named
            .map(|verifier| (verifier.id.clone(), verifier.connected))
            .collect()
    };
    let nodes = |progress: &AppliedProgress| -> Vec<(u64, i32)> {
        let unheard = progress.unheard.iter();
        unheard
            .map(|unheard| (unheard.node, unheard.reason))
            .collect()
    };
    let counts = |progress: &AppliedProgress| {
        let AppliedProgress {
            enrolled,
            applied,
            failed_closed,
            done,
            ..
        } = *progress;
        (enrolled, applied, failed_closed, done)
    };
    counts(last) == counts(next)
        && names(&last.laggards) == names(&next.laggards)
        && names(&last.closed) == names(&next.closed)
        && nodes(last) == nodes(next)
}

#[cfg(test)]
mod tests {
    use hessra_proto::v1::Unheard;

    use super::*;

    #[test]
    fn all_a_share_or_a_number_of_the_verifiers_may_be_waited_for() {
        let enough = |(fraction, number), (applied, failed_closed)| {
            let wanted = WatchAppliedRequest {
                revision: 1,
                fraction,
                count: number,
            };
            let progress = Progress {
                enrolled: 120,
                applied,
                failed_closed,
                laggards: vec![VerifierStatus::default(); 120 - applied - failed_closed],
                ..Progress::default()
            };
            is_enough(&wanted, &progress)
        };
        assert!(!enough((0.0, 0), (119, 0)) && enough((0.0, 0), (119, 1)));
        assert!(!enough((0.95, 0), (113, 0)) && enough((0.95, 0), (113, 1)));
        assert!(
            !enough((0.0, 119), (118, 1)) && enough((0.0, 118), (118, 1)),
            "proven, not closed"
        );
    }

    #[test]
    fn nothing_is_enough_while_a_node_was_not_heard() {
        let progress = Progress {
            unheard: vec![Unheard::default()],
            ..Progress::default()
        };
        let wanted = |fraction| WatchAppliedRequest {
            fraction,
            ..WatchAppliedRequest::default()
        };
        assert!(!is_enough(&wanted(0.0), &progress) && !is_enough(&wanted(0.5), &progress));
    }
}
