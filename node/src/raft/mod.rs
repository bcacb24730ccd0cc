//! Consensus, as the rest of the node sees it: write a batch, confirm a quorum, read who leads.
//!
//! ```text
//! authority ──write──▶ RaftHandle ──▶ openraft ──▶ storage (log, machine)
//!                          │              └──▶ network ──mTLS──▶ server of another member
//!                          └─published──▶ the state after every applied batch
//! ```
//!
//! openraft's types are named in this folder only. Five facts about openraft 0.9 shape it:
//! - a node that led when it stopped leads again when it starts, with a commit index that may be older than what it
//!   had acknowledged. So such a node confirms nothing until an entry of *this* process has been applied
//!   ([`RaftHandle::confirm`]);
//! - it cannot hand leadership over: the chosen follower is asked to stand ([`membership`]);
//! - its election timer has one length for the life of a process: [`candidacy`] ends a split vote;
//! - a leader that wants to send a snapshot to a follower of a higher term may stop for good ([`STREAM_CLOSED`]): the
//!   process ends, and whoever runs it starts it again;
//! - one append to a follower may take one heartbeat interval, disk included, before it is tried again.
//!
//! It decides nothing about who may write: that is `authority`.

pub mod candidacy;
pub mod deadline;
pub mod membership;
pub mod network;
pub mod peers;
pub mod server;
mod settings;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hessra_sled::{
    Answers, Engine, LogStore, Member, Proposal, Published, Remembered, StateMachine,
    TokioTypes as Types,
};
use hessra_state::{Applied, State};
use openraft::ServerState;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::storage::RaftLogStorage;
use tokio::sync::watch;

pub use candidacy::Candidacy;
pub use peers::{PeerDialer, Peers};
pub use settings::{NodeIdentity, RaftSettings};
pub use standing::{Members, Role, Standing};

use standing::{matched, members, standing};

/// In the reason for which openraft 0.9 has stopped: it wanted to send a snapshot to a follower whose replication task had
/// just learned of a higher term and ended, and took that for an error of the store. The leader is deposed in that
/// instant in any case; when it is started again it follows.
pub const STREAM_CLOSED: &str = "replication channel closed";

/// Consensus of this cluster.
pub type Raft = openraft::Raft<Types>;
type Metrics = openraft::RaftMetrics<u64, Member>;

/// Why consensus could not be started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    #[error(
        "the timing of consensus is not usable: {0}. Set raft.heartbeat below raft.election_min below raft.election_max"
    )]
    Settings(String),
    #[error(
        "consensus could not be started from the data directory: {0}. Run `hessra doctor` on this node's directory, or replace the node"
    )]
    Storage(String),
}

/// Why a batch was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum WriteError {
    /// It may be tried at the leader, with the same request ids.
    #[error("this node does not lead")]
    NotLeader,
    #[error("consensus has stopped on this node: {0}")]
    Stopped(String),
}

/// Why a quorum was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfirmError {
    #[error("this node does not lead")]
    NotLeader,
    #[error("fewer than a quorum of the members answered")]
    NoQuorum,
    #[error("consensus has stopped on this node: {0}")]
    Stopped(String),
}

/// One entry, committed and applied here.
#[derive(Clone, Debug)]
pub struct Written {
    /// Log index of the entry.
    pub index: u64,
    /// In the order of its commands.
    pub answers: Vec<Applied>,
}

/// Consensus of this node. Cheap to clone.
#[derive(Clone)]
pub struct RaftHandle {
    raft: Raft,
    identity: Arc<NodeIdentity>,
    settings: Arc<RaftSettings>,
    published: watch::Receiver<Arc<Published>>,
    remembered: Arc<dyn Remembered>,
    peers: Arc<Peers>,
    restored: Arc<RestoredLeadership>,
}

/// The term in which this node led when its process before this one stopped, until that is harmless.
struct RestoredLeadership {
    term: Option<u64>,
    harmless: AtomicBool,
}

/// Starts consensus over an opened store.
///
/// # Errors
/// When the timing is contradictory, or the store cannot be read: see the sentence.
pub async fn start<E: Engine>(
    (mut log, machine): (LogStore<E>, StateMachine<E>),
    identity: NodeIdentity,
    settings: RaftSettings,
    dialer: Arc<dyn PeerDialer>,
) -> Result<RaftHandle, StartError> {
    let storage = |error: &dyn std::fmt::Display| StartError::Storage(error.to_string());
    let config = Arc::new(settings.config(&identity.cluster)?);
    let vote = log.read_vote().await.map_err(|error| storage(&error))?;
    let led = vote
        .filter(|vote| vote.is_committed() && vote.leader_id().voted_for() == Some(identity.id));
    let restored = RestoredLeadership {
        term: led.map(|vote| vote.leader_id().term),
        harmless: AtomicBool::new(false),
    };
    let (published, remembered) = (machine.watch(), machine.remembered());
    let peers = Arc::new(Peers::new(identity.clone(), dialer));
    let candidacy = Arc::new(Candidacy::default());
    let network = network::Factory::new(Arc::clone(&peers), Arc::clone(&candidacy), &settings);
    let raft = Raft::new(identity.id, config, network, log, machine)
        .await
        .map_err(|error| storage(&error))?;
    let (shortest, longest) = (settings.election_min, settings.election_max);
    tokio::spawn(candidacy.stand_again_at_random(raft.clone(), shortest, longest));
    let (identity, settings, restored) =
        (Arc::new(identity), Arc::new(settings), Arc::new(restored));
    Ok(RaftHandle {
        raft,
        identity,
        settings,
        published,
        remembered,
        peers,
        restored,
    })
}

impl RaftHandle {
    /// First start of a cluster: all initial members call it with one list, and it does nothing where the cluster
    /// is already there.
    ///
    /// # Errors
    /// When this node is not in the list, or consensus has stopped.
    pub async fn initialize(&self, members: BTreeMap<u64, Member>) -> Result<(), WriteError> {
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(WriteError::Stopped(error.to_string())),
        }
    }

    /// Has this node neither voted nor a log: is it the first start on an empty data directory?
    ///
    /// # Errors
    /// When consensus has stopped.
    pub async fn is_untouched(&self) -> Result<bool, WriteError> {
        let initialized = self.raft.is_initialized().await;
        initialized
            .map(|initialized| !initialized)
            .map_err(|error| WriteError::Stopped(error.to_string()))
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// Timing in use.
    #[must_use]
    pub fn settings(&self) -> &RaftSettings {
        &self.settings
    }

    /// Connections to the other members.
    #[must_use]
    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// The state as last applied here: may be behind the cluster, see [`Self::confirm`].
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.published.borrow().state)
    }

    /// Follows the applied state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.published.clone()
    }

    /// What was answered before, as of the newest entry applied here.
    #[must_use]
    pub fn remembered(&self) -> &Arc<dyn Remembered> {
        &self.remembered
    }

    /// Log index of the newest entry in the published state; 0 = none.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.published.borrow().applied.map_or(0, |id| id.index)
    }

    /// Waits until the published state holds the entry at `index`.
    ///
    /// # Errors
    /// When the state machine has stopped.
    pub async fn wait_applied(&self, index: u64) -> Result<(), ConfirmError> {
        let reached =
            |published: &Arc<Published>| published.applied.map_or(0, |id| id.index) >= index;
        let stopped = |_| ConfirmError::Stopped("the state machine has stopped".to_owned());
        self.published
            .clone()
            .wait_for(reached)
            .await
            .map(drop)
            .map_err(stopped)
    }

    /// Who leads and how far this node is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        standing(&self.raft.metrics().borrow(), self.applied_index())
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> Members {
        members(&self.raft.metrics().borrow())
    }

    /// The leader this node knows, with its address.
    #[must_use]
    pub fn leader(&self) -> Option<(u64, Member)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let id = metrics.current_leader?;
        let member = metrics.membership_config.membership().get_node(&id)?;
        Some((id, member.clone()))
    }

    /// Does this node believe that it leads? Only [`Self::confirm`] proves it.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }

    /// Returns when this node no longer believes that it leads in the term in which it does now.
    pub async fn deposed(&self) {
        let mut metrics = self.raft.metrics();
        let term = metrics.borrow().current_term;
        let over = |metrics: &Metrics| {
            metrics.state != ServerState::Leader || metrics.current_term != term
        };
        // An error means that consensus has stopped, and then this node leads no more either.
        let _ = metrics.wait_for(over).await;
    }

    /// Returns when the known leader is not `current`.
    pub async fn leader_is_not(&self, current: Option<u64>) {
        let _ = self
            .raft
            .metrics()
            .wait_for(|metrics| metrics.current_leader != current)
            .await;
    }

    /// Returns with the reason when consensus has stopped on this node for good.
    pub async fn stopped(&self) -> String {
        let mut metrics = self.raft.metrics();
        let stopped = metrics.wait_for(|metrics| metrics.running_state.is_err());
        let Ok(metrics) = stopped.await else {
            return "consensus task ended".to_owned();
        };
        let reason = metrics.running_state.as_ref().err();
        let reason = reason.map(ToString::to_string).unwrap_or_default();
        if reason.contains(STREAM_CLOSED) {
            "another node is becoming leader while this one was about to send a snapshot. Nothing is lost; start this \
             node again"
                .to_owned()
        } else {
            reason
        }
    }

    /// Members whose log holds `index`, this node included. Known to the leader only; elsewhere 0.
    #[must_use]
    pub fn holders(&self, index: u64) -> usize {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let Some(replication) = &metrics.replication else {
            return 0;
        };
        replication
            .values()
            .filter(|matched| matched.is_some_and(|id| id.index >= index))
            .count()
    }

    /// Returns when all of `ids` hold `index` in their log, or this node leads no more.
    pub async fn held_by(&self, index: u64, ids: &[u64]) {
        let held = |metrics: &Metrics| match &metrics.replication {
            Some(replication) => ids.iter().all(|id| matched(replication.get(id)) >= index),
            None => true,
        };
        let _ = self.raft.metrics().wait_for(held).await;
    }

    /// Log index up to which the member's log is known to match; 0 when unknown or not leading.
    #[must_use]
    pub fn matched_index(&self, id: u64) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics
            .replication
            .as_ref()
            .map_or(0, |replication| matched(replication.get(&id)))
    }

    /// Commits and applies one entry. Leader only. Waits as long as it takes: callers bound it.
    ///
    /// # Errors
    /// [`WriteError::NotLeader`]: not written, or overwritten by another leader's entry: try there with the same
    /// request ids, which makes a second writing harmless.
    pub async fn write(&self, proposal: Proposal) -> Result<Written, WriteError> {
        match self.raft.client_write(proposal).await {
            Ok(response) => {
                let Answers(answers) = response.data;
                Ok(Written {
                    index: response.log_id.index,
                    answers,
                })
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(WriteError::NotLeader)
            }
            Err(error) => Err(WriteError::Stopped(error.to_string())),
        }
    }

    /// Confirms with a quorum that this node leads *now*, and names the log index that a linearizable reader must
    /// have applied (Raft §6.4, read-index). Waits as long as one heartbeat interval.
    ///
    /// # Errors
    /// When this node does not lead, or too few members answered in time.
    pub async fn confirm(&self) -> Result<u64, ConfirmError> {
        self.write_in_restored_term().await?;
        match self.raft.get_read_log_id().await {
            Ok((read, _)) => Ok(read.map_or(0, |id| id.index)),
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(ConfirmError::NoQuorum)
            }
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_))) => {
                Err(ConfirmError::NotLeader)
            }
            Err(RaftError::Fatal(fatal)) => Err(stopped(&fatal)),
        }
    }

    /// A leader that was restored, not elected, may know an older commit index than it had acknowledged before it
    /// stopped: an entry of this process, once applied, lies above everything of the earlier one.
    async fn write_in_restored_term(&self) -> Result<(), ConfirmError> {
        let Some(term) = self.restored.term else {
            return Ok(());
        };
        if self.restored.harmless.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.raft.metrics().borrow().current_term <= term {
            self.write(Proposal::from(Vec::new()))
                .await
                .map_err(|error| match error {
                    WriteError::NotLeader => ConfirmError::NotLeader,
                    WriteError::Stopped(reason) => ConfirmError::Stopped(reason),
                })?;
        }
        self.restored.harmless.store(true, Ordering::Release);
        Ok(())
    }

    /// Stops consensus; returns when its tasks have ended.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus task did not end cleanly");
        }
    }
}

fn stopped(fatal: &Fatal<u64>) -> ConfirmError {
    ConfirmError::Stopped(fatal.to_string())
}
