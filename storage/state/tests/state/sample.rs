//! Small values for tests, and a disk that believes what it is told.

use std::collections::BTreeMap;

use hessra_revocation::{
    FeedId, FeedSalt, Identity, KeyPurpose, KeyState, Revision, Target, TokenId, UnixMillis,
};
use hessra_state::{
    Applied, Change, Command, Init, Policy, Record, RecordKey, RequestId, Revoke, SealedKey,
    Stamped, State,
};

pub fn identity(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

pub fn subtree(text: &str) -> Target {
    Target::Subtree(identity(text))
}

pub fn token(number: u8) -> Target {
    Target::Token(TokenId::new(&[number; 64]).unwrap())
}

pub fn key(id: u32, purpose: KeyPurpose, state: KeyState) -> SealedKey {
    let mut public_key = [0; 32];
    public_key[..4].copy_from_slice(&id.to_be_bytes());
    SealedKey {
        id,
        purpose,
        state,
        public_key,
        sealed: vec![id as u8; 72],
        changed_at: Revision(0),
        published: UnixMillis(0),
        since: UnixMillis(0),
    }
}

pub fn policy(text: &str) -> Policy {
    Policy::new(format!("# clients {text}"), format!("# resources {text}"))
}

pub fn init() -> Command {
    Command::Init(Init {
        feed_id: FeedId([7; 16]),
        salt: FeedSalt([9; 16]),
        keys: vec![
            key(1, KeyPurpose::Token, KeyState::Active),
            key(2, KeyPurpose::Feed, KeyState::Active),
        ],
        policy: policy("first"),
    })
}

pub fn revoke(targets: Vec<Target>) -> Revoke {
    Revoke {
        targets,
        permanent: false,
        until: None,
        reason: String::new(),
        ticket: String::new(),
        message: String::new(),
    }
}

/// A command at `seconds`, with a request id made of `request`.
pub fn stamped(seconds: u64, request: u64, command: Command) -> Stamped {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&request.to_be_bytes());
    Stamped {
        at: UnixMillis(seconds * 1000),
        by: "urn:h:ann".into(),
        request: RequestId(id),
        command,
    }
}

/// Records by key, changed only by what the state says changed.
#[derive(Clone, Default)]
pub struct Disk(pub BTreeMap<RecordKey, Record>);

impl Disk {
    /// Writes the changes; a deletion of what is not there is a fault.
    pub fn write(&mut self, changes: Vec<Change>) {
        let keys: Vec<_> = changes.iter().map(Change::key).collect();
        assert!(
            keys.is_sorted_by(|one, next| one < next),
            "one change per key, in order: {keys:?}"
        );
        for change in changes {
            match change {
                Change::Put(record) => _ = self.0.insert(record.key(), record),
                Change::Delete(key) => _ = self.0.remove(&key),
            }
        }
    }
}

/// A state and its disk, with everything checked that must hold after each command.
#[derive(Default)]
pub struct Checked {
    pub state: State,
    pub disk: Disk,
}

impl Checked {
    pub fn apply(&mut self, stamped: &Stamped) -> Applied {
        let before = (self.state.clock(), self.state.view().revision);
        let applied = self.state.apply(stamped);
        self.disk.write(self.state.take_changes());
        assert!(
            (self.state.clock(), self.state.view().revision) >= before,
            "time and revisions never go back"
        );
        assert!(
            self.state.clock() >= stamped.at,
            "the clock is the latest of all stamps"
        );
        if matches!(applied, Applied::Refused(_)) {
            assert_eq!(
                self.state.view().revision,
                before.1,
                "a refusal has no revision"
            );
        }
        applied
    }

    /// The disk holds the state's records, and they make the same state again.
    pub fn check(&self) {
        let records: BTreeMap<_, _> = self
            .state
            .records()
            .map(|record| (record.key(), record))
            .collect();
        assert_eq!(
            self.disk.0, records,
            "changes applied to a disk are the records"
        );
        let rebuilt = State::from_records(self.disk.0.values().cloned()).unwrap();
        assert_eq!(
            rebuilt.digest(),
            self.state.digest(),
            "records make the same state again"
        );
        assert_eq!(rebuilt.view().state_root(), self.state.view().state_root());
        assert_eq!(rebuilt.view().log_root(), self.state.view().log_root());
        assert_eq!(
            rebuilt.clone().take_changes(),
            [],
            "a rebuilt state has nothing to tell the disk"
        );
    }
}
