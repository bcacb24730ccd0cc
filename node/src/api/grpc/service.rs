//! The parts of a node that its gRPC services ask.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tonic::{Response, Status};

use super::long::{LongAnswers, LongLimits};
use crate::audit::Auditor;
use crate::keys::KeyManagement;
use crate::policy::Policies;
use crate::telemetry::Metrics;
use crate::world::{Consensus, FeedHub, Inspector};

/// Watches of one node at a time: each counts the verifiers anew up to twenty times a second.
const WATCHES: LongLimits = LongLimits {
    all: 64,
    per_caller: 16,
    // A revoke that waits is not turned away by dashboards that look.
    kept: 32,
};

/// Answer of a method.
pub(super) type Answer<T> = Result<Response<T>, Status>;

/// The services of operators. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct AuthorityService {
    pub(super) consensus: Consensus,
    pub(super) feed: FeedHub,
    pub(super) inspector: Inspector,
    pub(super) policies: Policies,
    pub(super) watches: LongAnswers,
    /// Targets that each operator may revoke now.
    pub(super) revocable: Arc<DefaultKeyedRateLimiter<String>>,
    pub(super) keys: KeyManagement,
    pub(super) metrics: Arc<Metrics>,
}

/// The parts of a node that its gRPC services ask.
#[allow(missing_docs)]
pub struct GrpcParts {
    pub consensus: Consensus,
    pub feed: FeedHub,
    pub inspector: Inspector,
    pub policies: Policies,
    /// Targets that one operator may revoke per second, and as many at once.
    pub revocations_per_second: NonZeroU32,
    pub keys: KeyManagement,
    pub auditor: Auditor,
    pub metrics: Arc<Metrics>,
    /// Asked before a token of the feed is judged: may an address without a certificate ask once more?
    pub address_allowance: AddressAllowance,
}

/// Takes a request from the allowance of an address; false when nothing is left.
pub type AddressAllowance = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

impl AuthorityService {
    pub(super) fn new(parts: GrpcParts) -> Self {
        let GrpcParts {
            consensus,
            feed,
            inspector,
            policies,
            revocations_per_second,
            keys,
            auditor: _,
            metrics,
            address_allowance: _,
        } = parts;
        Self {
            consensus,
            feed,
            inspector,
            policies,
            watches: LongAnswers::new(WATCHES),
            revocable: Arc::new(RateLimiter::keyed(Quota::per_second(
                revocations_per_second,
            ))),
            keys,
            metrics,
        }
    }
}
