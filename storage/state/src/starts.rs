//! Starts: which store each member has, and how often a process was started on it.
//!
//! ```text
//! node 3 starts ── (store, count + 1, random number) ── on its disk ──▶ log ──▶ every member keeps the newest
//!                                                                                     │
//!      a store that is new, was set back to a copy, or runs twice on copies ◀─────────┴── is found from any of them
//! ```
//! A member acknowledges entries and votes with what it has on its disk. One whose disk has lost some of that must not be
//! counted again: two of three could otherwise agree on a past without what the third had acknowledged with them. Raft takes
//! stable storage for granted (Ongaro, "Consensus: Bridging Theory and Practice", §11.7.3); this is where it is checked.
//!
//! A count alone can be caught up with: a copy that is started again and again comes to any number. So a start also names its
//! line, and the line before. A process that is recorded begins a line of its own, and is recorded again. What is recorded of a store is
//! therefore its line or the one before; and a copy, which nobody records, stays in a line that the store has left.
//!
//! Until a process has begun its own line, the store is in the line of its copies. So a start also names those before it, the
//! last few: the one that is recorded must be among them.
//!
//! A member that has started may speak before its start is recorded, or a cluster could not be started at all. So a copy that
//! was taken while its process ran, and is put back when the process has ended, shows a count that nobody has seen: it is
//! found by the leader that knows what the member had acknowledged, and by verifiers that are ahead.

use std::fmt;

use imbl::OrdMap;

use crate::limits::NODES_EVER_MAX;
use crate::refusal::{Refusal, RefusalCode};

/// Earlier starts that a start names: as many as a supervisor makes before it gives a unit up for a while (systemd: 5 in 10 s),
/// and a few more.
const EARLIER_MAX: usize = 8;

/// Name of a store: random, made with it, never changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incarnation(pub [u8; 16]);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Start of a process on a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Store that it runs on.
    pub incarnation: Incarnation,
    /// Number of starts of the store, this one included. 0: the store alone is known, and no start of it.
    pub count: u64,
    /// Random number of this start: two of one count are told apart.
    pub nonce: [u8; 16],
    /// Line that the store is in: a new one, once it knows that a start in the last one is recorded.
    pub line: Line,
    /// Line before that, which was recorded; zeros when there is none.
    pub after: Line,
    /// First bytes of the random numbers of the starts before this one, the last one first; zero where there is none.
    pub earlier: [u64; EARLIER_MAX],
}

/// Line of a store: what it was recorded with since it knew the line before to be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Place among the lines of the store, from 1.
    pub number: u64,
    /// Random number of the start that began it.
    pub nonce: [u8; 16],
}

/// Reason for which a start does not follow from the one that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Store that the members do not know.
    #[error("its store is another one than the members know: what it had acknowledged is lost")]
    OtherStore,
    /// Store that was started more often than it says: it was put back from a copy.
    #[error("its store was set back to an older copy: what it had acknowledged since is lost")]
    SetBack,
    /// Store of which another copy was started as often.
    #[error("another process was started on a copy of its store")]
    Doubled,
}

impl Start {
    /// Store alone, when no start of it is known.
    #[must_use]
    pub fn of_store(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            ..Self::default()
        }
    }

    /// Checks that `shown` is this start, or a later one of the same store.
    ///
    /// # Errors
    /// See [`Misfit`].
    pub fn check(&self, shown: &Self) -> Result<(), Misfit> {
        // Of a node that was removed before any start of it was recorded nothing is known.
        if *self == Self::default() {
            return Ok(());
        }
        if self.incarnation != shown.incarnation {
            return Err(Misfit::OtherStore);
        }
        if self.count == 0 {
            return Ok(());
        }
        match shown.count.cmp(&self.count) {
            std::cmp::Ordering::Less => Err(Misfit::SetBack),
            std::cmp::Ordering::Equal if self.nonce != shown.nonce => Err(Misfit::Doubled),
            std::cmp::Ordering::Greater if !self.leads_to(shown) => Err(Misfit::SetBack),
            _ => Ok(()),
        }
    }

    /// True when a later start can be one of the store that made this one. Of starts before its last two lines it tells nothing:
    /// a member that is behind may know no newer one.
    fn leads_to(&self, later: &Self) -> bool {
        let back = usize::try_from(later.count - self.count).unwrap_or(usize::MAX);
        // INVARIANT: `later` is later, so there is at least one start between the two.
        let named = later.earlier.get(back - 1).filter(|named| **named != 0);
        if named.is_some_and(|named| *named != tag(&self.nonce)) {
            return false;
        }
        self.line.number < later.after.number || self.line == later.line || self.line == later.after
    }

    /// Start of a new store. `random`: its name, and a number for the start.
    #[must_use]
    pub fn first([store, nonce]: [[u8; 16]; 2]) -> Self {
        Self {
            incarnation: Incarnation(store),
            count: 1,
            nonce,
            line: Line { number: 1, nonce },
            after: Line::default(),
            earlier: [0; EARLIER_MAX],
        }
    }

    /// Start after this one, in the same line.
    #[must_use]
    pub fn next(&self, nonce: [u8; 16]) -> Self {
        let mut earlier = [0; EARLIER_MAX];
        earlier[0] = tag(&self.nonce);
        earlier[1..].copy_from_slice(&self.earlier[..EARLIER_MAX - 1]);
        Self {
            count: self.count + 1,
            nonce,
            earlier,
            ..*self
        }
    }

    /// This start in a line of its own, once it is recorded in an earlier one; `None`: it has one.
    #[must_use]
    pub fn in_its_own_line(&self) -> Option<Self> {
        (self.line.nonce != self.nonce).then(|| Self {
            line: Line {
                number: self.line.number + 1,
                nonce: self.nonce,
            },
            after: self.line,
            ..*self
        })
    }
}

/// First bytes of the random number of a start: enough to tell the starts of one store apart.
fn tag(nonce: &[u8; 16]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *nonce;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Newest start of every node that ever was a member. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    nodes: OrdMap<u64, Start>,
}

impl Starts {
    /// Newest start of a node.
    #[must_use]
    pub fn find(&self, node: u64) -> Option<&Start> {
        self.nodes.get(&node)
    }

    /// Newest starts, by node.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Start)> + '_ {
        self.nodes.iter().map(|(node, start)| (*node, *start))
    }

    /// Remembers a node that was a member, also when no start of it was recorded.
    pub(crate) fn remember(&mut self, node: u64) -> Result<(), Refusal> {
        if !self.nodes.contains_key(&node) {
            self.check_room()?;
            self.nodes.insert(node, Start::default());
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), Refusal> {
        if self.nodes.len() < NODES_EVER_MAX {
            return Ok(());
        }
        let message = format!("{NODES_EVER_MAX} nodes are known, the most there can be");
        Err(Refusal::new(RefusalCode::Limit, message))
    }

    /// Starts from their records; `None` when a node is there twice, or there are too many.
    pub(crate) fn rebuild(records: &[(u64, Start)]) -> Option<Self> {
        let nodes: OrdMap<u64, Start> = records.iter().copied().collect();
        let whole = nodes.len() == records.len() && nodes.len() <= NODES_EVER_MAX;
        whole.then_some(Self { nodes })
    }

    /// Records the start of a node, or refuses it.
    pub(crate) fn record(&mut self, node: u64, start: &Start) -> Result<(), Refusal> {
        match self.nodes.get(&node) {
            _ if start.count == 0 => return Err(Refusal::invalid("a start has a number above 0")),
            Some(known) => known
                .check(start)
                .map_err(|misfit| Refusal::new(code(misfit), misfit.to_string()))?,
            None => self.check_room()?,
        }
        self.nodes.insert(node, *start);
        Ok(())
    }
}

fn code(misfit: Misfit) -> RefusalCode {
    match misfit {
        Misfit::OtherStore => RefusalCode::OtherStore,
        Misfit::SetBack => RefusalCode::SetBack,
        Misfit::Doubled => RefusalCode::Doubled,
    }
}

impl Misfit {
    /// Misfit that a refusal names.
    #[must_use]
    pub fn of_refusal(refusal: &Refusal) -> Option<Self> {
        match refusal.code {
            RefusalCode::OtherStore => Some(Self::OtherStore),
            RefusalCode::SetBack => Some(Self::SetBack),
            RefusalCode::Doubled => Some(Self::Doubled),
            _ => None,
        }
    }
}
