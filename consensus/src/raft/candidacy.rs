//! A candidate that was not elected stands again, each time after another random pause.
//!
//! Raft ends a split vote by drawing a new time-out for every election (Ongaro and Ousterhout, "In Search of an
//! Understandable Consensus Algorithm", §5.2). openraft 0.9 draws it once in the life of a process and looks at it at
//! every tick only, so that two survivors with one and the same number of ticks stand at the same instants, vote for
//! themselves, and have no leader until one of them is restarted. Here openraft's timer still notices that a leader is
//! gone; what a candidate does after its first try is decided here.
//!
//! Nor does a member of openraft 0.9 take over the term of a candidate whose log is shorter than its own. Of two members that are
//! left, the one that could win would stand in terms that the other one has used already, for as long as they take
//! turns. So a candidate that failed for its term alone stands again at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::raft::{VoteRequest, VoteResponse};
use openraft::{AsyncRuntime, NodeId, Raft, RaftTypeConfig, ServerState, Vote};
use rand::Rng as _;
use tokio::sync::Notify;

/// The longest pause doubles so many times: where votes take longer than the pauses differ, they soon differ more.
const DOUBLINGS_MAX: u32 = 3;

/// Facts that this node has learned as a candidate. One per process.
#[derive(Debug, Default)]
pub(super) struct Candidacy {
    /// A voter has a longer log: it can win where this node cannot, and is disturbed by every further try.
    behind: AtomicBool,
    /// Signal that a voter with a shorter log refused because it had given its vote in that term or in a later one.
    outdated: Notify,
}

impl Candidacy {
    /// Takes note of a voter's answer.
    pub(super) fn heard<N: NodeId>(&self, asked: &VoteRequest<N>, answer: &VoteResponse<N>) {
        if answer.last_log_id > asked.last_log_id {
            self.behind.store(true, Ordering::Relaxed);
        } else if answer.last_log_id < asked.last_log_id && is_outdated(asked, answer) {
            self.outdated.notify_one();
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
                    tokio::select! {
                        biased;
                        () = self.outdated.notified() => {}
                        () = C::AsyncRuntime::sleep(random_pause::<C>(attempt, shortest, longest)) => {}
                    }
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

/// True when the voter has given its vote in the term that was asked for, or in a later one.
fn is_outdated<N: NodeId>(asked: &VoteRequest<N>, answer: &VoteResponse<N>) -> bool {
    let term = |vote: &Vote<N>| vote.leader_id().get_term();
    answer.vote != asked.vote && term(&answer.vote) >= term(&asked.vote)
}

fn random_pause<C: RaftTypeConfig>(
    attempt: u32,
    shortest: Duration,
    longest: Duration,
) -> Duration {
    let spread = longest.saturating_sub(shortest) * 2_u32.pow(attempt.min(DOUBLINGS_MAX));
    shortest + C::AsyncRuntime::thread_rng().gen_range(Duration::ZERO..=spread)
}

#[cfg(test)]
mod tests {
    use openraft::testing::log_id;

    use super::*;

    /// Outcome of one answer: has a voter with a longer log, should stand again at once.
    fn heard(own: u64, theirs: u64, vote: Vote<u64>) -> (bool, bool) {
        let candidacy = Candidacy::default();
        let asked = VoteRequest::new(Vote::new(5, 1), Some(log_id(1, 0, own)));
        let answer = VoteResponse::new(vote, Some(log_id(1, 0, theirs)), vote == asked.vote);
        candidacy.heard(&asked, &answer);
        let signal = candidacy.outdated.notified();
        let is_told = futures::FutureExt::now_or_never(signal).is_some();
        (candidacy.behind.into_inner(), is_told)
    }

    #[test]
    fn a_candidate_that_failed_for_its_term_alone_stands_again_at_once() {
        for used in [Vote::new(5, 3), Vote::new(6, 3)] {
            assert_eq!(heard(24, 17, used), (false, true));
        }
    }

    #[test]
    fn one_that_was_granted_a_vote_or_has_no_longer_log_does_not() {
        assert_eq!(heard(24, 17, Vote::new(5, 1)), (false, false));
        // Equal logs: one of the two draws a shorter pause.
        assert_eq!(heard(24, 24, Vote::new(5, 3)), (false, false));
        assert_eq!(heard(17, 24, Vote::new(5, 3)), (true, false));
        // Bound to a leader of an earlier term for a while.
        assert_eq!(heard(24, 17, Vote::new_committed(4, 3)), (false, false));
    }
}
