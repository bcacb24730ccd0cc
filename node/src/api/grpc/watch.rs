//! How far a revision is proven applied, as it happens.
//!
//! A message is sent when something changed, at most twenty a second, and one at the end. *Committed* and *applied at
//! k of n* are two answers: this is the second.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use hessra_audit::{Actor, Event, Outcome};
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use hessra_revocation::Revision;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Request, Status};

use super::AuthorityService;
use crate::audit::trail;
use crate::authority::neighbours::Watching;
use crate::policy::Right;

/// Between two messages: below what a person sees as a delay.
const SPACING: Duration = Duration::from_millis(50);
/// Ages of laggards are told anew at least so often.
const REFRESH: Duration = Duration::from_secs(1);
/// A watch that nobody ends, ends: whoever still cares asks again.
const WATCH_MAX: Duration = Duration::from_secs(3_600);
/// Laggards in one message.
const LAGGARDS_MAX: usize = 100;

type Progresses = Pin<Box<dyn Stream<Item = Result<v1::AppliedProgress, Status>> + Send>>;

struct Watch {
    service: AuthorityService,
    wanted: v1::WatchAppliedRequest,
    deadline: Instant,
    roster: watch::Receiver<u64>,
    rounds: watch::Receiver<u64>,
    last: Option<v1::AppliedProgress>,
    by: Actor,
    _watching: Watching,
    _slot: OwnedSemaphorePermit,
}

impl AuthorityService {
    pub(super) fn watch(
        &self,
        request: &Request<v1::WatchAppliedRequest>,
    ) -> Result<Progresses, Status> {
        self.caller(request)?.may(Right::Read, None)?;
        let wanted = *request.get_ref();
        if !(0.0..=1.0).contains(&wanted.fraction) {
            let message = format!("a share is between 0 and 1, not {}", wanted.fraction);
            return Err(Failure::new(Reason::InvalidArgument, message).into());
        }
        let slot = self.watches.clone().try_acquire_owned().map_err(|_| {
            Failure::new(Reason::Limit, "too many watches on this node").hint("Ask another node.")
        })?;
        let watch = Watch {
            service: self.clone(),
            wanted,
            deadline: Instant::now() + WATCH_MAX,
            roster: self.feed.roster().changes(),
            rounds: self.authority.neighbours().rounds(),
            last: None,
            by: trail::current().noted().actor,
            _watching: self.authority.neighbours().watch_closely(),
            _slot: slot,
        };
        Ok(Box::pin(unfold(watch, |mut watch| async {
            let progress = watch.next().await?;
            Some((Ok(progress), watch))
        })))
    }
}

impl Watch {
    /// `None` = the last message was sent.
    async fn next(&mut self) -> Option<v1::AppliedProgress> {
        if self.last.as_ref().is_some_and(|last| last.done) || Instant::now() >= self.deadline {
            return None;
        }
        if self.last.is_some() {
            sleep(SPACING).await;
        } else {
            // A verifier that has connected to another member since the last round counts: nothing is called done on
            // what was heard before the question.
            self.service.authority.neighbours().ask_all(true).await;
        }
        let refreshed = Instant::now() + REFRESH;
        loop {
            self.roster.mark_unchanged();
            self.rounds.mark_unchanged();
            let progress = self.look();
            let is_news = self
                .last
                .as_ref()
                .is_none_or(|last| !is_same(last, &progress));
            if is_news || Instant::now() >= refreshed {
                if progress.done {
                    self.tell_completed(&progress);
                }
                self.last = Some(progress.clone());
                return Some(progress);
            }
            tokio::select! {
                _ = self.roster.changed() => sleep(SPACING / 5).await,
                _ = self.rounds.changed() => {}
                () = sleep_until(refreshed) => {}
            }
        }
    }

    /// The revocation has reached whom it was to reach. Nobody waits for the record: the progress was proven before.
    fn tell_completed(&self, progress: &v1::AppliedProgress) {
        let Some(auditor) = self.service.authority.auditor() else {
            return;
        };
        let mut record = auditor
            .record(Event::RevocationCompleted, Outcome::Success)
            .with("applied", progress.applied)
            .with("enrolled", progress.enrolled)
            .with("p99_ms", progress.p99_ms);
        record.actor = self.by.clone();
        record.action = "watch".to_owned();
        record.target.r#type = "revision".to_owned();
        record.revision = self.wanted.revision;
        auditor.tell(record);
    }

    fn look(&self) -> v1::AppliedProgress {
        let authority = &self.service.authority;
        let node = authority.raft().identity().id;
        let neighbours = authority.neighbours().last_heard();
        let revision = Revision(self.wanted.revision);
        let progress = self
            .service
            .feed
            .roster()
            .progress(revision, node, &neighbours);
        let needed = needed(&self.wanted, progress.enrolled.len());
        let lags =
            |verifier: &&v1::VerifierStatus| verifier.applied < revision.0 || verifier.root_differs;
        // Until this node has applied it, whoever has not is not a laggard but early.
        let reached = authority.state().view().revision >= revision;
        v1::AppliedProgress {
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
        }
    }
}

/// How many verifiers must hold it.
fn needed(wanted: &v1::WatchAppliedRequest, enrolled: usize) -> usize {
    match wanted {
        _ if wanted.count > 0 => wanted.count as usize,
        // At most 2^53 verifiers: exact.
        _ if wanted.fraction > 0.0 => (wanted.fraction * enrolled as f64).ceil() as usize,
        _ => enrolled,
    }
}

fn is_same(last: &v1::AppliedProgress, next: &v1::AppliedProgress) -> bool {
    let names = |progress: &v1::AppliedProgress| -> Vec<(String, bool)> {
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
        let wanted = |fraction, count| v1::WatchAppliedRequest {
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
