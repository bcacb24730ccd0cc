//! A small node of an authority for tests: appends entries, remembers every view, signs, and answers as a node would.

use std::collections::BTreeMap;

use hessra_revocation::follower::{Mode, SignedWelcome, Welcome};
use hessra_revocation::publisher::{Hello, Nonce, Plan, plan};
use hessra_revocation::{
    Change, Checkpoint, Cutoff, Epoch, Event, FeedEntry, FeedId, FeedSalt, History, KeyPurpose,
    KeyState, PublicKeyRecord, Revision, Rule, SignedCheckpoint, Target, UnixMillis, UnixSeconds,
    VerifySignature, View,
};
use sha2::{Digest as _, Sha256};

pub(crate) const SALT: FeedSalt = FeedSalt([7; 16]);
pub(crate) const FEED: FeedId = FeedId([0xfe; 16]);
pub(crate) const FRESH_FOR_MS: u32 = 5_000;
/// Id of the feed key that an authority starts with.
pub(crate) const FEED_KEY: u32 = 9;

/// Stands in for Ed25519: all who know the public key can sign. What is tested is what the protocol does with the
/// answer, not the mathematics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StandIn;

impl VerifySignature for StandIn {
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        sign(public_key, message) == *signature
    }
}

/// Nonce of every stream in these tests.
pub(crate) const NONCE: Nonce = Nonce([5; 32]);

pub(crate) fn sign(public_key: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let half = |number: u8| -> [u8; 32] {
        Sha256::new()
            .chain_update([number])
            .chain_update(public_key)
            .chain_update(message)
            .finalize()
            .into()
    };
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&half(0));
    signature[32..].copy_from_slice(&half(1));
    signature
}

pub(crate) fn public_key(id: u32) -> [u8; 32] {
    Sha256::digest(id.to_be_bytes()).into()
}

#[derive(Clone)]
pub(crate) struct FeedNode {
    /// Views by revision, from 0.
    pub views: Vec<View>,
    pub history: History,
    pub node: u64,
    pub tick_ms: u64,
    pub key_id: u32,
}

impl FeedNode {
    /// Node at revision 1: the feed key.
    pub(crate) fn new() -> Self {
        let view = View::new(FEED, Epoch(1), SALT);
        let history = History::new(Revision(0), view.log.clone());
        let mut authority = Self {
            views: vec![view],
            history,
            node: 1,
            tick_ms: 0,
            key_id: FEED_KEY,
        };
        authority.key(FEED_KEY, KeyState::Active);
        authority
    }

    pub(crate) fn view(&self) -> &View {
        self.views.last().unwrap()
    }

    pub(crate) fn head(&self) -> Revision {
        self.view().revision
    }

    pub(crate) fn append(&mut self, change: Change) -> Revision {
        let mut view = self.view().clone();
        let revision = view.revision.next();
        let entry = FeedEntry {
            revision,
            at: UnixSeconds(1_000 + revision.0),
            change,
        };
        view.apply(&entry).unwrap();
        self.history.push(&entry, &view.log);
        self.views.push(view);
        revision
    }

    pub(crate) fn put(&mut self, target: &Target, cutoff: Cutoff) -> Revision {
        self.append(Change::Put(Rule::new(&SALT, target, cutoff, None)))
    }

    pub(crate) fn key(&mut self, id: u32, state: KeyState) -> Revision {
        let key = PublicKeyRecord {
            id,
            purpose: KeyPurpose::Feed,
            state,
            public_key: public_key(id),
        };
        self.append(Change::Key(key))
    }

    pub(crate) fn checkpoint_at(&self, revision: Revision) -> Checkpoint {
        let view = self
            .views
            .iter()
            .find(|view| view.revision == revision)
            .unwrap();
        Checkpoint::of(
            view,
            self.history.floor(),
            UnixMillis(1),
            self.tick_ms,
            FRESH_FOR_MS,
            self.node,
        )
    }

    pub(crate) fn sign(&self, checkpoint: &Checkpoint) -> SignedCheckpoint {
        let body = checkpoint.to_bytes();
        let signature = sign(&public_key(self.key_id), &body);
        SignedCheckpoint {
            body,
            key_id: self.key_id,
            signature,
        }
    }

    pub(crate) fn signed(&self) -> SignedCheckpoint {
        self.sign(&self.checkpoint_at(self.head()))
    }

    pub(crate) fn heartbeat(&self) -> Event {
        Event::Heartbeat(self.signed())
    }

    /// Entries `from..=to`, as the node has them.
    pub(crate) fn delta(&self, from: Revision, to: Revision) -> Event {
        let count = usize::try_from(to.0 + 1 - from.0).unwrap();
        let entries = self.history.entries_from(from, count).unwrap();
        let entries = entries.into_iter().map(<[u8]>::to_vec).collect();
        Event::Delta {
            from,
            to,
            entries,
            checkpoint: self.sign(&self.checkpoint_at(to)),
        }
    }

    pub(crate) fn welcome(&self, mode: Mode) -> Event {
        Event::Welcome(self.sign_welcome(self.unsigned_welcome(mode), &NONCE))
    }

    pub(crate) fn sign_welcome(&self, welcome: Welcome, nonce: &Nonce) -> SignedWelcome {
        let signature = sign(&public_key(self.key_id), &welcome.to_bytes(nonce));
        SignedWelcome {
            welcome,
            key_id: self.key_id,
            signature,
        }
    }

    pub(crate) fn unsigned_welcome(&self, mode: Mode) -> Welcome {
        let view = self.view();
        Welcome {
            feed_id: view.feed_id,
            salt: *view.set.salt(),
            epoch: view.epoch,
            head: view.revision,
            floor: self.history.floor(),
            mode,
            tick_ms: self.tick_ms,
            node: self.node,
            feed_keys: BTreeMap::from([(self.key_id, public_key(self.key_id))]),
            counted: true,
        }
    }

    pub(crate) fn chunk(&self, bucket: u8) -> Event {
        let view = self.view();
        let keys = if bucket == 0 {
            view.keys_bytes()
        } else {
            Vec::new()
        };
        Event::SnapshotChunk {
            buckets: vec![bucket],
            rules: view.set.bucket(bucket),
            keys,
        }
    }

    pub(crate) fn snapshot_end(&self) -> Event {
        let view = self.view();
        Event::SnapshotEnd {
            checkpoint: self.signed(),
            frontier: view.log.peaks().to_vec(),
            policy_digest: view.policy_digest,
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<Event> {
        (0..=u8::MAX)
            .map(|bucket| self.chunk(bucket))
            .chain([self.snapshot_end()])
            .collect()
    }

    pub(crate) fn buckets(&self, numbers: &[u8]) -> Vec<Event> {
        let view = self.view();
        let rules = numbers
            .iter()
            .flat_map(|number| view.set.bucket(*number))
            .collect();
        let chunk = Event::SnapshotChunk {
            buckets: numbers.to_vec(),
            rules,
            keys: view.keys_bytes(),
        };
        vec![chunk, self.snapshot_end()]
    }

    /// Messages with which a node answers a hello.
    pub(crate) fn answer(&self, hello: &Hello) -> Vec<Event> {
        match plan(self.view(), &self.history, hello) {
            Plan::Refuse(reason) => vec![Event::Reset {
                reason,
                retry_after: std::time::Duration::ZERO,
            }],
            Plan::Snapshot => [vec![self.welcome(Mode::Snapshot)], self.snapshot()].concat(),
            Plan::Buckets(numbers) => {
                [vec![self.welcome(Mode::Buckets)], self.buckets(&numbers)].concat()
            }
            Plan::Deltas if hello.from == self.head() => vec![self.welcome(Mode::Deltas)],
            Plan::Deltas => vec![
                self.welcome(Mode::Deltas),
                self.delta(hello.from.next(), self.head()),
            ],
        }
    }
}

impl FeedNode {
    /// The same node with its past only: what a disk set back to a copy would serve.
    pub(crate) fn rewound_to(&self, revision: Revision) -> Self {
        let mut past = Self {
            views: Vec::new(),
            history: History::new(Revision(0), Default::default()),
            ..self.clone()
        };
        for view in self.views.iter().filter(|view| view.revision <= revision) {
            if let Some(bytes) = self.history.entry(view.revision) {
                past.history
                    .push(&FeedEntry::from_bytes(bytes).unwrap(), &view.log);
            }
            past.views.push(view.clone());
        }
        past
    }
}
