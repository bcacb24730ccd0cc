//! The crate through its public API, against servers that run in the test.

mod authority;
mod feed;
mod https;
mod node;
mod verdicts;
