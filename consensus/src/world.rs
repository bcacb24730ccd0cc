//! The world around consensus: everything that it does not do itself.
//!
//! A node brings gRPC, the machine's clocks and its metrics; the simulation brings a network that loses messages, clocks
//! that drift and one seed for all randomness. The code between is the same.

use openraft::AsyncRuntime;
use tokio_util::sync::CancellationToken;

use hessra_revocation::{Monotonic, UnixMillis};

use crate::measurement::Measurement;
use crate::peers::Peers;
use crate::trace::{Step, TracedChange};

/// World that consensus is given by the process that it runs in. Cheap to clone; all clones are one.
pub trait World: Clone + Send + Sync + 'static {
    /// Runs tasks and draws openraft's random numbers.
    type Runtime: AsyncRuntime;
    /// The way to the other members.
    type Peers: Peers<Self::Runtime>;

    /// The way to the other members.
    fn peers(&self) -> &Self::Peers;

    /// Monotonic time of this process, in milliseconds since some instant of its own.
    fn monotonic(&self) -> Monotonic;

    /// Wall-clock time.
    fn wall(&self) -> UnixMillis;

    /// Sixteen random bytes that nobody can guess.
    fn random(&self) -> [u8; 16];

    /// Takes note of a figure. Must not block.
    fn measure(&self, measurement: Measurement);

    /// True when steps of changes are taken note of; when not, they are not put together.
    fn is_tracing(&self) -> bool {
        false
    }

    /// True when steps of this change are taken note of: the same on every node, and known from its request alone.
    fn is_traced(&self, change: &TracedChange) -> bool {
        let _ = change;
        self.is_tracing()
    }

    /// Takes note of a step of a change. Must not block.
    fn trace(&self, step: Step<'_>) {
        let _ = step;
    }
}

/// Runs a task of this world's process until it ends or `stop` is cancelled.
pub(crate) fn spawn_until<W: World>(
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    drop(W::Runtime::spawn(async move {
        let _ = stop.run_until_cancelled(task).await;
    }));
}

#[cfg(test)]
pub(crate) mod lonely {
    //! A world without other members, on tokio's clock: for tests of one node's parts.

    use std::time::Duration;

    use hessra_proto::status::{Failure, Reason};
    use hessra_proto::v1::raft::InspectResponse;
    use hessra_sled::{TokioTypes, Vote};
    use hessra_state::Stamped;
    use openraft::raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    };
    use openraft::{Snapshot, TokioRuntime};
    use tokio::time::Instant;

    use super::*;
    use crate::membership::Change;
    use crate::peers::{Peer, PeerError, Proposed};

    #[derive(Clone)]
    pub(crate) struct Lonely(Instant);

    impl Lonely {
        pub(crate) fn new() -> Self {
            Self(Instant::now())
        }
    }

    impl World for Lonely {
        type Runtime = TokioRuntime;
        type Peers = Self;

        fn peers(&self) -> &Self {
            self
        }

        fn monotonic(&self) -> Monotonic {
            Monotonic(u64::try_from(self.0.elapsed().as_millis()).unwrap())
        }

        fn wall(&self) -> UnixMillis {
            UnixMillis(1_767_225_600_000 + self.monotonic().0)
        }

        fn random(&self) -> [u8; 16] {
            [7; 16]
        }

        fn measure(&self, _: Measurement) {}
    }

    fn nobody<T>() -> Result<T, PeerError> {
        Err(Failure::new(Reason::Unavailable, "nobody is there").into())
    }

    impl Peers<TokioRuntime> for Lonely {
        async fn append(
            &self,
            _: &Peer,
            _: AppendEntriesRequest<TokioTypes>,
            _: Duration,
        ) -> Result<AppendEntriesResponse<u64>, PeerError> {
            nobody()
        }

        async fn vote(
            &self,
            _: &Peer,
            _: VoteRequest<u64>,
            _: Duration,
        ) -> Result<VoteResponse<u64>, PeerError> {
            nobody()
        }

        async fn snapshot(
            &self,
            _: &Peer,
            _: Vote,
            _: Snapshot<TokioTypes>,
            _: Duration,
        ) -> Result<SnapshotResponse<u64>, PeerError> {
            nobody()
        }

        async fn propose(
            &self,
            _: &Peer,
            _: Vec<Stamped>,
            _: Duration,
        ) -> Result<Proposed, PeerError> {
            nobody()
        }

        async fn read_index(
            &self,
            _: &Peer,
            _: Duration,
        ) -> Result<crate::askers::ReadIndex, PeerError> {
            nobody()
        }

        async fn stand(&self, _: &Peer, _: Duration) -> Result<(), PeerError> {
            nobody()
        }

        async fn change_members(
            &self,
            _: &Peer,
            _: &Change,
            _: Duration,
        ) -> Result<u64, PeerError> {
            nobody()
        }

        async fn inspect(
            &self,
            _: &Peer,
            _: bool,
            _: Duration,
        ) -> Result<InspectResponse, PeerError> {
            nobody()
        }
    }
}
