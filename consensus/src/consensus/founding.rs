//! Founding: the first membership of a cluster, which names the store of every founder.
//!
//! The founder with the lowest id asks all others, and waits until all of them answer: a membership that leaves a store open
//! could not tell that founder from one that has lost what it acknowledged. A founder that answers with members shows that
//! the cluster was founded before: then this node has lost its own. The others ask too, until they have the log: one that lost
//! its store and was removed meanwhile hears of it from nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use hessra_proto::v1::raft::InspectResponse;
use hessra_sled::{Member, codec};
use hessra_state::Incarnation;
use tokio::time::{Instant, sleep};

use super::Consensus;
use crate::peers::{Between, Peer, Peers as _};
use crate::status::StopReason;
use crate::world::World;

/// Pause between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause between two rounds of a founder that another one lets begin.
const WAITING_PAUSE: Duration = Duration::from_secs(1);
/// Time for one question to a founder that may not be up yet.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between two lines of the log about founders that do not answer.
const TOLD_EVERY: Duration = Duration::from_secs(10);

impl<W: World> Consensus<W> {
    /// Founds the cluster, when it is this node's part to do it. All founders call it with one list, at every start; it does
    /// nothing where the cluster is already there, and returns when no more is to be done.
    ///
    /// # Errors
    /// When this node is not in the list, or consensus has stopped: also because another founder has the log of this cluster
    /// and this node does not.
    pub async fn found(&self, founders: &BTreeMap<u64, Member>) -> Result<(), StopReason> {
        let own = self.raft().identity().id;
        let founds = founders.keys().next() == Some(&own);
        let mut told: Option<Instant> = None;
        while self.raft().is_untouched().await? {
            let answers = self.ask_founders(founders).await;
            if let Some(reason) = self.raft().stores().ended() {
                return Err(reason);
            }
            // Another one founds: members that know this node by another store, or as removed, have said so.
            if !founds {
                sleep(WAITING_PAUSE).await;
                continue;
            }
            if let Some(other) = has_members(&answers) {
                let reason = StopReason::Disowned {
                    id: own,
                    why: format!(
                        "its store is empty, but node {other} has the log of this cluster: what it had acknowledged is lost"
                    ),
                };
                self.raft().stores().end(reason.clone());
                return Err(reason);
            }
            let silent: Vec<u64> = silent(founders, own, &answers);
            if silent.is_empty() {
                return self
                    .raft()
                    .initialize(self.with_stores(founders, &answers)?)
                    .await;
            }
            if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
                tracing::warn!(?silent, "waits for all founders, to begin the cluster");
                told = Some(Instant::now());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn ask_founders(
        &self,
        founders: &BTreeMap<u64, Member>,
    ) -> BTreeMap<u64, InspectResponse> {
        let own = self.raft().identity().id;
        let others = founders.iter().filter(|(id, _)| **id != own);
        let asked = others.map(|(id, member)| async move {
            let peer = Peer {
                id: *id,
                member: member.clone(),
                between: Between {
                    from: self.raft().stores().own(),
                    ..Between::default()
                },
            };
            let peers = self.world().peers();
            let answer = peers.inspect(&peer, false, ASK_TIMEOUT).await;
            let answer = answer.inspect_err(|error| self.raft().stores().heed(*id, error));
            answer.ok().map(|answer| (*id, answer))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The founders, each with its store.
    fn with_stores(
        &self,
        founders: &BTreeMap<u64, Member>,
        answers: &BTreeMap<u64, InspectResponse>,
    ) -> Result<BTreeMap<u64, Member>, StopReason> {
        let own = self.raft().identity().id;
        let founder = |(id, member): (&u64, &Member)| {
            let store = match answers.get(id) {
                Some(answer) => store_of(answer),
                None if *id == own => Some(self.raft().stores().own().incarnation),
                None => None,
            };
            let store = store.ok_or_else(|| {
                StopReason::failed(format!(
                    "founder {id} does not name its store: it runs another version. Upgrade it"
                ))
            })?;
            let member = Member {
                incarnation: Some(store),
                ..member.clone()
            };
            Ok((*id, member))
        };
        founders.iter().map(founder).collect()
    }
}

fn store_of(answer: &InspectResponse) -> Option<Incarnation> {
    let start = codec::decode_start(answer.start.as_ref()?).ok()?;
    Some(start.incarnation)
}

/// Founder that knows members: the cluster was founded before.
fn has_members(answers: &BTreeMap<u64, InspectResponse>) -> Option<u64> {
    let founded = |answer: &InspectResponse| !answer.members.is_empty();
    let mut answers = answers.iter();
    answers
        .find(|(_, answer)| founded(answer))
        .map(|(id, _)| *id)
}

fn silent(
    founders: &BTreeMap<u64, Member>,
    own: u64,
    answers: &BTreeMap<u64, InspectResponse>,
) -> Vec<u64> {
    let ids = founders.keys().copied();
    ids.filter(|id| *id != own && !answers.contains_key(id))
        .collect()
}
