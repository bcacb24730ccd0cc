//! The seam between this member and the others: what one asks of another.
//!
//! Behind it a node has gRPC over mutual TLS, and the simulation has links that lose and delay. The answering side is
//! [`crate::Inbound`]: the two halves speak of the same types, and every refusal is a [`Failure`] on both.

use std::future::Future;
use std::time::Duration;

use hessra_proto::status::Failure;
use hessra_proto::v1::raft::InspectResponse;
use hessra_sled::{Member, Types, Vote};
use hessra_state::{Applied, Stamped, Start};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, Snapshot};

use crate::askers::ReadIndex;
use crate::membership::Change;

/// Another member, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Peer {
    pub id: u64,
    pub member: Member,
    /// Stores between which it is asked: carried with every request, and shown to the answering side as its sender's.
    pub between: Between,
}

/// Stores between which a request is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// Start of the sender.
    pub from: Start,
    /// Newest start of the receiver that the sender knows; `None`: it knows no store of it.
    pub to: Option<Start>,
    /// Log index up to which the receiver has acknowledged entries to this leader; 0: none.
    pub acknowledged: u64,
}

/// Error of a request to which another member gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Refusal of the member, or failure to reach it: see the reason.
    #[error("{0}")]
    Failed(#[from] Failure),
    /// One message cannot carry all of these entries; the first `fitting` fit.
    #[error("the entries are too large for one message: {fitting} of them fit")]
    TooLarge {
        /// Number of entries that fit, at least 1.
        fitting: u64,
    },
    /// Answer of a member that runs another version: a sentence.
    #[error("{0}")]
    Unreadable(String),
}

/// A batch that the leader made durable for another member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposed {
    /// Answers in the order of the commands.
    pub answers: Vec<Applied>,
    /// Log index of the entry.
    pub index: u64,
    /// Members whose log was known to hold it when the leader answered.
    pub holders: usize,
}

/// Requests to other members. Each returns within the time it is given, or an error.
///
/// An error never says that nothing happened, unless its reason does: a request that timed out may have arrived.
pub trait Peers<R: AsyncRuntime>: Send + Sync + 'static {
    /// Entries of the log, from the leader.
    fn append(
        &self,
        to: &Peer,
        request: AppendEntriesRequest<Types<R>>,
        within: Duration,
    ) -> impl Future<Output = Result<AppendEntriesResponse<u64>, PeerError>> + Send;

    /// A vote, for a candidate.
    fn vote(
        &self,
        to: &Peer,
        request: VoteRequest<u64>,
        within: Duration,
    ) -> impl Future<Output = Result<VoteResponse<u64>, PeerError>> + Send;

    /// A whole snapshot, from the leader.
    fn snapshot(
        &self,
        to: &Peer,
        vote: Vote,
        snapshot: Snapshot<Types<R>>,
        within: Duration,
    ) -> impl Future<Output = Result<SnapshotResponse<u64>, PeerError>> + Send;

    /// Commands for the leader to propose. It answers with one answer per command, in their order.
    fn propose(
        &self,
        to: &Peer,
        commands: Vec<Stamped>,
        within: Duration,
    ) -> impl Future<Output = Result<Proposed, PeerError>> + Send;

    /// Read-index (Raft §6.4): the leader confirms its quorum and names the log index that a reader must have applied.
    fn read_index(
        &self,
        to: &Peer,
        within: Duration,
    ) -> impl Future<Output = Result<ReadIndex, PeerError>> + Send;

    /// Asks the member to stand for election now.
    fn stand(
        &self,
        to: &Peer,
        within: Duration,
    ) -> impl Future<Output = Result<(), PeerError>> + Send;

    /// A change of the members, for the leader to make. Answers with the log index of the membership after it.
    fn change_members(
        &self,
        to: &Peer,
        change: &Change,
        within: Duration,
    ) -> impl Future<Output = Result<u64, PeerError>> + Send;

    /// Report of the member on itself, and on its verifiers when `verifiers` is set.
    fn inspect(
        &self,
        to: &Peer,
        verifiers: bool,
        within: Duration,
    ) -> impl Future<Output = Result<InspectResponse, PeerError>> + Send;
}
