//! The door of this crate, walked through with real tokens.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod attesting;
mod conformance;
mod delegating;
mod fixture;
mod minting;
mod properties;
mod published;
mod revoked;
mod staleness;
