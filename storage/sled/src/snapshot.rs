//! Snapshot: the state's records, the entry up to which they go, and a hash over all of it; as one image for the wire,
//! in chunks on disk.
//!
//! Image: `"hessrasn" · format u8 · meta length u32 · meta`, then blocks: `length u32` and an LZ4 block with some hundred
//! records, per record `length u32` and its bytes; at the end `count u64` of the records and `SHA-256 32` over everything
//! before; numbers big-endian. It is built from a frozen state machine, block by block with a yield in between, while
//! writes go on.
//!
//! One snapshot is kept. A new one is stored under the next generation; it becomes current with one mark; then the
//! one before is deleted. Chunks of a generation that never became current are deleted when the store is opened.

mod format;
mod store;

pub use format::PLAIN_BYTES_MAX;
pub(crate) use format::{Contents, build, open};
pub(crate) use store::SnapshotStore;
