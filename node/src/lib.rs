//! One authority node: gRPC, HTTPS, TLS, disks, telemetry and keys around the consensus of `hessra-consensus`.
//!
//! | module | its story |
//! |---|---|
//! | [`node`] | starts one node, keeps it running, stops it in order |
//! | [`api`] | the ports: gRPC, HTTPS, the other members |
//! | [`issuer`] | decides on requests for tokens, and mints |
//! | [`gitops`] | follows a git repository: its newest commit is the policy |
//! | [`keys`] | the life of keys: made, sealed anew, rotated by schedule, published |
//! | [`ops`] | the loopback listener: `/livez`, `/readyz`, `/metrics` |
//! | [`world`] | what consensus stands on here: gRPC to the others, clocks, metrics |
//! | [`peers`] | requests to the other members |
//! | [`audit`] | the records of this node, in a chained file |
//! | [`request`] | the context of one request, from the middleware to the record |
//! | [`callers`] | whether a caller with a certificate may speak now |
//! | [`policy`] | the policy in force, and the repository it is followed from |
//! | [`signer`] | unsealed keys that sign tokens and checkpoints |
//! | [`seal`] | private keys at rest: an envelope under the key-encryption key |
//! | [`tls`] | listeners, certificates, connections to members |
//! | [`problem`] | a refusal as clients of the HTTPS port read it |
//! | [`telemetry`] | logs, and the one table of metrics |
//! | [`config`] | the one file of settings: read, checked, shown |
//! | [`join`] | the secret that a node which waits to be added asks for |
//! | [`edge`] | the only clock and the only randomness |
//!
//! A module uses only modules below it in this table; `tests/floors.rs` checks it. The binary is
//! [`main`](../hessra_node/index.html) and a command line over these; the library exists so that tests can start nodes
//! without processes.

#[cfg(test)]
mod anyone;
pub mod api;
pub mod audit;
mod between;
pub mod callers;
pub mod conditions;
pub mod config;
pub mod edge;
pub mod gitops;
pub mod issuer;
pub mod join;
pub mod keys;
pub mod node;
pub mod ops;
pub mod peers;
pub mod policy;
pub mod problem;
pub mod request;
pub mod seal;
pub mod signer;
pub mod telemetry;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod world;
