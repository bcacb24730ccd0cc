//! Welcomes: a verifier believes the tick of a stream only when its node signed it for this very stream.

use std::collections::BTreeMap;
use std::time::Duration;

use hessra_revocation::Monotonic;
use hessra_revocation::follower::{Action, Alarm, Event, Follower, Mode, SignedWelcome};
use hessra_revocation::publisher::Nonce;

use crate::authority::{FeedNode, NONCE, StandIn};

/// A verifier that has greeted over a stream of this nonce, and holds the node's state already.
fn greeted(node: &FeedNode, nonce: Nonce) -> Follower<StandIn> {
    let mut follower = Follower::new(StandIn, BTreeMap::new());
    follower.handle(Event::Connected { nonce: NONCE }, Monotonic(0));
    for event in [vec![node.welcome(Mode::Snapshot)], node.snapshot()].concat() {
        follower.handle(event, Monotonic(0));
    }
    assert!(follower.freshness().as_of.is_some());
    follower.handle(Event::Disconnected, Monotonic(60_000));
    follower.handle(Event::Connected { nonce }, Monotonic(60_000));
    follower
}

fn age(follower: &Follower<StandIn>) -> Duration {
    follower
        .freshness()
        .age(Monotonic(60_000))
        .expect("was fresh once")
}

fn is_forged(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Alarm(Alarm::Forged { .. })))
}

#[test]
fn a_welcome_of_an_earlier_stream_does_not_make_old_news_fresh() {
    let node = FeedNode::new();
    let mut follower = greeted(&node, Nonce([6; 32]));
    // Recorded on the first stream, with the heartbeat of that time: their ticks fit each other.
    let actions = follower.handle(node.welcome(Mode::Deltas), Monotonic(60_000));
    assert!(is_forged(&actions), "{actions:?}");
    follower.handle(node.heartbeat(), Monotonic(60_000));
    assert_eq!(age(&follower), Duration::from_secs(60));
}

#[test]
fn a_carrier_cannot_move_the_tick_nor_anything_else_of_a_welcome() {
    let node = FeedNode::new();
    let nonce = Nonce([6; 32]);
    let signed = node.sign_welcome(node.unsigned_welcome(Mode::Deltas), &nonce);
    let moved = |change: fn(&mut SignedWelcome)| {
        let mut moved = signed.clone();
        change(&mut moved);
        let mut follower = greeted(&node, nonce);
        is_forged(&follower.handle(Event::Welcome(moved), Monotonic(60_000)))
    };
    assert!(moved(|signed| signed.welcome.tick_ms += 1));
    assert!(moved(|signed| signed.welcome.node += 1));
    assert!(moved(
        |signed| signed.welcome.head = signed.welcome.head.next()
    ));
    assert!(moved(|signed| signed.welcome.counted = false));
    assert!(moved(|signed| signed.signature[0] ^= 1));
    assert!(!moved(|_| {}), "as it was signed it is believed");
}

#[test]
fn a_stored_feed_is_believed_and_no_age_comes_of_it() {
    let node = FeedNode::new();
    let mut follower = Follower::new(StandIn, BTreeMap::new());
    let welcome = node.unsigned_welcome(Mode::Snapshot);
    for event in [vec![Event::Stored(welcome)], node.snapshot()].concat() {
        follower.handle(event, Monotonic(0));
    }
    assert_eq!(follower.view().map(|view| view.revision), Some(node.head()));
    assert_eq!(follower.freshness().as_of, None);
}
