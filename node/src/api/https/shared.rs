//! Parts that all handlers share, and the answer for what is at no path.

use std::sync::Arc;

use prost::bytes::Bytes;

use super::pools::Pools;
use crate::issuer::{Issuer, Ledger};
use crate::problem::{Kind, Problem};
use crate::telemetry::Metrics;

/// The parts of a node that handlers ask. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) issuer: Arc<Issuer>,
    pub(super) ledger: Ledger,
    pub(super) pools: Pools,
    pub(super) server_ca: Option<Arc<str>>,
    /// Shared by all answers: ten thousand readers that take nothing hold one copy.
    pub(super) document: Bytes,
    pub(super) metrics: Arc<Metrics>,
}

/// Answer to everything that is no path of this port.
pub async fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "not_found", "there is nothing at this path")
}
