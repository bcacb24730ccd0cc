//! Tests of the crate through its public API: golden scripts that a stranger can read aloud, properties
//! against an oracle of a few lines, and the conformance vectors that every SDK runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod authority;
mod follower_script;
mod fuzz;
mod publisher_script;
mod rules_script;
mod sessions;
mod sets;
mod targets;
mod vectors;
mod welcomes;
mod words;
