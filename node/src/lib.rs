//! One authority node: consensus, issuing, signing, the feed, the operators' door.
//!
//! | module | its story |
//! |---|---|
//! | [`node`] | starts one node, keeps it running, stops it in order |
//! | [`config`] | the one file of settings: read, checked, shown |
//! | [`edge`] | the only clock and the only randomness |
//! | [`raft`] | consensus over mTLS between members |
//! | [`authority`] | proposals, linearizable reads, what operators may do |
//! | [`feed`] | revocations to verifiers: deltas, snapshots, heartbeats, acknowledgements |
//! | [`api`] | the doors: TLS, gRPC, HTTPS |
//! | [`issuer`] | decides on requests for tokens, and mints |
//! | [`audit`] | every decision and every change, in a chained file, before the answer |
//! | [`policy`] | who may have which token, and which operator may do what |
//! | [`gitops`] | follows a git repository: its newest commit is the policy |
//! | [`signer`] | unsealed keys that sign tokens and checkpoints |
//! | [`keys`] | the life of keys: made, sealed anew, rotated by schedule, published |
//! | [`seal`] | private keys at rest: an envelope under the key-encryption key |
//! | [`telemetry`] | logs, and the one table of metrics |
//! | [`ops`] | the loopback listener: `/livez`, `/readyz`, `/metrics` |
//! | [`dev`] | a whole local cluster as child processes |
//!
//! The binary is [`main`](../hessra_node/index.html) and a command line over these; the library exists so that tests
//! and the simulation can start nodes without processes.

pub mod api;
pub mod audit;
pub mod authority;
pub mod config;
pub mod dev;
pub mod edge;
pub mod feed;
pub mod gitops;
pub mod issuer;
pub mod keys;
pub mod node;
pub mod ops;
pub mod policy;
pub mod raft;
pub mod seal;
pub mod signer;
pub mod telemetry;
