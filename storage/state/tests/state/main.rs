//! The state through its public API: golden scripts, properties, and records that contradict each other.

#![allow(clippy::unwrap_used)]

mod clock;
mod forgetting;
mod once;
mod properties;
mod rebuilding;
mod sample;
mod scripts;
mod starts;
mod witnesses;
