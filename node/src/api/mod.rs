//! The doors of a node.
//!
//! [`tls`] accepts connections and says who is on the other side; [`grpc`] answers operators and verifiers; [`https`]
//! answers clients that want tokens; [`problem`] is how a refusal looks to them.

pub mod grpc;
pub mod https;
pub mod problem;
pub mod tls;
