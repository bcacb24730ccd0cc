//! Rights of the authors of commands, judged by the policy and the revocations of the state that they change.
//!
//! ```text
//! Stamped { author, command } ──▶ Rights::judge(state) ──▶ the author's name, or a refusal: the same on every node
//!                                    │
//!      may it speak? (speaking)  ────┼──── has it the right, and does it need a second person? (rights)
//! ```
//!
//! | module | its story |
//! |---|---|
//! | [`speaking`] | whether the holder of a certificate may speak now |
//! | [`rights`] | which right a command needs, and which commands wait for a second person |
//! | [`judge`] | both, for the state machine |
//!
//! Pure: what is said follows from the arguments. A node asks the same functions before it proposes, to refuse early and in
//! more words; what counts is what the state machine says. A change of what is said here changes the state machine, and
//! begins with a version of it ([`hessra_state::version`]).

pub mod judge;
pub mod rights;
pub mod speaking;

pub use judge::Rights;
pub use rights::{needs_second_person, permit, permit_action, permit_asker, reasons_to_wait};
pub use speaking::{Certificate, Silenced, is_certificate_revoked, is_revoked, may_speak};
