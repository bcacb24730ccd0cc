//! One confirmation of the quorum at a time, for all who wait for one.
//!
//! Who asks while a round is under way waits for the next: a confirmation counts only for those who asked before it
//! began. So a thousand readers cost as many messages as one.

use std::time::Duration;

use hessra_proto::v1::raft::ReadIndexRequest;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Began, Confirmation};
use crate::edge::Clock;
use crate::raft::peers::within;
use crate::raft::{ConfirmError, RaftHandle};

/// Readers that may wait for one round; more are told that there is no quorum to be had in time.
const WAITING_MAX: usize = 8_192;
/// A round takes one heartbeat interval at most at the leader; the rest is the way there and back.
const ROUND_TIMEOUT: Duration = Duration::from_millis(1_000);

type Waiter = oneshot::Sender<Result<Confirmation, ConfirmError>>;

pub(super) struct Confirmer {
    waiting: mpsc::Sender<Waiter>,
}

impl Confirmer {
    pub(super) fn start(raft: RaftHandle, clock: Clock, stop: CancellationToken) -> Self {
        let (waiting, waiters) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move { stop.run_until_cancelled(rounds(raft, clock, waiters)).await });
        Self { waiting }
    }

    pub(super) async fn confirm(&self) -> Result<Confirmation, ConfirmError> {
        let (answer, confirmed) = oneshot::channel();
        self.waiting
            .try_send(answer)
            .map_err(|_| ConfirmError::NoQuorum)?;
        confirmed
            .await
            .unwrap_or_else(|_| Err(ConfirmError::Stopped("the node is stopping".to_owned())))
    }
}

async fn rounds(raft: RaftHandle, clock: Clock, mut waiters: mpsc::Receiver<Waiter>) {
    let mut round = Vec::new();
    while waiters.recv_many(&mut round, WAITING_MAX).await > 0 {
        // INVARIANT: the clock is read after the last waiter asked and before the first message is sent.
        let began = Began {
            tick: clock.monotonic(),
            wall: clock.wall(),
        };
        let started = Instant::now();
        let outcome = timeout(ROUND_TIMEOUT, confirm_anywhere(&raft))
            .await
            .unwrap_or(Err(ConfirmError::NoQuorum));
        crate::telemetry::metrics()
            .confirmation_duration
            .record(started.elapsed().as_secs_f64(), &[]);
        let outcome = outcome.map(|index| Confirmation { index, began });
        for waiter in round.drain(..) {
            // A reader that gave up is no error.
            let _ = waiter.send(outcome.clone());
        }
    }
}

async fn confirm_anywhere(raft: &RaftHandle) -> Result<u64, ConfirmError> {
    if raft.is_leader() {
        return raft.confirm().await;
    }
    let (leader, member) = raft.leader().ok_or(ConfirmError::NotLeader)?;
    if leader == raft.identity().id {
        // Elected in this instant: the next round confirms it.
        return Err(ConfirmError::NotLeader);
    }
    let request = ReadIndexRequest {
        cluster_id: raft.peers().cluster_id(),
    };
    let mut client = raft.peers().client(leader, &member);
    match client.read_index(within(request, ROUND_TIMEOUT)).await {
        Ok(response) => Ok(response.into_inner().index),
        Err(error) => {
            tracing::debug!(leader, %error, "the leader did not confirm its quorum");
            Err(ConfirmError::NoQuorum)
        }
    }
}
