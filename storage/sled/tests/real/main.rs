//! The store on real filesystems that fail for real. Without root or without strace a test says what it skipped.
//!
//! | variable | meaning |
//! |---|---|
//! | `HESSRA_POWER_LOSS_CYCLES` | power cuts, 40 unless set |

#![allow(clippy::unwrap_used)]

mod filesystem;
mod full_disk;
mod power_loss;
#[path = "../store/support.rs"]
#[allow(dead_code)]
mod support;
mod system_calls;
mod writer;
