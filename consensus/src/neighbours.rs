//! Reports of the other members: of themselves, and of the verifiers connected to them.
//!
//! Every member asks every other once a second, and ten times a second while a caller watches a revocation being
//! applied. The last report of a member is kept when it falls silent, so that its verifiers are not forgotten with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use hessra_proto::v1::raft::InspectResponse;
use hessra_proto::v1::{NodeStatus, VerifierStatus};
use hessra_revocation::{Monotonic, UnixMillis};
use hessra_sled::Member;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::clocks::Clocks;
use crate::peers::Peers as _;
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
    /// Verifiers of the member, with ages as of `heard`.
    pub verifiers: Arc<Vec<VerifierStatus>>,
    /// Members of the newest membership that it knows.
    pub members: BTreeSet<u64>,
    /// Log index of that membership.
    pub membership_index: u64,
    /// Guests of its feed.
    pub guests: u32,
    /// Arrival of the report, on this node's clock.
    pub heard: Monotonic,
}

/// The last reports of all other members. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Neighbours<W: World> {
    raft: RaftHandle<W>,
    world: W,
    table: Arc<Mutex<BTreeMap<u64, Neighbour>>>,
    clocks: Clocks,
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

    /// The last reports, by node id.
    #[must_use]
    pub fn last_heard(&self) -> BTreeMap<u64, Neighbour> {
        self.table().clone()
    }

    /// True when the member was heard of within `bound`.
    #[must_use]
    pub fn heard_within(&self, id: u64, bound: Duration) -> bool {
        let now = self.world.monotonic();
        self.table()
            .get(&id)
            .is_some_and(|neighbour| now.since(neighbour.heard) <= bound)
    }

    /// Asks every other member now. Returns the reports that came in time.
    pub async fn ask_all(&self, verifiers: bool) -> BTreeMap<u64, NodeStatus> {
        let own = self.raft.identity().id;
        let members = self.raft.members().nodes;
        let others = members.iter().filter(|(id, _)| **id != own);
        let asked = others.map(|(id, member)| self.ask(*id, member, verifiers));
        let answers: BTreeMap<u64, NodeStatus> =
            join_all(asked).await.into_iter().flatten().collect();
        self.forget_strangers(&members);
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
        let mut table = self.table();
        let verifiers = match (with_verifiers, table.get(&id)) {
            (false, Some(known)) => Arc::clone(&known.verifiers),
            _ => Arc::new(report.verifiers),
        };
        let neighbour = Neighbour {
            status: status.clone(),
            verifiers,
            members: report.members.into_iter().collect(),
            membership_index: report.membership_index,
            guests: report.guests,
            heard,
        };
        table.insert(id, neighbour);
        Some((id, status))
    }

    /// Drops the reports of members that were removed. At once, because their verifiers are told to connect elsewhere.
    fn forget_strangers(&self, members: &BTreeMap<u64, Member>) {
        if !members.is_empty() {
            self.table().retain(|id, _| members.contains_key(id));
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<u64, Neighbour>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
