//! Reports of the other members: of themselves, and of the verifiers connected to them.
//!
//! Every member asks every other once a second, and ten times a second while a caller watches a revocation being
//! applied. The last report of a member is kept when it falls silent, when it starts again, and when it is removed, so
//! that its verifiers are not forgotten with it: they permit until their knowledge is too old, whatever became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use hessra_proto::v1::log::Start;
use hessra_proto::v1::raft::InspectResponse;
use hessra_proto::v1::{NodeStatus, VerifierStatus};
use hessra_revocation::{Monotonic, UnixMillis};
use hessra_sled::Member;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::askers::LastAsked;
use crate::clocks::Clocks;
use crate::peers::Peers as _;
use crate::plant::{Plant, is_planted};
use crate::raft::RaftHandle;
use crate::world::World;

/// Pause between two rounds of asking.
const INTERVAL: Duration = Duration::from_secs(1);
/// Pause while a caller watches a revocation being applied.
const INTERVAL_WATCHED: Duration = Duration::from_millis(100);
/// A member that does not answer for so long is shown as unreachable.
const INSPECT_TIMEOUT: Duration = Duration::from_millis(800);

/// The last report of one member.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Status of the member itself.
    pub status: NodeStatus,
    /// Members of the newest membership that it knows.
    pub members: BTreeSet<u64>,
    /// Log index of that membership.
    pub membership_index: u64,
    /// Guests of its feed.
    pub guests: u32,
    /// Arrival of the report, on this node's clock.
    pub heard: Monotonic,
    /// Verifiers of the member, as its process last listed them.
    pub listed: Option<Listed>,
    /// Last list of its process before, when this node has heard it.
    pub former: Option<Listed>,
}

/// Verifiers of one process of a member.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Verifiers, with ages as of `heard`.
    pub verifiers: Arc<Vec<VerifierStatus>>,
    /// Revision that the member had applied before it listed them: who comes later is given no less.
    pub revision: u64,
    /// Time for which its process had run.
    pub up: Duration,
    /// Arrival of the list, on this node's clock.
    pub heard: Monotonic,
    /// Start of the process: another one has another.
    pub start: Option<Start>,
}

/// A node that is no member any more.
#[derive(Clone, Debug)]
pub struct Departed {
    /// First look at the members at which it was none.
    pub since: Monotonic,
    /// Last report of it, when there is one that is not forgotten.
    pub last: Option<Neighbour>,
}

/// All nodes but this one that may have served verifiers.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Members, and the last report of each.
    pub members: BTreeMap<u64, Option<Neighbour>>,
    /// Nodes that were members.
    pub departed: BTreeMap<u64, Departed>,
    /// Time for which this process has run: it knows of nothing before.
    pub up: Duration,
    /// Last questions of the members to their leader, as of the last confirmation of this node.
    pub asked: Option<LastAsked>,
}

#[derive(Default)]
struct Table {
    heard: BTreeMap<u64, Neighbour>,
    departed: BTreeMap<u64, Departed>,
}

impl Table {
    /// Parts those that are members from those that were. `ever`: others that were members, as far as is known.
    fn part(&mut self, members: &BTreeSet<u64>, ever: impl Iterator<Item = u64>, now: Monotonic) {
        self.departed.retain(|id, _| !members.contains(id));
        let known: BTreeSet<u64> = self.heard.keys().copied().chain(ever).collect();
        for id in known.into_iter().filter(|id| !members.contains(id)) {
            let last = self.heard.remove(&id);
            let departed = self.departed.entry(id).or_insert(Departed {
                since: now,
                last: None,
            });
            departed.last = last.or_else(|| departed.last.take());
        }
        if is_planted(Plant::RemovedForgotten) {
            self.departed.clear();
        }
    }
}

/// The last reports of all other members. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Neighbours<W: World> {
    raft: RaftHandle<W>,
    world: W,
    clocks: Clocks,
    table: Arc<Mutex<Table>>,
    /// Start of this process.
    began: Monotonic,
    rounds: Arc<watch::Sender<u64>>,
    watchers: Arc<AtomicUsize>,
}

/// Makes the rounds of asking faster while it lives.
#[must_use]
pub struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<W: World> Neighbours<W> {
    pub(crate) fn new(raft: RaftHandle<W>, world: W, clocks: Clocks) -> Self {
        Self {
            raft,
            began: world.monotonic(),
            world,
            clocks,
            table: Arc::default(),
            rounds: Arc::default(),
            watchers: Arc::default(),
        }
    }

    /// Asks all members again and again.
    pub(crate) async fn run(&self) {
        loop {
            self.ask_all(true).await;
            self.rounds.send_modify(|round| *round += 1);
            self.pause().await;
        }
    }

    async fn pause(&self) {
        let begun = Instant::now();
        while begun.elapsed() < INTERVAL {
            sleep(INTERVAL_WATCHED).await;
            if self.watchers.load(Ordering::Acquire) > 0 {
                return;
            }
        }
    }

    /// Counts the rounds of asking.
    #[must_use]
    pub fn rounds(&self) -> watch::Receiver<u64> {
        self.rounds.subscribe()
    }

    /// Asks faster while the result lives.
    pub fn watch_closely(&self) -> Watching {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        Watching(Arc::clone(&self.watchers))
    }

    /// The last reports of the members, by node id.
    #[must_use]
    pub fn last_heard(&self) -> BTreeMap<u64, Neighbour> {
        self.table().heard.clone()
    }

    /// Time for which this process has run.
    #[must_use]
    pub fn up(&self) -> Duration {
        self.world.monotonic().since(self.began)
    }

    /// All other nodes that may have served verifiers, as of now.
    #[must_use]
    pub fn others(&self) -> Others {
        let members = self.look_at_members();
        let own = self.raft.identity().id;
        let table = self.table();
        let of_member = |id: u64| (id, table.heard.get(&id).cloned());
        Others {
            members: members
                .into_keys()
                .filter(|id| *id != own)
                .map(of_member)
                .collect(),
            departed: table.departed.clone(),
            up: self.up(),
            asked: self.raft.askers().last(),
        }
    }

    /// Forgets the reports of nodes that are no members for so long. That they were members is remembered: a node that
    /// was removed is new to nobody.
    pub(crate) fn forget_departed(&self, after: Duration) {
        let now = self.world.monotonic();
        for departed in self.table().departed.values_mut() {
            if now.since(departed.since) > after {
                departed.last = None;
            }
        }
    }

    /// True when the member was heard of within `bound`.
    #[must_use]
    pub fn heard_within(&self, id: u64, bound: Duration) -> bool {
        let now = self.world.monotonic();
        self.table()
            .heard
            .get(&id)
            .is_some_and(|neighbour| now.since(neighbour.heard) <= bound)
    }

    /// Asks every other member now. Returns the reports that came in time.
    pub async fn ask_all(&self, verifiers: bool) -> BTreeMap<u64, NodeStatus> {
        let own = self.raft.identity().id;
        let members = self.look_at_members();
        let others = members.iter().filter(|(id, _)| **id != own);
        let asked = others.map(|(id, member)| self.ask(*id, member, verifiers));
        let answers: BTreeMap<u64, NodeStatus> =
            join_all(asked).await.into_iter().flatten().collect();
        self.look_at_members();
        answers
    }

    async fn ask(&self, id: u64, member: &Member, verifiers: bool) -> Option<(u64, NodeStatus)> {
        let peer = self.raft.peer(id, member);
        let (peers, asked) = (self.world.peers(), self.world.monotonic());
        match peers.inspect(&peer, verifiers, INSPECT_TIMEOUT).await {
            Ok(report) => {
                let its = UnixMillis(report.now_ms);
                self.clocks.note(id, its, (asked, self.world.monotonic()));
                self.note(id, report, verifiers)
            }
            Err(error) => {
                self.raft.stores().heed(id, &error);
                tracing::debug!(peer = id, %error, "a member did not answer");
                None
            }
        }
    }

    fn note(
        &self,
        id: u64,
        report: InspectResponse,
        with_verifiers: bool,
    ) -> Option<(u64, NodeStatus)> {
        let status = report.status?;
        let heard = self.world.monotonic();
        let up = Duration::from_millis(report.up_ms);
        let mut table = self.table();
        let known = table.heard.remove(&id);
        let (mut listed, mut former) =
            known.map_or((None, None), |known| (known.listed, known.former));
        if let Some(ended) =
            listed.take_if(|listed| process(&listed.start) != process(&report.start))
        {
            former = Some(ended);
        }
        if with_verifiers {
            listed = Some(Listed {
                verifiers: Arc::new(report.verifiers),
                revision: status.revision,
                up,
                heard,
                start: report.start,
            });
        }
        let neighbour = Neighbour {
            status: status.clone(),
            members: report.members.into_iter().collect(),
            membership_index: report.membership_index,
            guests: report.guests,
            heard,
            listed,
            former,
        };
        table.heard.insert(id, neighbour);
        Some((id, status))
    }

    /// Looks who is a member. Those that are none any more are kept as such, with their last reports: also a node of which
    /// this one hears only now that it was a member.
    fn look_at_members(&self) -> BTreeMap<u64, Member> {
        let members = self.raft.members().nodes;
        if members.is_empty() {
            return members;
        }
        let now = self.world.monotonic();
        let state = self.raft.state();
        let started = state.starts().iter().map(|(id, _)| id);
        let own = self.raft.identity().id;
        let ids = members.keys().copied().collect();
        self.table()
            .part(&ids, started.filter(|id| *id != own), now);
        members
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of the process that made a report: the line of its start may change while it runs.
fn process(start: &Option<Start>) -> Option<&[u8]> {
    start.as_ref().map(|start| start.nonce.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour() -> Neighbour {
        Neighbour {
            status: NodeStatus::default(),
            members: BTreeSet::new(),
            membership_index: 0,
            guests: 0,
            heard: Monotonic(0),
            listed: None,
            former: None,
        }
    }

    #[test]
    fn a_member_that_is_removed_is_kept_with_its_report_and_since_when_it_is_none() {
        let mut table = Table {
            heard: [(2, neighbour()), (3, neighbour())].into(),
            ..Table::default()
        };
        table.part(&[1, 2].into(), [2, 3].into_iter(), Monotonic(7));
        table.part(&[1, 2].into(), [2, 3].into_iter(), Monotonic(9));
        assert_eq!(table.heard.len(), 1);
        let departed = &table.departed[&3];
        assert_eq!(
            (departed.since, departed.last.is_some()),
            (Monotonic(7), true)
        );
        table.part(&[1, 2, 3].into(), [2, 3].into_iter(), Monotonic(11));
        assert!(table.departed.is_empty(), "the removal did not come about");
    }

    #[test]
    fn a_node_that_came_and_went_between_two_looks_is_known_to_have_been_a_member() {
        let mut table = Table::default();
        table.part(&[1, 2].into(), [2, 4].into_iter(), Monotonic(7));
        let departed = &table.departed[&4];
        assert_eq!(
            (departed.since, departed.last.is_some()),
            (Monotonic(7), false)
        );
    }
}
