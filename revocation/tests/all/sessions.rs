//! A node and a verifier over a connection that may be cut anywhere: the verifier never has a hole, and in the end it
//! holds what the node holds.

use std::collections::{BTreeMap, VecDeque};

use hessra_revocation::follower::Mode;
use hessra_revocation::publisher::{Cursor, Frame, Step};
use hessra_revocation::{Action, Cutoff, Event, Follower, Monotonic, Publisher, Revision};
use proptest::prelude::*;

use crate::authority::{FeedNode, NONCE, StandIn};
use crate::words;

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Publishes so many revocations as one frame.
    Revoke(u8),
    Heartbeat,
    /// The node forgets all but so many entries.
    Keep(u8),
    /// Delivers so many messages.
    Arrive(u8),
    /// The connection is cut, with all that is on its way.
    Cut,
    Connect,
    /// The verifier is started again.
    Restart,
    Pass(u16),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (1..5u8).prop_map(Deed::Revoke),
        2 => Just(Deed::Heartbeat),
        1 => (0..8u8).prop_map(Deed::Keep),
        4 => (1..20u8).prop_map(Deed::Arrive),
        1 => Just(Deed::Cut),
        2 => Just(Deed::Connect),
        1 => Just(Deed::Restart),
        2 => (1..2000u16).prop_map(Deed::Pass),
    ]
}

struct Session {
    node: FeedNode,
    publisher: Publisher<Event>,
    follower: Follower<StandIn>,
    now: u64,
    cursor: Option<Cursor>,
    wire: VecDeque<Event>,
    /// Revisions that the verifier said it holds.
    acked: Vec<Revision>,
}

impl Session {
    fn new() -> Self {
        let node = FeedNode::new();
        // Two frames only, so that catching up happens.
        let publisher = Publisher::new(node.head(), 2, 1_000);
        let follower = Follower::new(StandIn, BTreeMap::new());
        Self {
            node,
            publisher,
            follower,
            now: 0,
            cursor: None,
            wire: VecDeque::new(),
            acked: Vec::new(),
        }
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Revoke(count) => self.revoke(count),
            Deed::Heartbeat => self
                .publisher
                .heartbeat(self.node.head(), self.node.heartbeat()),
            Deed::Keep(count) => drop(self.node.history.truncate_front(count.into())),
            Deed::Arrive(count) => (0..count).for_each(|_| self.arrive()),
            Deed::Cut => self.cut(),
            Deed::Connect if self.cursor.is_none() && self.wire.is_empty() => self.connect(),
            Deed::Connect => {}
            Deed::Restart => self.restart(),
            Deed::Pass(ms) => {
                self.now += u64::from(ms);
                self.node.tick_ms += u64::from(ms);
            }
        }
    }

    fn revoke(&mut self, count: u8) {
        let from = self.node.head().next();
        for _ in 0..count {
            let name = self.node.head().to_string();
            self.node
                .put(&words::target("token", &name).unwrap(), Cutoff::Permanent);
        }
        let to = self.node.head();
        let frame = Frame {
            from,
            to,
            bytes: self.node.delta(from, to),
            size: 1,
        };
        self.publisher.push(frame).unwrap();
    }

    fn connect(&mut self) {
        for action in self
            .follower
            .handle(Event::Connected { nonce: NONCE }, Monotonic(self.now))
        {
            let Action::SendHello(hello) = action else {
                panic!("{action:?} is no greeting")
            };
            let answer = self.node.answer(&hello);
            let refused = matches!(answer[0], Event::Reset { .. });
            self.wire.extend(answer);
            self.cursor = (!refused).then(|| self.publisher.cursor(self.node.head()));
        }
    }

    fn cut(&mut self) {
        self.wire.clear();
        self.cursor = None;
        self.follower
            .handle(Event::Disconnected, Monotonic(self.now));
    }

    fn restart(&mut self) {
        self.cut();
        if let Some(view) = self.follower.view().cloned() {
            self.follower = Follower::resume(StandIn, BTreeMap::new(), view);
        }
    }

    fn send(&mut self) {
        let Some(cursor) = &mut self.cursor else {
            return;
        };
        match self.publisher.next(cursor) {
            Step::Send(event) => self.wire.push_back(event),
            Step::Idle => {}
            Step::CatchUp { from } if from > self.node.history.floor() => {
                self.wire.push_back(self.node.delta(from, self.node.head()));
                cursor.sent = self.node.head();
            }
            Step::CatchUp { .. } => self.cut(),
        }
    }

    fn arrive(&mut self) {
        self.send();
        let Some(event) = self.wire.pop_front() else {
            return;
        };
        let mut published = false;
        for action in self.follower.handle(event, Monotonic(self.now)) {
            match action {
                Action::Publish => published = true,
                Action::SendAck {
                    revision,
                    state_root,
                } => {
                    let view = self.follower.view().unwrap();
                    assert_eq!((view.revision, view.state_root()), (revision, state_root));
                    assert!(
                        published || self.acked.last() == Some(&revision),
                        "acked before it was published"
                    );
                    self.acked.push(revision);
                }
                Action::Reconnect { .. } => {
                    self.wire.clear();
                    self.cursor = None;
                }
                Action::Alarm(alarm) => panic!("an honest node raised: {alarm}"),
                Action::SendHello(_) | Action::Persist => {}
            }
        }
    }

    fn check(&self) {
        assert!(self.acked.is_sorted(), "acks went backwards");
        let Some(view) = self.follower.view() else {
            return;
        };
        let theirs = &self.node.views[usize::try_from(view.revision.0).unwrap()];
        assert_eq!(
            (view.log_root(), view.state_root()),
            (theirs.log_root(), theirs.state_root())
        );
        assert!(view.set.iter().eq(theirs.set.iter()));
        if let Some(as_of) = self.follower.freshness().as_of {
            assert!(as_of.0 <= self.now, "fresh as of the future");
        }
    }

    fn settle(&mut self) {
        self.cut();
        self.now += 10;
        self.node.tick_ms += 10;
        self.connect();
        self.act(Deed::Heartbeat);
        (0..1_000).for_each(|_| self.arrive());
    }
}

proptest! {
    #[test]
    fn a_verifier_converges_whatever_is_cut(deeds in prop::collection::vec(deed(), 0..80)) {
        let mut session = Session::new();
        for deed in deeds {
            session.act(deed);
            session.check();
        }
        session.settle();
        session.check();
        prop_assert_eq!(session.follower.view().unwrap().revision, session.node.head());
        // The hello left at the tick of the last confirmation, so the last heartbeat is of no age at all.
        let age = session.follower.freshness().age(Monotonic(session.now)).unwrap();
        prop_assert_eq!(age.as_millis(), 0);
    }
}

#[test]
fn a_snapshot_mode_never_meets_a_verifier_that_could_have_had_deltas() {
    let mut session = Session::new();
    session.connect();
    (0..300).for_each(|_| session.arrive());
    session.cut();
    session.revoke(3);
    session.connect();
    assert!(
        matches!(&session.wire[0], Event::Welcome(signed) if signed.welcome.mode == Mode::Deltas)
    );
}
