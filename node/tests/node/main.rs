//! One node, from outside: its binary, its ports, its files.

// A helper that fails is a test that fails, and a test may look at the clock.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod endpoints;
mod lifecycle;
mod listeners;
mod settings;
mod tokens;
mod verification;

mod revoking;
mod running;
