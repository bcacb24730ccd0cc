//! Interoperation: our tokens in the published crates, and theirs in ours.
//!
//! The published crates are unmodified and renamed: `published-identity` is hessra-token-identity 0.6, and so on. They
//! read the clock of the machine, so tokens here are minted now and live for an hour.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod fixture;
mod ours_in_theirs;
mod rotation;
mod theirs_in_ours;
mod vectors;
