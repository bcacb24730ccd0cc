use std::sync::atomic::{AtomicBool, Ordering};

use hessra_proto::v1::feed::Downstream;
use hessra_revocation::{FeedId, FeedSalt, Identity, KeyPurpose, KeyState, Target, UnixSeconds};
use hessra_state::{
    Applied, Author, Command, Duty, Init, Judge, Machine, Pending, Policy, Refusal, RequestId,
    Revoke, SealedKey, Stamped, State,
};

use super::*;
use crate::feed::SigningError;

/// Signs nothing that anybody checks; fails when told to.
#[derive(Default)]
struct Pen {
    sealed: AtomicBool,
}

impl CheckpointSigner for Pen {
    fn sign(&self, _: &[u8], _: &dyn Fn(u32) -> bool) -> Result<(u32, [u8; 64]), SigningError> {
        match self.sealed.load(Ordering::SeqCst) {
            true => Err(SigningError::Sealed("the key is sealed".to_owned())),
            false => Ok((2, [0; 64])),
        }
    }
}

struct World {
    frames: FrameLog,
    pen: Arc<Pen>,
    state: Machine,
    requests: u8,
}

/// Judge that lets every author do everything.
struct Anyone;

impl Judge for Anyone {
    fn judge(&self, _: &State, stamped: &Stamped) -> Result<String, Refusal> {
        Ok(stamped.author.to_string())
    }

    fn still_asks(&self, _: &State, _: &Pending) -> bool {
        true
    }
}

impl World {
    fn new(frames_max: usize) -> Self {
        let pen = Arc::new(Pen::default());
        let settings = FeedSettings {
            frames_max,
            ..FeedSettings::default()
        };
        let frames = FrameLog::new(1, settings, Arc::clone(&pen) as Arc<dyn CheckpointSigner>);
        let mut world = Self {
            frames,
            pen,
            state: Machine::new(),
            requests: 0,
        };
        let key = |id, purpose| SealedKey {
            id,
            purpose,
            state: KeyState::Active,
            public_key: [id as u8; 32],
            sealed: vec![1],
            changed_at: Revision(0),
            published: UnixMillis(0),
            since: UnixMillis(0),
        };
        world.apply(Command::Init(Init {
            feed_id: FeedId([7; 16]),
            salt: FeedSalt([8; 16]),
            keys: vec![key(1, KeyPurpose::Token), key(2, KeyPurpose::Feed)],
            policy: Policy::new(String::new(), String::new()),
        }));
        world
    }

    fn apply(&mut self, command: Command) {
        self.requests += 1;
        let stamped = Stamped {
            at: UnixMillis(1),
            // Nothing here looks at authors.
            author: Author::Node {
                id: 1,
                duty: Duty::Start,
            },
            request: RequestId([self.requests; 16]),
            command,
        };
        let applied = self.state.apply(&stamped, &Anyone);
        assert!(!matches!(applied, Applied::Refused(_)), "{applied:?}");
    }

    fn revoke(&mut self) {
        let identity = Identity::parse(&format!("urn:hessra:a:n{}", self.requests)).unwrap();
        self.apply(Command::Revoke(Revoke {
            targets: vec![Target::Subtree(identity)],
            permanent: false,
            until: None::<UnixSeconds>,
            reason: String::new(),
            ticket: String::new(),
            message: String::new(),
        }));
    }

    fn publish(&mut self) -> Result<(), NotServing> {
        self.publish_to(true)
    }

    fn publish_to(&mut self, followed: bool) -> Result<(), NotServing> {
        let state = Arc::new(self.state.state().clone());
        self.frames.advance(&state, Monotonic(5), followed, &[])
    }

    fn next(&mut self, position: &mut Position) -> Option<Event> {
        match self.frames.next(position) {
            Next::Send(bytes) => Some(Event::try_from(Downstream::decode(bytes).unwrap()).unwrap()),
            Next::Wait => None,
            Next::Reset(reason) => panic!("told to resume: {reason:?}"),
        }
    }
}

fn began(tick: u64) -> Began {
    Began {
        tick: Monotonic(tick),
        wall: UnixMillis(tick),
    }
}

fn statement(signed: &SignedCheckpoint) -> Checkpoint {
    Checkpoint::from_bytes(&signed.body).unwrap()
}

#[test]
fn every_subscriber_gets_the_delta_before_the_heartbeat_that_covers_it() {
    let mut world = World::new(8);
    world.publish().unwrap();
    let (mut first, mut second) = (world.frames.position(), world.frames.position());
    world.revoke();
    world.publish().unwrap();
    world.frames.beat(began(9)).unwrap();
    for position in [&mut first, &mut second] {
        let Some(Event::Delta {
            from,
            to,
            checkpoint,
            ..
        }) = world.next(position)
        else {
            panic!("no delta")
        };
        assert_eq!(
            (from, to),
            (world.state.view().revision, world.state.view().revision)
        );
        assert_eq!(
            statement(&checkpoint).state_root,
            world.state.view().state_root()
        );
        assert!(matches!(world.next(position), Some(Event::Heartbeat(_))));
        assert!(world.next(position).is_none());
    }
}

#[test]
fn a_delta_claims_no_newer_confirmation_than_there_was() {
    let mut world = World::new(8);
    world.publish().unwrap();
    let (never, _) = world.frames.signed(&world.state.clone()).unwrap();
    assert_eq!(statement(&never).tick_ms, 0);
    world.frames.beat(began(9)).unwrap();
    let mut position = world.frames.position();
    world.revoke();
    world.publish().unwrap();
    let Some(Event::Delta { checkpoint, .. }) = world.next(&mut position) else {
        panic!("no delta")
    };
    assert_eq!(statement(&checkpoint).tick_ms, on_the_wire(Monotonic(9)));
}

#[test]
fn a_subscriber_behind_the_kept_frames_is_caught_up_from_the_history() {
    let mut world = World::new(2);
    world.publish().unwrap();
    let mut behind = world.frames.position();
    let before = world.frames.head();
    for _ in 0..10 {
        world.revoke();
        world.publish().unwrap();
    }
    let Some(Event::Delta {
        from, to, entries, ..
    }) = world.next(&mut behind)
    else {
        panic!("no delta")
    };
    assert_eq!(
        (from, to, entries.len()),
        (before.next(), world.frames.head(), 10)
    );
    assert!(world.next(&mut behind).is_none());
}

#[test]
fn nothing_moves_while_the_key_is_sealed_and_all_of_it_is_published_afterwards() {
    let mut world = World::new(8);
    world.publish().unwrap();
    let mut position = world.frames.position();
    world.pen.sealed.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        world.revoke();
        assert!(matches!(world.publish(), Err(NotServing::CannotSign(_))));
    }
    assert!(world.next(&mut position).is_none());
    world.pen.sealed.store(false, Ordering::SeqCst);
    world.publish().unwrap();
    let Some(Event::Delta { entries, .. }) = world.next(&mut position) else {
        panic!("no delta")
    };
    assert_eq!(entries.len(), 3);
}

#[test]
fn the_root_of_an_acknowledged_revision_is_known_as_long_as_it_was_published_alone() {
    let mut world = World::new(8);
    world.publish().unwrap();
    world.revoke();
    let skipped = world.state.view().revision;
    world.revoke();
    world.publish().unwrap();
    let head = world.frames.head();
    let root = world.state.view().state_root();
    assert_eq!(
        world.frames.published(head),
        Published::Root(root, Monotonic(5))
    );
    assert_eq!(world.frames.published(skipped), Published::Forgotten);
    assert_eq!(world.frames.published(head.next()), Published::Never);
}

#[test]
fn what_nobody_followed_is_not_encoded_and_whoever_comes_then_misses_nothing() {
    let mut world = World::new(8);
    world.publish_to(false).unwrap();
    world.revoke();
    world.publish_to(false).unwrap();
    let unfollowed = world.state.view().revision;
    let root = world.state.view().state_root();
    let published = world.frames.published(unfollowed);
    assert!(matches!(published, Published::Root(known, _) if known == root));
    let mut position = world.frames.position();
    assert!(world.next(&mut position).is_none(), "served at the head");
    world.revoke();
    world.publish().unwrap();
    let Some(Event::Delta { from, to, .. }) = world.next(&mut position) else {
        panic!("the change after it came is a delta");
    };
    assert_eq!((from, to), (unfollowed.next(), unfollowed.next()));
    let published = world.frames.published(unfollowed);
    assert!(
        matches!(published, Published::Root(..)),
        "acknowledgements of it are still compared"
    );
}
