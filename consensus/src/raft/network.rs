//! openraft's network over the seam: appends, votes and snapshots, one [`Network`] per replication stream.
//!
//! A peer that cannot be reached is tried again after a pause that grows; timeouts are those that openraft gives.
#![allow(
    clippy::result_large_err,
    reason = "openraft's error type, made only when a message failed"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hessra_proto::status::Reason;
use hessra_sled::{Durability, LogId, Member, Types, Vote};
use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, Snapshot};
use tokio::time::{Instant, timeout};

use super::RaftSettings;
use super::candidacy::Candidacy;
use super::refusals::Refusals;
use crate::measurement::Measurement;
use crate::peers::{Peer, PeerError, Peers as _};
use crate::plant::{Plant, is_planted};
use crate::stores::Stores;
use crate::world::World;

/// Pauses before an unreachable peer is tried again: from short, because a restart takes a second, to two seconds.
const BACKOFF_MS: [u64; 6] = [50, 100, 200, 400, 800, 2_000];

/// Share of the time that openraft gives an append for which it may wait for this leader's disk.
const DISK_SHARE: u32 = 4;

/// Makes one [`Network`] per replication stream.
pub(super) struct Factory<W> {
    world: W,
    stores: Stores,
    durability: Durability,
    candidacy: Arc<Candidacy>,
    refusals: Refusals,
    snapshot_timeout: Duration,
}

impl<W: World> Factory<W> {
    pub(super) fn new(
        (world, stores, durability): (W, Stores, Durability),
        (candidacy, refusals): (Arc<Candidacy>, Refusals),
        settings: &RaftSettings,
    ) -> Self {
        Self {
            world,
            stores,
            durability,
            candidacy,
            refusals,
            snapshot_timeout: settings.snapshot_timeout,
        }
    }
}

impl<W: World> RaftNetworkFactory<Types<W::Runtime>> for Factory<W> {
    type Network = Network<W>;

    async fn new_client(&mut self, target: u64, member: &Member) -> Network<W> {
        Network {
            id: target,
            member: member.clone(),
            acknowledged: 0,
            untold: None,
            world: self.world.clone(),
            stores: self.stores.clone(),
            durability: self.durability.clone(),
            candidacy: Arc::clone(&self.candidacy),
            refusals: self.refusals.clone(),
            snapshot_timeout: self.snapshot_timeout,
        }
    }
}

/// The requests of openraft to one peer.
pub(super) struct Network<W> {
    id: u64,
    member: Member,
    /// Log index up to which the peer has acknowledged entries to this stream.
    acknowledged: u64,
    /// Entry that openraft takes for committed, and that the peer is not told of yet.
    untold: Option<LogId>,
    world: W,
    stores: Stores,
    durability: Durability,
    candidacy: Arc<Candidacy>,
    refusals: Refusals,
    snapshot_timeout: Duration,
}

type RpcError = RPCError<u64, Member, RaftError<u64>>;

impl<W: World> Network<W> {
    /// The peer, as it is asked now.
    fn peer(&self) -> Peer {
        let mut between = self.stores.between(self.id, &self.member);
        between.acknowledged = self.acknowledged;
        Peer {
            id: self.id,
            member: self.member.clone(),
            between,
        }
    }

    /// Newest entry that is committed and may be said to be: openraft counts this leader for an entry that its own disk does not
    /// have yet. The message that brings nothing else waits for the disk, for a while; one with entries goes at once.
    async fn tellable(
        &mut self,
        committed: Option<LogId>,
        patience: Option<Duration>,
    ) -> Option<LogId> {
        let newest = committed?;
        if is_planted(Plant::CommitBeforeOwnFsync) {
            return Some(newest);
        }
        if let Some(patience) = patience {
            // Whether it came in time is asked next.
            let _ = timeout(patience, self.durability.through(newest.index)).await;
        }
        if self.durability.has(newest.index) {
            self.untold = None;
            return Some(newest);
        }
        let told = self.untold.filter(|id| self.durability.has(id.index));
        if told.is_some() || self.untold.is_none() {
            self.untold = Some(newest);
        }
        told
    }

    /// Heeds a peer that says why this node is not wanted.
    fn heed(&self, error: PeerError) -> PeerError {
        self.stores.heed(self.id, &error);
        error
    }
}

impl<W: World> RaftNetwork<Types<W::Runtime>> for Network<W> {
    async fn append_entries(
        &mut self,
        mut request: AppendEntriesRequest<Types<W::Runtime>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let is_alone = request.entries.is_empty();
        let patience = is_alone.then(|| option.hard_ttl() / DISK_SHARE);
        request.leader_commit = self.tellable(request.leader_commit, patience).await;
        let begun = Instant::now();
        let peers = self.world.peers();
        let sent = last_index(&request);
        let term = request.vote.leader_id().term;
        let answer = peers.append(&self.peer(), request, option.hard_ttl()).await;
        if !is_alone {
            self.refusals.heard(self.id, term, &answer);
        }
        let answer = answer.map_err(|error| rpc_error(self.heed(error)))?;
        let reached = match &answer {
            AppendEntriesResponse::Success => sent,
            AppendEntriesResponse::PartialSuccess(matching) => matching.map_or(0, |id| id.index),
            _ => 0,
        };
        self.acknowledged = self.acknowledged.max(reached);
        self.world.measure(Measurement::AppendTook(begun.elapsed()));
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        let asked = request.clone();
        let peers = self.world.peers();
        let answer = peers.vote(&self.peer(), request, option.hard_ttl()).await;
        let answer = answer.map_err(|error| rpc_error(self.heed(error)))?;
        self.candidacy.heard(&asked, &answer);
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types<W::Runtime>>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types<W::Runtime>, Fatal<u64>>> {
        let bytes = snapshot.snapshot.len();
        let (peer, upto) = (self.peer(), snapshot.meta.last_log_id);
        tracing::info!(peer = self.id, bytes, "started to send a snapshot");
        let peers = self.world.peers();
        let sent = peers.snapshot(&peer, vote, snapshot, self.snapshot_timeout);
        let answer = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = sent => answer,
        };
        let answer = answer
            .map_err(|error| StreamingError::Unreachable(Unreachable::new(&self.heed(error))))?;
        if answer.vote == vote {
            self.acknowledged = self.acknowledged.max(upto.map_or(0, |id| id.index));
        }
        tracing::info!(peer = self.id, bytes, "sent a snapshot");
        Ok(answer)
    }

    fn backoff(&self) -> Backoff {
        let last = BACKOFF_MS[BACKOFF_MS.len() - 1];
        Backoff::new(
            BACKOFF_MS
                .into_iter()
                .chain(std::iter::repeat(last))
                .map(Duration::from_millis),
        )
    }
}

/// Index of the last entry that an append makes sure of.
fn last_index<R: AsyncRuntime>(request: &AppendEntriesRequest<Types<R>>) -> u64 {
    let sent = request.entries.last().map(|entry| entry.log_id.index);
    let known = request.prev_log_id.map(|id| id.index);
    sent.or(known).unwrap_or(0)
}

/// Unreachable peers are left alone for a while; everything else is tried again at once.
fn rpc_error(error: PeerError) -> RpcError {
    match error {
        PeerError::TooLarge { fitting } => PayloadTooLarge::new_entries_hint(fitting).into(),
        PeerError::Failed(failure) if leaves_alone(failure.reason) => {
            RPCError::Unreachable(Unreachable::new(&failure))
        }
        error => RPCError::Network(NetworkError::new(&error)),
    }
}

/// The peer is not there, is not who it should be, or does not serve this: trying again at once changes nothing.
fn leaves_alone(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Unavailable
            | Reason::NoLeader
            | Reason::Stale
            | Reason::NotPermitted
            | Reason::Unauthenticated
            | Reason::Unsupported
            | Reason::Denied
            | Reason::Conflict
            | Reason::QuorumLost
            | Reason::Removed
            | Reason::Disowned
            | Reason::ClockOff
            | Reason::Degraded
    )
}
