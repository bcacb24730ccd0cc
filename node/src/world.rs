//! The world that a node brings to consensus: gRPC to the other members, the machine's clocks, the metrics.

use std::sync::Arc;

use openraft::TokioRuntime;

use hessra_consensus::trace::{Step, TracedChange};
use hessra_consensus::{Measurement, World};
use hessra_revocation::{Monotonic, UnixMillis};

use crate::edge::{Clock, random_16};
use crate::peers::PeerClients;
use crate::telemetry::{Metrics, Traces};

/// Consensus of a node.
pub type Consensus = hessra_consensus::Consensus<NodeWorld>;
/// The inspector of a node.
pub type Inspector = hessra_consensus::Inspector<NodeWorld>;
/// The feed of a node.
pub type FeedHub = hessra_consensus::feed::FeedHub<NodeWorld>;

/// The process around consensus. Cheap to clone; all clones are one.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct NodeWorld {
    pub clock: Clock,
    pub peers: Arc<PeerClients>,
    pub metrics: Arc<Metrics>,
    pub traces: Traces,
}

impl World for NodeWorld {
    type Runtime = TokioRuntime;
    type Peers = PeerClients;

    fn peers(&self) -> &PeerClients {
        &self.peers
    }

    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }

    fn wall(&self) -> UnixMillis {
        self.clock.wall()
    }

    fn random(&self) -> [u8; 16] {
        random_16()
    }

    fn measure(&self, measurement: Measurement) {
        self.metrics.record(measurement);
    }

    fn is_tracing(&self) -> bool {
        self.traces.are_on()
    }

    fn is_traced(&self, change: &TracedChange) -> bool {
        self.traces.has(change)
    }

    fn trace(&self, step: Step<'_>) {
        self.traces.step(&step);
    }
}
