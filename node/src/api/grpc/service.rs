//! The parts of a node that its gRPC services ask.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::{Response, Status};

use crate::audit::Auditor;
use crate::keys::KeyManagement;
use crate::policy::Policies;
use crate::telemetry::Metrics;
use crate::world::{Consensus, FeedHub, Inspector};

/// Watches of one node at a time: each counts the verifiers anew up to twenty times a second.
const WATCHES_MAX: usize = 64;

/// Answer of a method.
pub(super) type Answer<T> = Result<Response<T>, Status>;

/// The services of operators. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct AuthorityService {
    pub(super) consensus: Consensus,
    pub(super) feed: FeedHub,
    pub(super) inspector: Inspector,
    pub(super) policies: Policies,
    pub(super) watches: Arc<Semaphore>,
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
    pub keys: KeyManagement,
    pub auditor: Auditor,
    pub metrics: Arc<Metrics>,
}

impl AuthorityService {
    pub(super) fn new(parts: GrpcParts) -> Self {
        let GrpcParts {
            consensus,
            feed,
            inspector,
            policies,
            keys,
            auditor: _,
            metrics,
        } = parts;
        Self {
            consensus,
            feed,
            inspector,
            policies,
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
            keys,
            metrics,
        }
    }
}
