//! Small values for tests, and a state that is checked after each command.

use std::sync::Arc;

use hessra_people::Person;
use hessra_proof::{Proof, Statement};
use hessra_revocation::{
    FeedId, FeedSalt, Identity, KeyPurpose, KeyState, Revision, Target, TokenId, UnixMillis,
    UnixSeconds,
};
use hessra_state::limits::SETTLED_STEP_MILLIS;
use hessra_state::{
    Applied, Author, Command, FacetId, Init, Judge, Judged, Machine, Pending, Policy, Refusal,
    RequestId, Revoke, SealedKey, Spend, Stamped, State,
};

pub(crate) fn identity(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

pub(crate) fn subtree(text: &str) -> Target {
    Target::Subtree(identity(text))
}

pub(crate) fn token(number: u8) -> Target {
    Target::Token(TokenId::new(&[number; 64]).unwrap())
}

pub(crate) fn key(id: u32, purpose: KeyPurpose, state: KeyState) -> SealedKey {
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

pub(crate) fn policy(text: &str) -> Policy {
    Policy::new(format!("# clients {text}"), format!("# resources {text}"))
}

pub(crate) fn init() -> Command {
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

pub(crate) fn revoke(targets: Vec<Target>) -> Revoke {
    Revoke {
        targets,
        permanent: false,
        until: None,
        reason: String::new(),
        ticket: String::new(),
        message: String::new(),
    }
}

/// An operator of this name. What it has signed is not looked at here, as long as it is the same.
pub(crate) fn operator(name: &str) -> Author {
    Author::Operator(signed(name, [0; 32]))
}

/// Proof of an operator that has signed this content.
pub(crate) fn signed(name: &str, command: [u8; 32]) -> Proof {
    let statement = Statement {
        cluster: [7; 16],
        request: [0; 16],
        command,
        issued_at: 0,
        expires_at: 0,
    };
    Proof::of_parts(Arc::clone(Person::named(name).signer()), statement, &[])
}

/// Judge that lets every author do everything: rights are tested where they are decided.
pub(crate) struct Anyone;

impl Judge for Anyone {
    fn judge(&self, _: &State, stamped: &Stamped) -> Result<String, Refusal> {
        Ok(stamped.author.to_string())
    }

    fn still_asks(&self, _: &State, _: &Pending) -> bool {
        true
    }
}

/// A command at `seconds`, with a request id made of `request`.
pub(crate) fn stamped(seconds: u64, request: u64, command: Command) -> Stamped {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&request.to_be_bytes());
    Stamped {
        at: UnixMillis(seconds * 1000),
        author: operator("urn:h:ann"),
        request: RequestId(id),
        command,
    }
}

/// Lets time pass as it does in a cluster: with an entry every ten minutes, none of which is remembered.
pub(crate) fn pass_until(machine: &mut Machine, seconds: u64) {
    const ENTRY_EVERY: u64 = SETTLED_STEP_MILLIS / 1000;
    let ended = Command::Spend(Spend {
        facet: FacetId([0; 32]),
        expires_at: UnixSeconds(0),
        judged: Judged {
            subject: identity("urn:h:nobody"),
            rev: Revision(0),
        },
    });
    let mut at = machine.clock().seconds().0;
    while at < seconds {
        at = (at + ENTRY_EVERY).min(seconds);
        machine.apply(&stamped(at, at | 1 << 40, ended.clone()), &Anyone);
    }
}

/// A state, with everything checked that must hold after each command.
#[derive(Default)]
pub(crate) struct Checked {
    pub state: Machine,
}

impl Checked {
    pub(crate) fn apply(&mut self, stamped: &Stamped) -> Applied {
        let before = (self.state.clock(), self.state.view().revision);
        let applied = self.state.apply(stamped, &Anyone);
        let set_back = matches!(applied, Applied::ClockSetBack { .. });
        assert!(
            self.state.view().revision >= before.1,
            "revisions never go back"
        );
        let latest = before.0.max(stamped.at);
        assert!(
            self.state.clock() == latest || set_back && self.state.clock() == stamped.at,
            "the clock is the latest of all stamps since it was set back"
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

    /// Lets time pass until `seconds`, as it does in a cluster: with an entry every ten minutes.
    pub(crate) fn pass_until(&mut self, seconds: u64) {
        pass_until(&mut self.state, seconds);
    }

    /// Checks that its records make the same state again, and that state the same records.
    pub(crate) fn check(&self) {
        let rebuilt = Machine::from_records(self.state.records()).unwrap();
        assert_eq!(
            rebuilt.digest(),
            self.state.digest(),
            "records make the same state again"
        );
        assert_eq!(rebuilt.view().state_root(), self.state.view().state_root());
        assert_eq!(rebuilt.view().log_root(), self.state.view().log_root());
        assert!(
            rebuilt.records().eq(self.state.records()),
            "a rebuilt state has the same records"
        );
    }
}
