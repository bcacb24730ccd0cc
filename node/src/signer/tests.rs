use std::sync::Arc;

use hessra_revocation::{FeedId, FeedSalt, KeyPurpose, KeyState, UnixMillis};
use hessra_sdk_core::Signer as _;
use hessra_sled::Published;
use hessra_state::{Applied, Command, Init, KeyCommand, Machine, Policy, State};
use openraft::StoredMembership;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::*;
use crate::anyone;
use crate::keys::generate::new_key;
use crate::seal::{KekRing, MemoryKek};

/// A cluster of which only the keys matter.
struct Cluster {
    machine: Machine,
    keys: Keyholder,
    published: watch::Sender<Arc<Published>>,
}

fn published(state: &State) -> Arc<Published> {
    Arc::new(Published {
        applied: None,
        membership: StoredMembership::default(),
        state: Arc::new(state.clone()),
    })
}

impl Cluster {
    /// A cluster with the active keys 1 (tokens), 2 (feed) and 3 (audit).
    fn new() -> Self {
        let kek = MemoryKek::new(Zeroizing::new([7; 32]), "of this test".to_owned());
        let keys = Keyholder::new(KekRing::new(Arc::new(kek), None));
        let first = (1..).zip([KeyPurpose::Token, KeyPurpose::Feed, KeyPurpose::Audit]);
        let first = first.map(|(id, purpose)| new_key(keys.keks(), id, purpose, KeyState::Active));
        let init = Init {
            feed_id: FeedId([1; 16]),
            salt: FeedSalt([2; 16]),
            keys: first.collect::<Result<_, _>>().expect("sealed"),
            policy: Policy::new(String::new(), String::new()),
        };
        let machine = Machine::new();
        let published = watch::Sender::new(published(machine.state()));
        let mut cluster = Self {
            machine,
            keys,
            published,
        };
        cluster.apply(Command::Init(init));
        cluster
    }

    fn apply(&mut self, command: Command) {
        let applied = anyone::apply(&mut self.machine, UnixMillis(1_000), command);
        assert!(!matches!(applied, Applied::Refused(_)), "{applied:?}");
        self.published.send_replace(published(self.machine.state()));
    }

    fn key(&mut self, command: KeyCommand) {
        self.apply(Command::Key(command));
    }

    /// Puts a new key in the place of the active one.
    fn rotate(&mut self, id: u32, purpose: KeyPurpose) {
        let key = new_key(self.keys.keks(), id, purpose, KeyState::Prepared).expect("sealed");
        self.key(KeyCommand::Prepare(key));
        self.key(KeyCommand::Activate {
            id,
            published_for_min: None,
            instead_of: None,
        });
    }

    fn signer(&self, purpose: KeyPurpose) -> ActiveSigner {
        self.keys.signer(purpose, self.published.subscribe())
    }

    /// Id of the key that signs for a verifier which believes only these.
    fn introduces(&self, signer: &ActiveSigner, known: &[u32]) -> u32 {
        let signed = CheckpointSigner::sign(signer, b"statement", &|id| known.contains(&id));
        signed.expect("signed").0
    }
}

#[test]
fn a_retired_feed_key_introduces_its_successor_and_a_revoked_one_does_not() {
    let mut cluster = Cluster::new();
    let signer = cluster.signer(KeyPurpose::Feed);
    assert_eq!(cluster.introduces(&signer, &[2]), 2);
    cluster.rotate(4, KeyPurpose::Feed);
    assert_eq!(
        cluster.introduces(&signer, &[2]),
        2,
        "it is known, and the newer is not"
    );
    assert_eq!(cluster.introduces(&signer, &[2, 4]), 4);
    cluster.key(KeyCommand::Revoke(2));
    assert_eq!(
        cluster.introduces(&signer, &[2]),
        4,
        "not one signature more"
    );
}

#[test]
fn no_key_signs_once_its_revocation_is_applied_and_nobody_has_to_say_so() {
    let mut cluster = Cluster::new();
    let audit = cluster.signer(KeyPurpose::Audit);
    for (old, new, purpose) in [(1, 4, KeyPurpose::Token), (3, 5, KeyPurpose::Audit)] {
        cluster.rotate(new, purpose);
        cluster.key(KeyCommand::Revoke(old));
    }
    assert_eq!(audit.sign(b"statement").expect("signed").0, 5);
    let token = cluster.keys.token_signer(cluster.machine.state());
    assert_eq!(token.expect("a key").key_id(), 4);
}

#[test]
fn a_state_that_lags_does_not_bring_a_revoked_key_back() {
    let mut cluster = Cluster::new();
    let before = cluster.machine.state().clone();
    cluster.rotate(4, KeyPurpose::Token);
    cluster.key(KeyCommand::Revoke(1));
    cluster.keys.follow(cluster.machine.state());
    let signer = cluster.keys.token_signer(&before);
    assert_eq!(signer.expect("a key").key_id(), 4);
}
