//! States the heads of this node's audit chains to the cluster, so that other members know how far they are.
//!
//! A head is stated when the cluster knows none of its chain yet, and then once a minute while there is something new. A
//! chain that cannot be written states nothing. What the cluster refuses is an alarm: the chain here is not the one that
//! it has witnessed, and the audit's thread closes it for the same reason.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use hessra_audit::Chain;
use hessra_proto::status::Failure;
use hessra_state::{Applied, ChainName, Command, Duty, Witness};

use crate::audit::Auditor;
use crate::world::Consensus;

/// Time between two looks at whether a head is to be stated.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two heads of a chain: what a thief of the whole data directory can take back unseen.
const STATE_EVERY: Duration = Duration::from_secs(60);

/// States heads until `stop` is cancelled.
pub(super) async fn run(consensus: Consensus, auditor: Auditor, stop: CancellationToken) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stated: [Option<Instant>; Chain::ALL.len()] = [None; Chain::ALL.len()];
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stop.cancelled() => return,
        }
        for (chain, last) in Chain::ALL.into_iter().zip(&mut stated) {
            if !is_due(&consensus, &auditor, chain, *last) {
                continue;
            }
            *last = Some(Instant::now());
            if let Some(witness) = auditor.statement(chain) {
                state(&consensus, witness).await;
            }
        }
    }
}

fn is_due(consensus: &Consensus, auditor: &Auditor, chain: Chain, last: Option<Instant>) -> bool {
    let state = consensus.state();
    let name = ChainName {
        node: consensus.raft().identity().id,
        chain: chain.as_str().to_owned(),
    };
    if !state.is_initialized() {
        return false;
    }
    let written = auditor.written_of(chain).borrow().head.seq;
    match state.witnessed().find(&name) {
        // Soon, not with every look: a proposal may be under way, or its answer lost.
        None => last.is_none_or(|last| last.elapsed() >= Duration::from_secs(5)),
        Some(known) if known.loss_accepted => {
            last.is_none_or(|last| last.elapsed() >= Duration::from_secs(5))
        }
        Some(known) => {
            known.head.seq != written && last.is_none_or(|last| last.elapsed() >= STATE_EVERY)
        }
    }
}

async fn state(consensus: &Consensus, witness: Witness) {
    let (chain, seq) = (witness.name.chain.clone(), witness.head.seq);
    let command = Command::Witness(witness);
    let (asked, deadline) = (consensus.asked_by_node(Duty::Witness), consensus.deadline());
    match consensus.propose(command, asked, deadline).await {
        Ok(committed) => match committed.applied {
            Applied::Witnessed => debug!(chain, seq, "audit: head witnessed"),
            other => warn!(chain, seq, ?other, "audit: head not witnessed"),
        },
        Err(error) => {
            warn!(chain, seq, error = %Failure::from(error), "audit: head not witnessed");
        }
    }
}
