//! SDK for services in Rust: get tokens, follow the feed, hold a verifier; administer a cluster.
//!
//! | module | its story |
//! |---|---|
//! | [`config`] | addresses of the servers, the trust in them, the client's own certificate |
//! | [`identity`] | tokens from the authority, over HTTPS |
//! | [`admin`] | requests of operators to the cluster, over gRPC |
//! | [`audit`] | the audit of every node |
//! | [`verifier`] | a verifier for a service, in ten lines |
//! | [`knowledge`] | the knowledge of this process, and subscriptions to its changes |
//! | [`cache`] | files that a verifier keeps |
//! | [`token`] | everything that is done with a token without a server |
//!
//! This crate is the impure edge: sockets, files, clocks and randomness are here, and decisions are in
//! `hessra-sdk-core` and `hessra-revocation`, which have none of them.

pub mod admin;
pub mod audit;
pub mod cache;
mod channel;
pub mod clock;
pub mod config;
pub mod error;
mod failover;
mod follow;
pub mod identity;
mod just_in_time;
mod keeper;
pub mod knowledge;
#[cfg(feature = "otel")]
mod otel;
mod readings;
mod request_id;
mod signing;
mod tls;
mod validity;
pub mod verifier;

/// Token operations: parse, verify, delegate, inspect. They need no server.
pub use hessra_sdk_core as token;

pub use hessra_proto::{NodeState, v1};
pub use hessra_revocation as revocation;

pub use admin::Authority;
pub use config::{Connection, Credentials, Endpoint, Servers, Trust};
pub use error::{ClientError, LocalCause, Reason};
pub use identity::{Authentication, IdentityClient};
pub use knowledge::{FeedStatus, News, Readiness};
pub use readings::{AsOf, Readings};
pub use request_id::{NotARequestId, RequestId};
pub use verifier::{Verifier, VerifierBuilder};

pub use hessra_sdk_core::{
    DomainClaim, Ed25519, Evidence, MemorySize, PolicyChecks, Request, StalenessPolicy, Verdict,
};

/// Ids of the trace of a change, from the id of its request.
pub mod trace {
    pub use hessra_proto::trace::{Root, SpanId, TraceId, span_id, traceparent};
}
