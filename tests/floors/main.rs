//! The floors of the house: arrows go downwards only, between crates and between the modules of each crate.
//!
//! Reads the manifests and the sources, so that a new crate, a new arrow or a new circle cannot slip in. ARCHITECTURE.md
//! draws the same picture.

mod crates;
mod graph;
mod modules;
mod pages;
