//! Policies: what they permit, which are refused, why, and how they differ.

mod answers;
mod page;
mod refusals;
mod sample;
mod settings;
