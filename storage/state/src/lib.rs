//! The replicated state of the authority and every command that can change it.
//!
//! Pure and total: [`Machine::apply`] has no clock, no randomness, no IO, no `Result`. A refusal is an [`Applied`] value,
//! the same on every node. Everything `apply` depends on is in the entry.
//!
//! ```text
//! Stamped { at, author, request, command } ──▶ Machine::apply ──▶ Applied  answer to the caller
//!                                               │
//!                                               ├─ a clone ──▶ State         for readers
//!                                               └─ records ──▶ Record        for a snapshot
//! ```
//!
//! ```
//! use hessra_revocation::UnixMillis;
//! use hessra_state::{Applied, Author, Command, Duty, Judge, Machine, Pending, Refusal, RefusalCode, RequestId, Stamped, State};
//!
//! struct Anyone;
//! impl Judge for Anyone {
//!     fn judge(&self, _: &State, stamped: &Stamped) -> Result<String, Refusal> {
//!         Ok(stamped.author.to_string())
//!     }
//!     fn still_asks(&self, _: &State, _: &Pending) -> bool {
//!         true
//!     }
//! }
//!
//! let mut machine = Machine::new();
//! let author = Author::Node { id: 1, duty: Duty::Collection };
//! let command = Command::RaiseVersion(1);
//! let asked = Stamped { at: UnixMillis(1_000), author, request: RequestId([1; 16]), command };
//! let Applied::Refused(refusal) = machine.apply(&asked, &Anyone) else { panic!("a cluster begins with `Init`") };
//! assert_eq!(refusal.code, RefusalCode::NotInitialized);
//! ```
//!
//! | module | its story |
//! |---|---|
//! | [`command`] | every write, with its time and author inside |
//! | [`author`] | operators with proofs, and nodes with duties |
//! | [`duties`] | which author makes which command |
//! | [`judge`] | who says what an author may |
//! | [`applied`] | answers of the state machine |
//! | [`refusal`] | reasons why a command had no effect |
//! | [`machine`] | the state machine: the one way to change anything |
//! | [`state`] | the state, as readers see it |
//! | [`revocations`] | revocations as people see them, and the rule that several of one target imply |
//! | [`keys`] | keys and the one table of their states |
//! | [`pending`] | actions that wait for a second person |
//! | [`policy`] | the policy that stands, and its earlier versions |
//! | [`ledger`] | uses of single-use capabilities |
//! | [`contexts`] | the latest version of every session's context |
//! | [`witness`] | how far the audit chains of every node are |
//! | [`starts`] | which store each member has, and how often it was started |
//! | [`requests`] | first answers by request id |
//! | [`record`] | the state in pieces, for snapshots |
//! | [`limits`] | every number that bounds something |
//! | [`version`] | state machine versions |
//!
//! The meaning of a policy and the sealing of keys are not decided here; rights are a [`Judge`]'s, which comes with every
//! command.

pub mod applied;
mod approvals;
pub mod author;
mod check;
mod clock;
pub mod command;
pub mod contexts;
mod digest;
pub mod duties;
mod index;
mod invalid;
pub mod judge;
pub mod keys;
pub mod ledger;
pub mod limits;
mod lookup;
pub mod machine;
pub mod pending;
mod pieces;
pub mod policy;
mod rebuild;
pub mod record;
pub mod refusal;
pub mod requests;
pub mod revocations;
mod revoke;
mod sealed_key;
pub mod starts;
pub mod state;
mod timed;
mod undo;
pub mod version;
pub mod witness;

pub use applied::{Applied, Revoked};
pub use author::{Author, Duty};
pub use command::{
    Approval, Command, ContextStep, Envelope, FacetId, Init, Judged, KeyCommand, Lift,
    MemberChange, PendingAction, PendingId, PendingIdError, RequestId, Revoke, SessionId, Spend,
    Stamped, Undo,
};
pub use contexts::ContextVersion;
pub use duties::duty_of;
pub use invalid::InvalidRecords;
pub use judge::Judge;
pub use ledger::Spent;
pub use machine::{Frozen, Machine};
pub use pending::{Pending, Pendings};
pub use policy::{Policy, PolicyChange, PolicyOrigin, PolicyVersion, PolicyVersions};
pub use record::{Meta, Record, RecordKey};
pub use refusal::{Refusal, RefusalCode};
pub use revocations::{Lifted, Revocation, RevocationId, RevocationIdError, Undoing, Why};
pub use sealed_key::SealedKey;
pub use starts::{Incarnation, Line, Misfit, Start, Starts};
pub use state::State;
pub use version::{UpgradeNeeded, supported};
pub use witness::{ChainHead, ChainName, Witness, Witnessed, WitnessedHeads};
