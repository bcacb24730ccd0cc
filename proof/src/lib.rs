//! Proof of who made a command: signed where the command is made, checked wherever it is believed.
//!
//! A compact JSON Web Signature (RFC 7515) by the key of the operator's certificate, with the certificate chain in `x5c`:
//!
//! ```text
//! {"alg":"ES256","typ":"hessra-command+jws","x5c":["MIIB…"]}
//! .
//! {"cluster":"…32 hex","request":"…32 hex","command":"…64 hex","iat":1767225600,"exp":1767225900}
//! .
//! signature
//! ```
//!
//! | module | its story |
//! |---|---|
//! | [`statement`] | what is signed: which command, for which cluster, as which request, until when |
//! | [`signer`] | who signs: the chain of a certificate, and the names in it |
//! | [`proof`] | both with a signature, as one text |
//! | [`checker`] | whether a proof is to be believed: the one function that says so |
//! | [`algorithm`] | the four algorithms of signatures |
//!
//! Commands and their digests are not known here; the rights of an author are the policy's to say. Header and payload
//! have one spelling each: a text that says the same otherwise is refused, so a proof can be kept in parts and put
//! together again.

pub mod algorithm;
pub mod checker;
pub mod proof;
pub mod signer;
pub mod statement;

pub use algorithm::Algorithm;
pub use checker::{Checker, Unproved, check_signature};
pub use proof::{PROOF_BYTES_MAX, Proof, ProofError};
pub use signer::{Sign, Signer, SignerError};
pub use statement::{LIFE_SECONDS_MAX, SKEW_SECONDS_MAX, Statement};
