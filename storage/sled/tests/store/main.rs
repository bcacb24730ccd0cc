//! The store through its public door, over both engines.

#![allow(clippy::unwrap_used)]

mod conformance;
mod support;
