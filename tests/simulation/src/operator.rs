//! An operator: changes the members, and watches how far a revocation is contained.

use std::sync::Arc;
use std::time::Duration;

use hessra_audit::Actor;
use hessra_consensus::{Asked, Change, ChangeError, ContainmentWatch, Members};
use hessra_proto::v1::WatchAppliedRequest;
use hessra_state::{Command, RequestId};
use rand::Rng;
use tokio::time::{Instant, timeout};

use crate::cluster::Cluster;
use crate::node::{Life, Node};
use crate::people::{OPERATOR, author};
use crate::runtime::random;

/// Time for which an operator waits for one change.
const ANSWER_MAX: Duration = Duration::from_secs(4);
/// Time that one watch lasts at most.
const WATCH_MAX: Duration = Duration::from_secs(3);
/// Members at most: more are not added.
const MEMBERS_MAX: usize = 5;
/// Nodes that one seed may start in addition.
const ADDED_MAX: usize = 4;
/// Time for which an operator leaves a member that was removed running, at most.
const RETIRE_WITHIN: Duration = Duration::from_secs(3);

/// Operator that asks nodes at random.
pub struct Operator {
    id: u64,
    cluster: Arc<Cluster>,
}

impl Operator {
    /// An operator with a number of its own, from 3000 on.
    pub fn new(id: u64, cluster: Arc<Cluster>) -> Self {
        Self { id, cluster }
    }

    /// Works until the world stops it.
    pub async fn work(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(random().gen_range(300..1_500))).await;
            match random().gen_range(0..100) {
                0..45 => self.watch().await,
                _ => self.change_members().await,
            }
        }
    }

    /// Looks at the members through some node, and makes one change that may be made.
    async fn change_members(&self) {
        let Some(life) = self.cluster.any_node().life() else {
            return;
        };
        let members = life.consensus.raft().members();
        let (kind, change) = match random().gen_range(0..100) {
            0..30 => ("member added", self.addition(&members).await),
            30..60 => ("member promoted", promotion(&members)),
            60..80 => ("member removed", self.removal(&members)),
            _ => ("leadership transferred", transfer(&members)),
        };
        let Some(change) = change else { return };
        self.cluster
            .journal()
            .trace(|| format!("operator {} asks for {change:?}", self.id));
        if let Change::Remove(id) = change
            && random().gen_bool(0.3)
        {
            // It does not hear of its removal before the network is healed.
            self.cluster.cut_off(id);
            self.cluster
                .journal()
                .count_kind("member cut off before its removal");
        }
        let wanted = change.clone();
        let deadline = Instant::now() + ANSWER_MAX;
        let request = RequestId(random().r#gen());
        let command = Command::Members((&wanted).into());
        let now = self.cluster.any_node().clock.wall().seconds().0;
        let by = Asked {
            author: author(OPERATOR, request, &command, now),
            request,
            actor: Actor::default(),
        };
        self.cluster.journal().note_signed(&by.author);
        let asked = life.ask(self.id, move |life| async move {
            let consensus = &life.consensus;
            consensus.change_members(&wanted, by, deadline).await
        });
        let outcome = timeout(ANSWER_MAX, asked).await.ok().flatten();
        self.cluster
            .journal()
            .trace(|| format!("operator {} hears {outcome:?}", self.id));
        match (outcome, change) {
            (Some(Ok(_)), change) => {
                self.cluster.journal().count_kind(kind);
                if let Change::Remove(id) = change {
                    self.retire_later(id);
                    // Who removes a member may revoke at once, while its verifiers have not moved.
                    self.watch().await;
                }
            }
            (Some(Err(ChangeError::Unavailable(_) | ChangeError::NotWritten(_))) | None, _) => {
                // It may have happened, in part: the end of the seed looks at who the members are.
                let kind = "change of members with unknown outcome";
                self.cluster.journal().count_kind(kind);
            }
            (Some(Err(_)), _) => {
                let kind = "change of members refused";
                self.cluster.journal().count_kind(kind);
            }
        }
    }

    /// Addition of a new machine with an id that was never used, or of one that was started before and is no member
    /// yet.
    async fn addition(&self, members: &Members) -> Option<Change> {
        if members.nodes.len() >= MEMBERS_MAX {
            return None;
        }
        let waits = |node: &Arc<Node>| !members.nodes.contains_key(&node.id) && node.is_new();
        let waiting = self.cluster.nodes().into_iter().find(waits);
        let node = match waiting {
            Some(node) => node,
            None => {
                let node = self.cluster.new_node(ADDED_MAX)?;
                node.start().await;
                node
            }
        };
        Some(Change::AddLearner {
            id: node.id,
            member: crate::peers::member(node.id),
        })
    }

    /// Removal that leaves at least three voters, or of one that is out of service for good: a cluster of fewer is a choice that
    /// no operator makes on purpose.
    fn removal(&self, members: &Members) -> Option<Change> {
        let voters = members
            .nodes
            .keys()
            .filter(|id| members.is_voter(**id))
            .count();
        let is_gone = |id: u64| self.cluster.node(id).is_none();
        let may_go = |id: &u64| voters > 3 || !members.is_voter(*id) || is_gone(*id);
        let candidates: Vec<u64> = members.nodes.keys().copied().filter(may_go).collect();
        any_of(&candidates).map(Change::Remove)
    }

    fn retire_later(&self, id: u64) {
        let cluster = self.cluster.clone();
        tokio::spawn(async move {
            let after = random().gen_range(Duration::ZERO..RETIRE_WITHIN);
            tokio::time::sleep(after).await;
            if let Some(node) = cluster.node(id) {
                node.retire().await;
                cluster.journal().trace(|| format!("node {id} retired"));
            }
        });
    }

    /// Watches the newest acknowledged revision through some node.
    async fn watch(&self) {
        let Some(life) = self.cluster.any_node().life() else {
            return;
        };
        let revision = self.cluster.oracle().newest_acknowledged().0;
        let wanted = WatchAppliedRequest {
            revision,
            fraction: if random().gen_bool(0.3) { 0.5 } else { 0.0 },
            count: 0,
        };
        let watched = life.ask(self.id, move |life| watch(life, wanted));
        let _ = timeout(WATCH_MAX * 2, watched).await;
    }
}

/// Follows one revision at this life. Every report is compared with what the verifiers really hold.
pub async fn watch(life: Life, wanted: WatchAppliedRequest) -> bool {
    let (consensus, feed) = (life.consensus.clone(), life.feed.clone());
    let mut watch = ContainmentWatch::begin(consensus, feed, wanted, Actor::default());
    let mut done = false;
    let reports = async {
        while let Some(report) = watch.next().await {
            done = report.done;
            life.containment_was_reported(wanted.revision, &report);
        }
    };
    let _ = timeout(WATCH_MAX, reports).await;
    done
}

fn promotion(members: &Members) -> Option<Change> {
    let learners: Vec<u64> = members
        .nodes
        .keys()
        .copied()
        .filter(|id| !members.is_voter(*id))
        .collect();
    any_of(&learners).map(Change::Promote)
}

fn transfer(members: &Members) -> Option<Change> {
    let voters: Vec<u64> = members
        .nodes
        .keys()
        .copied()
        .filter(|id| members.is_voter(*id))
        .collect();
    any_of(&voters).map(Change::TransferTo)
}

fn any_of(ids: &[u64]) -> Option<u64> {
    (!ids.is_empty()).then(|| ids[random().gen_range(0..ids.len())])
}
