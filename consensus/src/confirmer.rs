//! One confirmation of the quorum at a time, for all who wait for one.
//!
//! A reader that asks while a round is under way waits for the next: a confirmation counts only for those who asked
//! before it began. So a thousand readers cost as many messages as one.

use std::time::Duration;

use hessra_revocation::{Monotonic, UnixMillis};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::askers::{LastAsked, ReadIndex};
use crate::error::ReadError;
use crate::measurement::Measurement;
use crate::peers::Peers as _;
use crate::plant::{Plant, is_planted};
use crate::raft::RaftHandle;
use crate::status::StopReason;
use crate::world::{World, spawn_until};

/// Readers that may wait for one round; more are told that there is no quorum to be had in time.
const WAITING_MAX: usize = 8_192;
/// A round takes one heartbeat interval at most at the leader; the rest is the way there and back.
const ROUND_TIMEOUT: Duration = Duration::from_millis(1_000);

/// The instant at which a confirmation of the quorum began, on both clocks of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Began {
    pub tick: Monotonic,
    pub wall: UnixMillis,
}

impl Began {
    fn now(world: &impl World) -> Self {
        Self {
            tick: world.monotonic(),
            wall: world.wall(),
        }
    }
}

/// A quorum stood behind a leader at some moment after `began`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Log index at or above everything that was acknowledged before `began`.
    pub index: u64,
    /// Beginning of the confirmation.
    pub began: Began,
}

impl Confirmation {
    /// Confirmation that no quorum gave, for [`Plant::StaleRead`] and [`Plant::HeartbeatWithoutQuorum`].
    pub(crate) fn now(world: &impl World) -> Self {
        Self {
            index: 0,
            began: Began::now(world),
        }
    }
}

type Waiter = oneshot::Sender<Result<Confirmation, ReadError>>;

/// The queue of readers that wait for the next round.
pub(crate) struct Confirmer {
    waiting: mpsc::Sender<Waiter>,
}

impl Confirmer {
    pub(crate) fn start<W: World>(raft: RaftHandle<W>, world: W, stop: &CancellationToken) -> Self {
        let (waiting, waiters) = mpsc::channel(WAITING_MAX);
        spawn_until::<W>(stop, rounds(raft, world, waiters));
        Self { waiting }
    }

    pub(crate) async fn confirm(&self) -> Result<Confirmation, ReadError> {
        let (answer, confirmed) = oneshot::channel();
        self.waiting
            .try_send(answer)
            .map_err(|_| ReadError::NoQuorum)?;
        confirmed.await.unwrap_or_else(|_| {
            Err(ReadError::Stopped(StopReason::failed(
                "the node is stopping",
            )))
        })
    }
}

async fn rounds<W: World>(raft: RaftHandle<W>, world: W, mut waiters: mpsc::Receiver<Waiter>) {
    let mut round = Vec::new();
    while waiters.recv_many(&mut round, WAITING_MAX).await > 0 {
        // INVARIANT: the clock is read after the last waiter asked and before the first message is sent.
        let mut began = Began::now(&world);
        let started = Instant::now();
        let outcome = timeout(ROUND_TIMEOUT, confirm_anywhere(&raft, &world))
            .await
            .unwrap_or(Err(ReadError::NoQuorum));
        world.measure(Measurement::ConfirmationTook(started.elapsed()));
        if is_planted(Plant::HeartbeatStampedLate) {
            began = Began::now(&world);
        }
        let outcome = outcome.map(|ReadIndex { index, lately }| {
            let last = LastAsked::new(began.tick, &lately, world.monotonic());
            raft.askers().take(last);
            Confirmation { index, began }
        });
        for waiter in round.drain(..) {
            // A reader that gave up is no error.
            let _ = waiter.send(outcome.clone());
        }
    }
}

async fn confirm_anywhere<W: World>(
    raft: &RaftHandle<W>,
    world: &W,
) -> Result<ReadIndex, ReadError> {
    if raft.is_leader() {
        let index = raft.confirm().await?;
        return Ok(raft.read_index(index, world.monotonic()));
    }
    let leader = raft.leader().ok_or(ReadError::NoLeader)?;
    if leader.id == raft.identity().id {
        // Elected in this instant: the next round confirms it.
        return Err(ReadError::NoLeader);
    }
    match world.peers().read_index(&leader, ROUND_TIMEOUT).await {
        Ok(read) => Ok(read),
        Err(error) => {
            tracing::debug!(leader = leader.id, %error, "the leader did not confirm its quorum");
            Err(ReadError::NoQuorum)
        }
    }
}
