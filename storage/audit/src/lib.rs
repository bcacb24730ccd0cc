//! Audit records: their form, how they are chained, and how a chain is verified.
//!
//! ```text
//! {"v":1,"seq":7,…,"prev":"5d0c…","hash":"91ab…"}   one JSON object per line
//!                     │             └ SHA-256 of the line up to here, so of `prev` too
//!                     └ `hash` of record 6
//! ```
//! | module | its story |
//! |---|---|
//! | [`record`] | one record: its fields and the names of events |
//! | [`text`] | texts from outside: bounded, one line, without tokens |
//! | [`time`] | instants as records write them |
//! | [`chain`] | from a record to its line and back |
//! | [`walk`] | walks lines, names the first that is wrong |
//! | [`marks`] | the id of a chain, and how far it was exported and deleted |
//! | [`checkpoint`] | signatures over the head of a chain |
//! | [`filter`] | the records that a question is about |
//! | [`ocsf`] | the same record in the Open Cybersecurity Schema Framework |
//!
//! The node writes with it and the command line verifies with it, offline. Nothing here reads a file or a clock: lines
//! come in as text, instants as numbers.

pub mod chain;
pub mod checkpoint;
pub mod filter;
pub mod marks;
pub mod ocsf;
pub mod record;
pub mod text;
pub mod time;
pub mod walk;

pub use chain::{BadLine, Head, Line, open, seal, seal_into};
pub use checkpoint::{CheckpointKey, Signed, Statement};
pub use filter::{Filter, FilterError};
pub use marks::{ChainId, Marks};
pub use record::{Actor, Chain, Event, Outcome, Position, Proof, Record, Request, Target};
pub use walk::{Fault, Known, Walk, Walked, Wrong};
