//! A candidate that was not elected stands again, each time after another random pause.
//!
//! Raft ends a split vote by drawing a new time-out for every election (Ongaro and Ousterhout, "In Search of an
//! Understandable Consensus Algorithm", §5.2). openraft 0.9 draws it once in the life of a process and looks at it at
//! every tick only, so that two survivors with one and the same number of ticks stand at the same instants, vote for
//! themselves, and have no leader until one of them is restarted. Here openraft's timer still notices that a leader is
//! gone; what a candidate does after its first try is decided here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::raft::{VoteRequest, VoteResponse};
use openraft::{AsyncRuntime, NodeId, Raft, RaftTypeConfig, ServerState};
use rand::Rng as _;

/// The longest pause doubles so many times: where votes take longer than the pauses differ, they soon differ more.
const DOUBLINGS_MAX: u32 = 3;

/// Facts that this node has learned as a candidate. One per process.
#[derive(Debug, Default)]
pub(super) struct Candidacy {
    /// A voter has a longer log: it can win where this node cannot, and is disturbed by every further try.
    behind: AtomicBool,
}

impl Candidacy {
    /// Takes note of a voter's answer.
    pub(super) fn heard<N: NodeId>(&self, asked: &VoteRequest<N>, answer: &VoteResponse<N>) {
        if answer.last_log_id > asked.last_log_id {
            self.behind.store(true, Ordering::Relaxed);
        }
    }

    /// Times the elections of this node from its second try on. Returns when consensus has stopped.
    ///
    /// `shortest`, `longest`: the bounds of the first pause; what one try of openraft's own takes.
    pub(super) async fn stand_again_at_random<C: RaftTypeConfig>(
        self: Arc<Self>,
        raft: Raft<C>,
        shortest: Duration,
        longest: Duration,
    ) {
        let mut metrics = raft.metrics();
        while metrics
            .wait_for(|metrics| metrics.state == ServerState::Candidate)
            .await
            .is_ok()
        {
            raft.runtime_config().elect(false);
            for attempt in 0.. {
                let over = async {
                    let over = metrics.wait_for(|metrics| metrics.state != ServerState::Candidate);
                    over.await.is_ok()
                };
                let pause = async {
                    C::AsyncRuntime::sleep(random_pause::<C>(attempt, shortest, longest)).await;
                    if self.behind.swap(false, Ordering::Relaxed) {
                        C::AsyncRuntime::sleep(longest * 2).await;
                    }
                };
                tokio::select! {
                    biased;
                    running = over => if running { break } else { return },
                    () = pause => {}
                }
                if raft.trigger().elect().await.is_err() {
                    return;
                }
            }
            raft.runtime_config().elect(true);
        }
    }
}

fn random_pause<C: RaftTypeConfig>(
    attempt: u32,
    shortest: Duration,
    longest: Duration,
) -> Duration {
    let spread = longest.saturating_sub(shortest) * 2_u32.pow(attempt.min(DOUBLINGS_MAX));
    shortest + C::AsyncRuntime::thread_rng().gen_range(Duration::ZERO..=spread)
}
