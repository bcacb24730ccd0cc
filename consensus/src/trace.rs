//! Steps of a change on its way, for traces: from the queue of the node that was asked to the acknowledgement of a verifier.
//!
//! A change is known by its request, whose id is the id of its trace (`hessra_proto::trace`). A step that concerns several changes at
//! once, because they are in one entry or one frame, is one step with all of them. Nothing that is decided rests on a step.

pub use hessra_sled::TracedChange;
use hessra_sled::{Entry, Proposal};
use hessra_state::Stamped;
use openraft::{AsyncRuntime, EntryPayload};
use tokio::time::Instant;

/// Changes that operators make with these commands.
pub(crate) fn traced<'a>(commands: impl IntoIterator<Item = &'a Stamped>) -> Vec<TracedChange> {
    commands.into_iter().filter_map(TracedChange::of).collect()
}

/// Changes that operators make with an entry.
pub(crate) fn of_entry<R: AsyncRuntime>(entry: &Entry<R>) -> Vec<TracedChange> {
    match &entry.payload {
        EntryPayload::Normal(Proposal(commands)) => traced(commands.iter()),
        EntryPayload::Blank | EntryPayload::Membership(_) => Vec::new(),
    }
}

/// Step of one change, or of several together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// What was done.
    pub stage: Stage<'a>,
    /// The changes it was done for; never none.
    pub changes: &'a [TracedChange],
    /// Beginning and end.
    pub took: (Instant, Instant),
}

/// What is done with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage<'a> {
    /// All that the cluster does for one change, at the node that was asked: from taking it to its answer.
    Changed {
        /// Log index of its entry; `None`: it was not made, or nobody knows.
        index: Option<u64>,
    },
    /// Waiting until it was taken into an entry.
    Queued,
    /// Handing it to the leader, until the leader's answer.
    Forwarded {
        /// Node that leads.
        leader: u64,
    },
    /// Committing and applying its entry, at the leader.
    Committed {
        /// Log index.
        index: u64,
    },
    /// Taking its entry from the leader, at a follower, until it is durable there.
    Appended {
        /// Log index.
        index: u64,
    },
    /// From writing its entry until the disk had it.
    Flushed {
        /// Log index.
        index: u64,
    },
    /// Applying its entry.
    Applied {
        /// Log index.
        index: u64,
    },
    /// Making, signing and encoding the frame with it.
    Published {
        /// Newest revision of the frame.
        revision: u64,
    },
    /// From its frame until a verifier has acknowledged it.
    Delivered {
        /// Revision that was acknowledged.
        revision: u64,
        /// The verifier.
        verifier: &'a str,
    },
}

impl Stage<'_> {
    /// Name of the stage's span.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Changed { .. } => "hessra.change",
            Self::Queued => "hessra.queue",
            Self::Forwarded { .. } => "hessra.forward",
            Self::Committed { .. } => "hessra.commit",
            Self::Appended { .. } => "hessra.append",
            Self::Flushed { .. } => "hessra.flush",
            Self::Applied { .. } => "hessra.apply",
            Self::Published { .. } => "hessra.publish",
            Self::Delivered { .. } => "hessra.deliver",
        }
    }
}
