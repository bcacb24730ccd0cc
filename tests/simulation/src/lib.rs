//! The cluster, its verifiers, its clients and its operators under one seed, in virtual time.
//!
//! The code between is what ships: consensus and its promises (`hessra-consensus`), the store, the replicated state, the
//! follower of a verifier. Simulated is the world around it: the network, the disks, the clocks, process life, people.
//! One seed is one history, the same every time: `cargo run -p hessra-simulation -- --from SEED --seeds 1 --trace`
//! replays it. README.md says what is checked, what was found, and what is not covered.
//!
//! | module | its story |
//! |---|---|
//! | [`hunt`] | many seeds, and the first that breaks a promise |
//! | [`history`] | one seed from its beginning to its verdict |
//! | [`faults`] | disturbs the world |
//! | [`world`] | a cluster and its verifiers; starts again what has ended |
//! | [`client`], [`operator`] | ask for revocations and checks; change the members, watch containment |
//! | [`verifier`] | follows a node over a stream that breaks |
//! | [`stranger`], [`impostor`] | a machine that is no member; a caller that is no verifier |
//! | [`cluster`], [`node`] | the members: disks that stay, lives that may end at any await |
//! | [`peers`] | the seams of consensus: a process, and its way to the other members |
//! | [`journal`], [`oracle`] | what happened, and which promise it broke |
//! | [`network`], [`disk`], [`audit`], [`clock`], [`runtime`], [`signatures`] | the machines |
//!
//! Deliberate bugs are in the code that ships ([`Plant`]); only a build with debug assertions has them.

pub mod audit;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod faults;
pub mod history;
pub mod hunt;
pub mod impostor;
pub mod journal;
pub mod network;
pub mod node;
pub mod operator;
pub mod oracle;
pub mod peers;
pub mod people;
pub mod runtime;
pub mod signatures;
pub mod stranger;
pub mod traitor;
pub mod verifier;
pub mod world;

pub use hessra_consensus::plant::Plant;
pub use history::{fail_over, simulate};
pub use journal::{Options, Report};

/// The product's Raft types on the simulation's runtime.
pub type Config = hessra_sled::Types<runtime::SimRuntime>;
/// A log entry.
pub type Entry = openraft::Entry<Config>;
