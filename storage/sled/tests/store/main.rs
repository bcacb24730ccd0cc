//! The store through its public API, over both engines.

#![allow(clippy::unwrap_used)]

mod codec;
mod conformance;
mod crash;
mod damage;
mod derived;
mod directory;
mod faults;
mod install;
mod parts;
mod space;
mod starts;
mod support;
