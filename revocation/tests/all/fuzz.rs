//! Fuzzing: any bytes in any order cause no panic, and a verifier never goes backwards.

use std::collections::BTreeMap;
use std::time::Duration;

use hessra_revocation::follower::Mode;
use hessra_revocation::publisher::ResetReason;
use hessra_revocation::{
    Checkpoint, Cutoff, Event, FeedEntry, Follower, Identity, Monotonic, Revision, SignedCheckpoint,
};
use proptest::prelude::*;

use crate::authority::{FeedNode, NONCE, StandIn};
use crate::words;

/// Twelve revisions, and another node that went its own way after the sixth.
fn nodes() -> [FeedNode; 2] {
    let mut one = FeedNode::new();
    for number in 0..5 {
        one.put(
            &words::target("token", &number.to_string()).unwrap(),
            Cutoff::Permanent,
        );
    }
    let mut two = FeedNode {
        node: 2,
        ..one.clone()
    };
    for number in 0..6 {
        one.put(
            &words::target("subtree", &format!("urn:h:{number}")).unwrap(),
            Cutoff::Permanent,
        );
        two.put(
            &words::target("subtree", &format!("urn:x:{number}")).unwrap(),
            Cutoff::Before(Revision(3)),
        );
    }
    [one, two]
}

#[derive(Clone, Debug)]
struct Step {
    node: bool,
    what: u8,
    revision: u64,
    length: u64,
    tick: u64,
    time: u16,
    damage: Option<(usize, u8)>,
}

fn step() -> impl Strategy<Value = Step> {
    let damage = prop::option::weighted(0.1, (any::<usize>(), any::<u8>()));
    let tick = prop_oneof![9 => 0..60_000u64, 1 => any::<u64>()];
    (
        any::<bool>(),
        0..14u8,
        1..13u64,
        0..4u64,
        tick,
        any::<u16>(),
        damage,
    )
        .prop_map(|(node, what, revision, length, tick, time, damage)| Step {
            node,
            what,
            revision,
            length,
            tick,
            time,
            damage,
        })
}

fn damaged(signed: SignedCheckpoint, damage: Option<(usize, u8)>) -> SignedCheckpoint {
    let Some((at, mask)) = damage else {
        return signed;
    };
    let mut body = signed.body;
    let at = at % body.len();
    body[at] ^= mask;
    // Signed all the same: what a broken node, not a broken wire, would do.
    let signature = crate::authority::sign(&crate::authority::public_key(signed.key_id), &body);
    SignedCheckpoint {
        body,
        signature,
        ..signed
    }
}

fn event(node: &FeedNode, step: &Step) -> Vec<Event> {
    let revision = Revision(step.revision.min(node.head().0));
    let last = Revision((revision.0 + step.length).min(node.head().0));
    let signed = damaged(node.sign(&node.checkpoint_at(last)), step.damage);
    match step.what {
        0 | 1 => vec![Event::Connected { nonce: NONCE }],
        2 => vec![node.welcome(Mode::Deltas)],
        3 => vec![node.welcome(Mode::Snapshot)],
        4 => vec![node.welcome(Mode::Buckets)],
        5 => [vec![node.welcome(Mode::Snapshot)], node.snapshot()].concat(),
        6 => vec![node.chunk((step.tick % 256) as u8)],
        7 => vec![node.snapshot_end()],
        8..=10 => match node.delta(revision, last) {
            Event::Delta {
                from,
                to,
                mut entries,
                ..
            } => {
                if let Some((at, mask)) = step.damage {
                    let entry = &mut entries[0];
                    let at = at % entry.len();
                    entry[at] ^= mask;
                }
                vec![Event::Delta {
                    from,
                    to,
                    entries,
                    checkpoint: signed,
                }]
            }
            other => vec![other],
        },
        11 => vec![Event::Heartbeat(signed)],
        12 => vec![Event::Reset {
            reason: ResetReason::Slow,
            retry_after: Duration::from_secs(step.tick),
        }],
        _ => vec![Event::Disconnected, Event::Malformed],
    }
}

proptest! {
    #[test]
    fn any_sequence_of_events_leaves_the_verifier_forwards(steps in prop::collection::vec(step(), 0..60)) {
        let mut nodes = nodes();
        let mut follower = Follower::new(StandIn, BTreeMap::new());
        let mut now = 0u64;
        let mut before = None;
        for step in steps {
            now += u64::from(step.time);
            let node = &mut nodes[usize::from(step.node)];
            node.tick_ms = step.tick;
            for event in event(node, &step) {
                follower.handle(event, Monotonic(now));
            }
            let position = follower.view().map(|view| (view.epoch, view.revision));
            prop_assert!(position >= before, "from {:?} back to {:?}", before, position);
            prop_assert!(follower.freshness().as_of.is_none_or(|as_of| as_of.0 <= now));
            before = position;
        }
        if let Some(view) = follower.view() {
            let known = nodes.iter().any(|node| {
                node.views.iter().any(|theirs| theirs.revision == view.revision && theirs.state_root() == view.state_root())
            });
            prop_assert!(known, "a view that no node ever had");
        }
    }

    #[test]
    fn bytes_that_can_be_read_are_written_the_same(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(entry) = FeedEntry::from_bytes(&bytes) {
            prop_assert_eq!(entry.to_bytes(), bytes.clone());
        }
        if let Ok(checkpoint) = Checkpoint::from_bytes(&bytes) {
            prop_assert_eq!(checkpoint.to_bytes(), bytes.clone());
        }
    }

    /// Random bytes rarely begin well: here one byte of a good entry is changed.
    #[test]
    fn a_damaged_entry_is_refused_or_is_another_entry(at in any::<usize>(), mask in 1..=255u8, which in 1..12u64) {
        let node = &nodes()[0];
        let good = node.history.entry(Revision(which)).unwrap().to_vec();
        let entry = FeedEntry::from_bytes(&good).unwrap();
        prop_assert_eq!(entry.to_bytes(), good.clone());
        let mut bad = good;
        let at = at % bad.len();
        bad[at] ^= mask;
        if let Ok(other) = FeedEntry::from_bytes(&bad) {
            prop_assert_eq!(other.to_bytes(), bad);
            prop_assert_ne!(other, entry);
        }
    }

    #[test]
    fn a_name_is_refused_or_stays_as_it_is(text in "[a-zA-Z:/%é .~@_-]{0,40}") {
        if let Ok(name) = Identity::parse(&text) {
            prop_assert_eq!(name.as_str(), text);
        }
    }
}
