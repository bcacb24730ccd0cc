//! Types with which openraft is told what this cluster replicates.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use hessra_state::{Applied, Incarnation, Stamped};
use openraft::impls::OneshotResponder;
use openraft::{AsyncRuntime, RaftTypeConfig, TokioRuntime};

use crate::image::SnapshotImage;

/// Raft types of the cluster, generic over the runtime so that the simulation can seed openraft's randomness.
pub struct Types<R = TokioRuntime>(PhantomData<fn() -> R>);

/// Raft types of a node.
pub type TokioTypes = Types<TokioRuntime>;

/// Concurrent commands, coalesced by the leader into one log entry. Clones share them: an entry is read to be sent to
/// every follower, to be applied, and to be audited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal(pub Arc<[Stamped]>);

impl From<Vec<Stamped>> for Proposal {
    fn from(commands: Vec<Stamped>) -> Self {
        Self(commands.into())
    }
}

/// Answers of the state machine, in the order of the proposal's commands. Empty for entries without commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(pub Vec<Applied>);

/// Addresses of a member of the cluster, and its store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// `host:port` for the other members.
    pub peer_address: String,
    /// `host:port` for clients.
    pub public_address: String,
    /// Store with which it votes. Every voter has one; a learner gets it with its vote.
    pub incarnation: Option<Incarnation>,
}

impl<R: AsyncRuntime> RaftTypeConfig for Types<R> {
    type D = Proposal;
    type R = Answers;
    type NodeId = u64;
    type Node = Member;
    type Entry = openraft::Entry<Self>;
    type SnapshotData = SnapshotImage;
    type AsyncRuntime = R;
    type Responder = OneshotResponder<Self>;
}

// Written out because a derive would ask the same of `R`, which is only a name here.
impl<R> Clone for Types<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for Types<R> {}
impl<R> Default for Types<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<R> PartialEq for Types<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<R> Eq for Types<R> {}
impl<R> PartialOrd for Types<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<R> Ord for Types<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
impl<R> fmt::Debug for Types<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}
