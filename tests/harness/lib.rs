//! Runs real clusters of real processes for black-box tests.
//!
//! ```no_run
//! let mut cluster = hessra_tests::Cluster::start("walk_through");
//! let alice = cluster.person("alice");
//! alice.run(["identity", "authenticate", "--save-as", "alice"]).done();
//! cluster.kill(cluster.leader());
//! ```
//!
//! A cluster lives in a directory of its own, on ports of its own, and ends with the test: only processes
//! that the harness started are ended, by pid. All traffic between nodes goes through [`Links`], so that a test can cut
//! one node off, in both directions or one, without root.

mod binaries;
mod cli;
mod cluster;
pub mod link;
mod links;
mod ports;
mod probe;
pub mod rotations;
mod wait;

pub use binaries::binary;
pub use cli::{Cli, Finished};
pub use cluster::{Cluster, Layout, Node};
pub use links::Links;
pub use probe::{Answer, Probe, Proof};
pub use wait::until;
