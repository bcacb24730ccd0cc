//! Knowledge of this process right now, and the subscriptions to its changes.
//!
//! One pointer is swapped for every change: a check loads it once and sees rules, keys and freshness that belong
//! together, without a lock. Nothing here talks to a server.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use hessra_revocation::{
    Alarm, Checkpoint, Epoch, FeedEntry, Freshness, Monotonic, Revision, View,
};
use hessra_sdk_core::Keyring;
use tokio::sync::{broadcast, watch};

use crate::Endpoint;

/// News kept for a listener that is slow; one that falls behind further is told how many it missed.
const NEWS_MAX: usize = 1024;

/// State of knowledge.
#[derive(Debug)]
pub(crate) struct Known {
    pub held: Option<Arc<Held>>,
    pub freshness: Freshness,
}

/// Rules and keys at one revision: shared by all states of knowledge that differ only in age.
#[derive(Debug)]
pub(crate) struct Held {
    pub view: View,
    pub keyring: Arc<Keyring>,
}

impl Known {
    pub(crate) fn nothing() -> Self {
        Self {
            held: None,
            freshness: never(),
        }
    }

    /// Instant at which permission ends unless something is heard; `None` when there is none.
    fn fresh_until(&self, staleness_max: Duration) -> Option<Monotonic> {
        self.held.as_ref()?;
        let limit = match self.freshness.fresh_for {
            Duration::ZERO => staleness_max,
            cluster => staleness_max.min(cluster),
        };
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Some(Monotonic(self.freshness.as_of?.0.saturating_add(limit)))
    }
}

/// Freshness of knowledge that was never confirmed.
pub(crate) fn never() -> Freshness {
    Freshness {
        as_of: None,
        fresh_for: Duration::ZERO,
    }
}

/// Readiness of a verifier to permit anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Unknown: nothing was confirmed in this process yet; denials of an earlier one hold, everything else is unknown.
    Unknown,
    /// Fresh: knowledge is younger than the bound.
    Fresh,
    /// Stale: knowledge is older than the bound; denials hold, everything else is unknown.
    Stale,
}

/// State of what a verifier knows. Changes are announced; age is not in it, because it changes always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedStatus {
    /// Readiness to permit.
    pub readiness: Readiness,
    /// Epoch of the history that it follows; 0 = none yet.
    pub epoch: Epoch,
    /// Revision up to which it knows; 0 = nothing.
    pub revision: Revision,
    /// Server of the stream that is open.
    pub server: Option<Endpoint>,
    /// The last alarm, until the feed is fresh again.
    pub alarm: Option<String>,
}

/// News of the feed, for those that watch it.
#[derive(Clone, Debug)]
pub enum News {
    /// Connected: a stream is open.
    Connected(Endpoint),
    /// Disconnected: the stream is closed, or could not be opened.
    Disconnected {
        /// Server of the stream.
        server: Endpoint,
        /// Reason, as a sentence.
        why: String,
    },
    /// Snapshot: everything, or what differed, was taken over.
    Snapshot(Revision),
    /// Entries of the revisions that were applied.
    Entries(Vec<FeedEntry>),
    /// Checkpoint: the signed statement that was last believed.
    Checkpoint(Checkpoint),
    /// Alarm, which an operator must look at.
    Alarm(Alarm),
}

/// Knowledge of a verifier, and the one place where it changes.
#[derive(Debug)]
pub(crate) struct Knowledge {
    known: ArcSwap<Known>,
    status: watch::Sender<FeedStatus>,
    news: broadcast::Sender<News>,
    staleness_max: Duration,
}

impl Knowledge {
    /// Knowledge of nothing yet. Beyond the age `staleness_max`, or what the cluster allows, it is
    /// [`Readiness::Stale`].
    pub(crate) fn new(staleness_max: Duration) -> Self {
        let nothing = FeedStatus {
            readiness: Readiness::Unknown,
            epoch: Epoch(0),
            revision: Revision(0),
            server: None,
            alarm: None,
        };
        Self {
            known: ArcSwap::from_pointee(Known::nothing()),
            status: watch::Sender::new(nothing),
            news: broadcast::Sender::new(NEWS_MAX),
            staleness_max,
        }
    }

    /// State of knowledge now: one load, no lock.
    pub(crate) fn known(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    pub(crate) fn status(&self) -> watch::Receiver<FeedStatus> {
        self.status.subscribe()
    }

    pub(crate) fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// True when there are listeners: entries are decoded only then.
    pub(crate) fn has_listeners(&self) -> bool {
        self.news.receiver_count() > 0
    }

    pub(crate) fn tell(&self, news: News) {
        // No listener is not an error.
        let _ = self.news.send(news);
    }

    /// Publishes a state to every check that begins from now on, then announces it.
    pub(crate) fn publish(&self, known: Known, now: Monotonic) {
        self.known.store(Arc::new(known));
        self.refresh(now);
    }

    pub(crate) fn connected(&self, server: Option<Endpoint>) {
        self.status.send_if_modified(|status| {
            let changed = status.server != server;
            status.server = server;
            changed
        });
    }

    pub(crate) fn alarm(&self, alarm: &Alarm) {
        self.status
            .send_modify(|status| status.alarm = Some(alarm.to_string()));
        self.tell(News::Alarm(alarm.clone()));
    }

    /// Announces what time alone has changed. Returns the time after which to look again.
    pub(crate) fn refresh(&self, now: Monotonic) -> Option<Duration> {
        let known = self.known.load();
        let until = known.fresh_until(self.staleness_max);
        let readiness = match until {
            None => Readiness::Unknown,
            Some(until) if now <= until => Readiness::Fresh,
            Some(_) => Readiness::Stale,
        };
        self.status
            .send_if_modified(|status| update(status, &known, readiness));
        // One millisecond more: at `until` itself it is still fresh.
        let left = until
            .filter(|_| readiness == Readiness::Fresh)
            .map(|until| until.since(now));
        left.map(|left| left + Duration::from_millis(1))
    }
}

fn update(status: &mut FeedStatus, known: &Known, readiness: Readiness) -> bool {
    let before = status.clone();
    status.readiness = readiness;
    if let Some(held) = &known.held {
        (status.epoch, status.revision) = (held.view.epoch, held.view.revision);
    }
    if readiness == Readiness::Fresh {
        status.alarm = None;
    }
    *status != before
}

#[cfg(test)]
mod tests {
    use hessra_revocation::{FeedId, FeedSalt};

    use super::*;

    fn known(as_of: u64) -> Known {
        let view = View::new(FeedId([1; 16]), Epoch(1), FeedSalt::default());
        let keyring = Arc::new(Keyring::from_view(&view));
        let freshness = Freshness {
            as_of: Some(Monotonic(as_of)),
            fresh_for: Duration::from_secs(5),
        };
        Known {
            held: Some(Arc::new(Held { view, keyring })),
            freshness,
        }
    }

    #[test]
    fn knowledge_is_stale_one_millisecond_after_the_bound_and_not_before() {
        let published = Knowledge::new(Duration::from_secs(5));
        published.publish(known(1000), Monotonic(1000));
        assert_eq!(
            published.refresh(Monotonic(6000)),
            Some(Duration::from_millis(1))
        );
        assert_eq!(published.status().borrow().readiness, Readiness::Fresh);
        assert_eq!(published.refresh(Monotonic(6001)), None);
        assert_eq!(published.status().borrow().readiness, Readiness::Stale);
    }

    #[test]
    fn nothing_is_announced_when_nothing_changed() {
        let published = Knowledge::new(Duration::from_secs(5));
        published.publish(known(1000), Monotonic(1000));
        let mut status = published.status();
        status.mark_unchanged();
        published.publish(known(2000), Monotonic(2000));
        assert!(!status.has_changed().expect("open"));
    }
}
