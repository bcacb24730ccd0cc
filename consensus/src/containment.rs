//! Containment: at how many verifiers a revision is proven applied, as it happens.
//!
//! A report is given when something changed, at most twenty a second, and one at the end. *Committed* and *applied at
//! k of n* are two answers: this is the second. It rests on acknowledgements, here and as the other members report them.

use std::time::Duration;

use hessra_audit::{Actor, Event, Outcome, Record};
use hessra_proto::v1::{AppliedProgress, VerifierStatus, WatchAppliedRequest};
use hessra_revocation::Revision;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::consensus::Consensus;
use crate::feed::FeedHub;
use crate::neighbours::Watching;
use crate::world::World;

/// Pause between two reports: below what a person sees as a delay.
const SPACING: Duration = Duration::from_millis(50);
/// Longest time until ages of laggards are reported anew.
const REFRESH: Duration = Duration::from_secs(1);
/// Longest watch: at its end the caller asks again.
const WATCH_MAX: Duration = Duration::from_secs(3_600);
/// Laggards in one report.
const LAGGARDS_MAX: usize = 100;

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
            tokio::select! {
                biased;
                _ = self.rounds.changed() => {}
                () = sleep_until(refreshed) => {}
                _ = self.subscribers.changed() => sleep(SPACING / 5).await,
            }
        }
    }

    /// Records that the revocation has reached the verifiers it was to reach. The record is not waited for: the
    /// progress was proven before.
    fn record_completion(&self, progress: &AppliedProgress) {
        let at = self.consensus.world().wall();
        let mut record = Record::new(Event::RevocationCompleted, Outcome::Success, at.0)
            .with("applied", progress.applied)
            .with("enrolled", progress.enrolled)
            .with("p99_ms", progress.p99_ms);
        record.actor = self.by.clone();
        record.action = "watch".to_owned();
        record.target.r#type = "revision".to_owned();
        record.revision = self.wanted.revision;
        self.consensus.audit().tell(record);
    }

    fn look(&self) -> AppliedProgress {
        let node = self.consensus.raft().identity().id;
        let neighbours = self.consensus.neighbours().last_heard();
        let revision = Revision(self.wanted.revision);
        let subscribers = self.feed.subscribers();
        let progress = subscribers.progress(revision, node, &neighbours, &self.feed.policy());
        let needed = needed(&self.wanted, progress.enrolled.len());
        let lags =
            |verifier: &&VerifierStatus| verifier.applied < revision.0 || verifier.root_differs;
        // Until this node has applied it, a verifier that has not is not a laggard but early.
        let reached = self.consensus.state().view().revision >= revision;
        AppliedProgress {
            enrolled: progress.enrolled.len() as u32,
            applied: progress.applied as u32,
            p50_ms: progress.p50_ms,
            p99_ms: progress.p99_ms,
            laggards: progress
                .enrolled
                .iter()
                .filter(lags)
                .take(LAGGARDS_MAX)
                .cloned()
                .collect(),
            done: reached && progress.applied >= needed,
            guests: self.feed.guests(&neighbours),
        }
    }
}

/// The number of verifiers that must hold it.
fn needed(wanted: &WatchAppliedRequest, enrolled: usize) -> usize {
    match wanted {
        _ if wanted.count > 0 => wanted.count as usize,
        // At most 2^53 verifiers: exact.
        _ if wanted.fraction > 0.0 => (wanted.fraction * enrolled as f64).ceil() as usize,
        _ => enrolled,
    }
}

fn is_same(last: &AppliedProgress, next: &AppliedProgress) -> bool {
    let names = |progress: &AppliedProgress| -> Vec<(String, bool)> {
        progress
            .laggards
            .iter()
            .map(|verifier| (verifier.id.clone(), verifier.connected))
            .collect()
    };
    (last.enrolled, last.applied, last.done) == (next.enrolled, next.applied, next.done)
        && names(last) == names(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_a_share_or_a_number_of_the_verifiers_may_be_waited_for() {
        let wanted = |fraction, count| WatchAppliedRequest {
            revision: 1,
            fraction,
            count,
        };
        assert_eq!(needed(&wanted(0.0, 0), 7), 7);
        assert_eq!(needed(&wanted(0.95, 0), 120), 114);
        assert_eq!(needed(&wanted(0.5, 0), 3), 2);
        assert_eq!(
            needed(&wanted(0.0, 5), 3),
            5,
            "more than there are must still come"
        );
    }
}
