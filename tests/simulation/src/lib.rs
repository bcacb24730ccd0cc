//! The cluster, its verifiers and its clients under one seed, in virtual time.
//!
//! Real: openraft, the store's log and state machine code, the replicated state, publisher and follower. Simulated: the
//! network, the disk below the `Engine` seam, the clocks, process life. One seed is one history, the same every time:
//! `cargo run -p hessra-simulation -- --from SEED --seeds 1 --trace` replays it. README.md says what is checked, what was
//! found, and what is not covered.

pub mod client;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod feed;
pub mod network;
pub mod node;
pub mod oracle;
pub mod plant;
pub mod runtime;
pub mod verifier;
pub mod world;

pub use plant::Plant;
pub use world::{Options, Report, fail_over, simulate};

use hessra_sled::Member;

/// The product's Raft types on the simulation's runtime.
pub type Config = hessra_sled::Types<runtime::SimRuntime>;
/// openraft itself.
pub type Raft = openraft::Raft<Config>;
/// A log entry.
pub type Entry = openraft::Entry<Config>;
