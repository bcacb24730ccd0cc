//! Store of one node: keeps the log, the vote, the state and the snapshots on disk, for openraft.
//!
//! ```text
//! openraft ──append, vote, purge──▶ LogStore ─────┐
//!          ──apply, snapshot──────▶ StateMachine ─┤ batches, sync(done)
//!                                                 ▼
//!                                       Engine (the seam)
//!                                        ├─ SledEngine     a real disk
//!                                        └─ MemoryEngine   pending and durable apart, for crashes
//! ```
//!
//! Promises:
//! - **acknowledged is on disk.** An append, a vote and an installed snapshot are acknowledged only after
//!   [`Engine::sync`]: on sled that is `flush()` (which calls `pwrite64` and `sync_file_range`, and alone does not
//!   survive a power loss) *and* `fdatasync` of its `db` file, after the directory and its parent were fsynced at
//!   creation. `tests/real` shows the calls and cuts the power;
//! - **a damaged record is found and named, never served.** Every record carries a checksum over its own name; log
//!   records are chained ([`log`]); the state is made of a snapshot and that log, and must come out as it was
//!   ([`machine`]); and a mark outside of sled says how far it had been synced, because sled itself takes a flipped bit
//!   for the end of its file ([`disk`]);
//! - **state and last applied are one batch**: a snapshot with what it goes up to; the state above it is the log again;
//! - a disk error is not an answer: after the first one every call fails and the node stops.
//!
//! The store decides nothing about the meaning of commands (`hessra-state`) and nothing about leadership (openraft).

mod block;
pub mod codec;
pub mod disk;
pub mod engine;
pub mod error;
mod frame;
mod image;
pub mod layout;
pub mod log;
pub mod machine;
pub mod memory;
pub mod plant;
mod settled;
pub mod snapshot;
mod store;
mod types;

pub use disk::{Identity, LowSpace, OpenOptions, SledEngine};
pub use engine::{Batch, Done, Engine};
pub use error::StoreError;
pub use image::SnapshotImage;
pub use layout::Space;
pub use log::{Durability, Flush, LogReader, LogStore};
pub use machine::{MachineImage, Published, RecentEntry, Remembered, StateMachine, TracedChange};
pub use memory::MemoryEngine;
pub use store::{Parts, Store};
pub use types::{Answers, Member, Proposal, TokioTypes, Types};

/// Entry of the cluster's log.
pub type Entry<R = openraft::TokioRuntime> = openraft::Entry<Types<R>>;
/// Term and index of an entry.
pub type LogId = openraft::LogId<u64>;
/// Vote, and whether a quorum granted it.
pub type Vote = openraft::Vote<u64>;
/// Voters and learners.
pub type Membership = openraft::Membership<u64, Member>;
/// Membership, and the entry that made it.
pub type StoredMembership = openraft::StoredMembership<u64, Member>;
/// Metadata of a snapshot: the entry and the membership up to which it goes.
pub type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
