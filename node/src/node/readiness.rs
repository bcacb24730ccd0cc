//! The readiness of this node: whether it can do its work now, and if not, why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hessra_audit::Chain;
use hessra_consensus::{ClockState, NodeFacts, clocks};
use hessra_proto::NodeState;
use hessra_proto::v1::Condition;
use hessra_sled::{Engine as _, SledEngine};

use crate::audit::Auditor;
use crate::conditions::{Code, Noticed, condition};
use crate::ops::{NotReady, Readiness, Warning};
use crate::policy::Policies;
use crate::signer::Keyholder;
use crate::world::{Consensus, Inspector};

/// The facts that readiness is decided from.
pub(super) struct Facts {
    pub(super) waits_to_be_added: bool,
    pub(super) consensus: Consensus,
    pub(super) keys: Keyholder,
    pub(super) auditor: Auditor,
    pub(super) policies: Policies,
    pub(super) noticed: Noticed,
    pub(super) store: SledEngine,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) stale_max: Duration,
}

impl Facts {
    /// The answer for the operations listener.
    pub(super) fn readiness_answer(self: &Arc<Self>, inspector: Inspector) -> Readiness {
        let facts = Arc::clone(self);
        Arc::new(move || {
            let seen = inspector.conditions().into_iter();
            let warnings = seen.filter(|condition| !condition.blocks);
            let warnings =
                warnings.map(|Condition { code, message, .. }| Warning { code, message });
            (facts.reasons(), warnings.collect())
        })
    }

    fn reasons(&self) -> Vec<NotReady> {
        let mut reasons = Vec::new();
        let mut add = |reason, message: String| reasons.push(NotReady { reason, message });
        if self.stopping.load(Ordering::Acquire) {
            add(NodeState::Stopping, "this node is stopping".to_owned());
        }
        if let Some((reason, message)) = self.consensus() {
            add(reason, message);
        }
        if let ClockState::Off(ahead) = self.consensus.clock() {
            let id = self.consensus.raft().identity().id;
            let off = clocks::off(id, ahead);
            add(
                NodeState::ClockOff,
                format!("{off}: it issues nothing. Set it (NTP)"),
            );
        }
        if let Some(message) = self.keys.sealed() {
            add(NodeState::KeysSealed, message);
        }
        if let Err(low) = self.store.writable() {
            add(NodeState::DiskLow, low.to_string());
        }
        for chain in Chain::ALL {
            let failing = self.auditor.written_of(chain).borrow().failing.clone();
            if let Some(error) = failing {
                add(NodeState::AuditFailing, format!("{chain}: {error}"));
            }
        }
        reasons
    }

    /// What is wrong although the node is ready.
    fn warnings(&self) -> Vec<Condition> {
        let mut conditions = self.noticed.all();
        let followed = self.policies.followed();
        if let Some(error) = followed
            .as_deref()
            .and_then(|followed| followed.error.clone())
        {
            let message = format!("the policy repository is not followed: {error}");
            conditions.push(condition(Code::PolicyNotFollowed, message));
        }
        for chain in Chain::ALL
            .into_iter()
            .filter(|chain| self.auditor.is_gone(*chain))
        {
            let message = format!(
                "the files of the audit `{chain}` are gone: keep a copy of the folder, and look for who can write there"
            );
            conditions.push(condition(Code::AuditGone, message));
        }
        conditions
    }

    /// The first thing that is missing: what comes after follows from it.
    fn consensus(&self) -> Option<(NodeState, String)> {
        let status = self.consensus.raft().status();
        if let Some(reason) = status.stopped {
            return Some((NodeState::Stopped, reason.to_string()));
        }
        let no_members = self
            .consensus
            .raft()
            .members()
            .voters
            .iter()
            .all(|voters| voters.is_empty());
        if self.waits_to_be_added && no_members {
            let message =
                "waiting to be added to a cluster: run `hessra cluster add` at one of its members";
            return Some((NodeState::WaitingToBeAdded, message.to_owned()));
        }
        if status.leader.is_none() {
            return Some((
                NodeState::NoLeader,
                "no leader is known: fewer than a quorum of the members reach each other"
                    .to_owned(),
            ));
        }
        if !self.consensus.state().is_initialized() {
            return Some((
                NodeState::NotInitialized,
                "the cluster has no keys and no policy yet".to_owned(),
            ));
        }
        match self.consensus.freshness() {
            Some(age) if age <= self.stale_max => None,
            _ => Some((
                NodeState::NotFresh,
                "this node has not heard of its quorum for too long".to_owned(),
            )),
        }
    }
}

impl NodeFacts for Facts {
    fn readiness(&self) -> NodeState {
        let first = self.reasons().into_iter().next();
        first.map_or(NodeState::Ready, |first| first.reason)
    }

    fn conditions(&self) -> Vec<Condition> {
        let blocking = self.reasons().into_iter().map(|reason| Condition {
            code: reason.reason.as_str().to_owned(),
            message: reason.message,
            blocks: true,
        });
        blocking.chain(self.warnings()).collect()
    }

    fn keks(&self) -> Vec<String> {
        let ids = self.keys.keks().ids();
        ids.iter().map(ToString::to_string).collect()
    }

    fn disk_bytes(&self) -> u64 {
        self.store.size_on_disk().unwrap_or_default()
    }
}
