//! Actions of the follower, carried out: show it to checks, acknowledge, keep it, raise an alarm.

use std::sync::Arc;

use hessra_proto::v1::feed;
use hessra_proto::{Acknowledgement, Greeting, VerifierMessage};
use hessra_revocation::publisher::Hello;
use hessra_revocation::{Action, Alarm, Event, FeedEntry, Revision, View};
use hessra_sdk_core::Keyring;
use tokio::sync::mpsc;
use tracing::{debug, error};

use super::{Driver, Ended, PAUSE_ALARM};
use crate::cache::{self, Snapshot};
use crate::clock;
use crate::knowledge::{Held, Known, News, never};

impl Driver {
    /// Hands one event to the follower and does what it says. `Some` when the stream must end.
    pub(super) fn step(
        &mut self,
        event: Event,
        acks: &mpsc::Sender<feed::Upstream>,
    ) -> Option<Ended> {
        let heard = self
            .plan
            .published
            .has_listeners()
            .then(|| entries(&event))
            .flatten();
        let before = self.plan.follower.freshness();
        let actions = self.plan.follower.handle(event, clock::monotonic());
        let changed = actions
            .iter()
            .any(|action| matches!(action, Action::Publish));
        // INVARIANT: published before acknowledged. An ack proves that checks already see the revision.
        if changed || self.plan.follower.freshness() != before {
            if let Some(ended) = self.publish(changed) {
                return Some(ended);
            }
            self.tell(heard, changed);
        }
        actions
            .into_iter()
            .fold(None, |ended, action| self.act(action, acks).or(ended))
    }

    fn act(&mut self, action: Action, acks: &mpsc::Sender<feed::Upstream>) -> Option<Ended> {
        match action {
            Action::Publish => {}
            Action::SendHello(hello) => say(acks, VerifierMessage::Hello(self.greeting(hello))),
            Action::SendAck {
                revision,
                state_root,
            } => {
                say(
                    acks,
                    VerifierMessage::Ack(Acknowledgement {
                        revision,
                        state_root,
                    }),
                );
            }
            Action::Persist => self.persist(),
            Action::Alarm(alarm) => self.alarm(&alarm),
            Action::Reconnect { after, elsewhere } => {
                return Some(Ended {
                    why: "the protocol asks for another stream".into(),
                    pause: after,
                    elsewhere,
                });
            }
        }
        None
    }

    /// Shows checks what the follower holds. `changed`: more than its age.
    pub(super) fn publish(&mut self, changed: bool) -> Option<Ended> {
        let view = self.plan.follower.view()?;
        let freshness = match self.reach(view) {
            cache::Reach::Reached => self.plan.follower.freshness(),
            // Its denials are true; that nothing newer exists is not.
            cache::Reach::Below if changed || !self.is_confirmed() => never(),
            cache::Reach::Below => return Some(self.rolled_back()),
            cache::Reach::Foreign => return Some(self.foreign(view.revision)),
        };
        if changed || self.held.is_none() {
            let before = self.held.as_ref();
            let keyring = match before.filter(|before| before.view.keys == view.keys) {
                Some(before) => Arc::clone(&before.keyring),
                None => Arc::new(Keyring::from_view(view)),
            };
            let held = Held {
                view: view.clone(),
                keyring,
            };
            self.held = Some(Arc::new(held));
        }
        self.plan.published.publish(
            Known {
                held: self.held.clone(),
                freshness,
            },
            clock::monotonic(),
        );
        None
    }

    fn reach(&self, view: &View) -> cache::Reach {
        self.plan
            .mark
            .as_ref()
            .map_or(cache::Reach::Reached, |mark| mark.reach_of(view))
    }

    /// True when the follower holds what a quorum confirmed a moment ago.
    fn is_confirmed(&self) -> bool {
        let freshness = self.plan.follower.freshness();
        freshness
            .age(clock::monotonic())
            .is_some_and(|age| age <= freshness.fresh_for)
    }

    /// End after a rollback: a heartbeat confirms a revision below the high-water mark, so the cluster was set back.
    fn rolled_back(&self) -> Ended {
        if let Some(view) = self.plan.follower.view() {
            self.alarm(&Alarm::Rollback {
                epoch: view.epoch,
                revision: view.revision,
            });
        }
        let why = "the node confirms a revision below the high-water mark";
        Ended {
            why: why.into(),
            pause: PAUSE_ALARM,
            elsewhere: true,
        }
    }

    /// End after a fork: another feed than that of the state directory, or another history of it.
    fn foreign(&self, revision: Revision) -> Ended {
        self.alarm(&Alarm::Fork { revision });
        let why = "the node's history is not the one that the high-water mark is of";
        Ended {
            why: why.into(),
            pause: PAUSE_ALARM,
            elsewhere: true,
        }
    }

    /// Leaves the newest state to the task that writes it; nothing waits for the disk.
    fn persist(&self) {
        let follower = &self.plan.follower;
        let (Some(view), Some((checkpoint, signed))) = (follower.view(), follower.checkpoint())
        else {
            return;
        };
        if checkpoint.revision == view.revision && self.reach(view) == cache::Reach::Reached {
            let snapshot = Snapshot {
                view: view.clone(),
                checkpoint: signed.clone(),
            };
            self.plan.snapshots.send_replace(Some(snapshot));
        }
    }

    fn alarm(&self, alarm: &Alarm) {
        error!(%alarm, verifier = %self.plan.verifier_id, "feed alarm");
        self.plan.published.alarm(alarm);
    }

    fn tell(&self, heard: Option<Vec<FeedEntry>>, changed: bool) {
        let published = &self.plan.published;
        match (heard, self.plan.follower.view()) {
            (Some(entries), _) => published.tell(News::Entries(entries)),
            (None, Some(view)) if changed => published.tell(News::Snapshot(view.revision)),
            _ => {}
        }
        if let Some((checkpoint, _)) = self.plan.follower.checkpoint() {
            published.tell(News::Checkpoint(checkpoint.clone()));
        }
    }

    fn greeting(&self, hello: Hello) -> Greeting {
        Greeting {
            hello,
            verifier_id: self.plan.verifier_id.clone(),
            capabilities: self.plan.capabilities.clone(),
            client: concat!("hessra-sdk-rust ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Entries of a delta, for listeners.
fn entries(event: &Event) -> Option<Vec<FeedEntry>> {
    let Event::Delta { entries, .. } = event else {
        return None;
    };
    entries
        .iter()
        .map(|bytes| FeedEntry::from_bytes(bytes).ok())
        .collect()
}

/// Sends a message. A full queue means that the node is not reading; the next ack says everything that this one would
/// have.
fn say(acks: &mpsc::Sender<feed::Upstream>, message: VerifierMessage) {
    if acks.try_send(message.into()).is_err() {
        debug!("an acknowledgement was left out: the node is not reading");
    }
}
