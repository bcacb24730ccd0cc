//! Tests of the crate through its public API, with real tokens.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![allow(
    clippy::disallowed_methods,
    reason = "where a token is remembered changes no verdict"
)]

mod attesting;
mod capabilities;
mod conformance;
mod contexts;
mod costs;
mod delegating;
mod demands;
mod fixture;
mod holding;
mod hostile;
mod minting;
mod most_expensive;
mod properties;
mod published;
mod reasons;
mod remembering;
mod revoked;
mod staleness;
