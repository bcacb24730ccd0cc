//! The ports: gRPC for operators and verifiers, HTTPS for clients, gRPC for the other members.
//!
//! | module | its story |
//! |---|---|
//! | [`grpc`] | operators and verifiers, on the public port |
//! | [`https`] | clients that ask for tokens, on the public port |
//! | [`peers`] | the other members, on the peer port |
//! | [`places`] | how many requests run at once, before anything is read |
//! | `metered` | size, time and memory of a request's body |
//! | `middleware` | a context before, a record after |
//! | `deadline` | when the caller stops waiting |

mod deadline;
pub mod grpc;
pub mod https;
mod metered;
mod middleware;
pub mod peers;
pub mod places;
