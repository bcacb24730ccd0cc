//! The frame log: frames in order, with the state at their head. Everything of the feed that must move together.
//!
//! Frames are made under one lock, from the newest applied state: so the head of the publisher, the view that snapshots
//! are taken from, and the heartbeat always belong together. Signing and encoding happen once per frame, whatever the
//! number of subscribers.

use std::collections::VecDeque;
use std::sync::Arc;

use hessra_proto::to_downstream;
use hessra_proto::trace::NAMED_MAX;
use hessra_proto::v1::feed::downstream::Message;
use hessra_revocation::follower::Event;
use hessra_revocation::publisher::{Cursor, DELTA_ENTRIES_MAX, Frame, ResetReason, Step};
use hessra_revocation::{
    Checkpoint, Hash, Monotonic, Publisher, Revision, SignedCheckpoint, UnixMillis,
};
use hessra_state::State;
use prost::Message as _;
use prost::bytes::Bytes;
use tokio::time::Instant;

use super::{CheckpointSigner, FeedSettings, NotServing};
use crate::confirmer::Began;
use crate::plant::{Plant, is_planted};
use crate::trace::TracedChange;

/// Roots remembered for comparing acknowledgements: at one frame per 5 ms more than twenty seconds, several times
/// what a live subscriber needs to acknowledge.
const ROOTS_MAX: usize = 4_096;
/// Frames whose changes are remembered for the acknowledgements that close their traces.
const TRACED_MAX: usize = 1_024;
/// Ticks on the wire are the monotonic clock plus about 8,900 years. Only differences of ticks of one node mean anything,
/// and so the tick 0 of a node that never confirmed its quorum lies before everything any verifier has seen. Counted
/// from the start of the process it would claim knowledge as of that start, which a node without a quorum has not.
const TICK_ORIGIN: u64 = 1 << 48;

/// The frames of one node.
pub(super) struct FrameLog {
    node: u64,
    settings: FeedSettings,
    signer: Arc<dyn CheckpointSigner>,
    publisher: Publisher<Bytes>,
    /// The state at the publisher's head; `None` until there is one that can be served.
    state: Option<Arc<State>>,
    /// Rises when the publisher was made anew, which invalidates cursors.
    generation: u64,
    /// Beginning of the newest confirmation that this node's state had reached.
    confirmed: Option<Began>,
    /// Last checkpoint signed: many snapshots of one instant need one signature.
    signed: Option<(Revision, Option<Began>, SignedCheckpoint)>,
    /// State roots of published revisions, and when they were published.
    roots: VecDeque<(Revision, Hash, Monotonic)>,
    /// Frames with changes that are traced.
    traced: VecDeque<Arc<TracedFrame>>,
}

/// Changes of one frame, for traces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TracedFrame {
    /// Newest revision of the frame.
    pub(super) to: Revision,
    pub(super) changes: Vec<TracedChange>,
    /// Beginning and end of making it.
    pub(super) made: (Instant, Instant),
}

/// The place of a subscriber in the frame log.
pub(super) struct Position {
    generation: u64,
    cursor: Cursor,
}

/// Publication of a revision by this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// Its root, and since when it is published.
    Root(Hash, Monotonic),
    /// It was not published alone, or too long ago.
    Forgotten,
    /// It is newer than anything that was published here.
    Never,
}

/// The next step of a live subscriber.
pub(super) enum Next {
    Send(Bytes),
    Wait,
    Reset(ResetReason),
}

impl FrameLog {
    pub(super) fn new(
        node: u64,
        settings: FeedSettings,
        signer: Arc<dyn CheckpointSigner>,
    ) -> Self {
        let publisher = Publisher::new(Revision(0), settings.frames_max, settings.bytes_max);
        Self {
            node,
            settings,
            signer,
            publisher,
            state: None,
            generation: 0,
            confirmed: None,
            signed: None,
            roots: VecDeque::new(),
            traced: VecDeque::new(),
        }
    }

    /// The state at the head.
    pub(super) fn state(&self) -> Result<Arc<State>, NotServing> {
        self.state.clone().ok_or(NotServing::NotInitialized)
    }

    /// Beginning of the newest confirmation that anything given so far rests on.
    pub(super) fn confirmed(&self) -> Option<Monotonic> {
        self.confirmed.map(|began| began.tick)
    }

    /// Newest published revision.
    pub(super) fn head(&self) -> Revision {
        self.publisher.head()
    }

    /// A subscriber that was just served the state at the head.
    pub(super) fn position(&self) -> Position {
        let cursor = self.publisher.cursor(self.publisher.head());
        Position {
            generation: self.generation,
            cursor,
        }
    }

    /// Publishes the revisions that a newer state has beyond the head. While nobody follows, nothing is encoded: a later
    /// subscriber is served the state at the head.
    ///
    /// # Errors
    /// The checkpoint cannot be signed: then nothing has moved.
    pub(super) fn advance(
        &mut self,
        state: &Arc<State>,
        now: Monotonic,
        followed: bool,
        changes: &[TracedChange],
    ) -> Result<(), NotServing> {
        let begun = Instant::now();
        let (head, revision) = (self.publisher.head(), state.view().revision);
        let same_feed = self.state.as_ref().is_some_and(|known| {
            let feed = |state: &State| (state.view().feed_id, state.view().epoch);
            feed(known) == feed(state)
        });
        if same_feed && revision == head {
            return Ok(());
        }
        // The signature first: nothing moves when it cannot be made. Subscribers know the keys of the state before.
        let before = self.state.clone().filter(|_| same_feed);
        let known = |id| {
            before
                .as_ref()
                .is_none_or(|before| before.keys().contains_key(&id))
        };
        let checkpoint = self.signed_for(state, &known)?;
        let root = state.view().state_root();
        let goes_on = same_feed && revision > head;
        if !goes_on {
            self.roots.clear();
        }
        let frame = match goes_on && followed {
            true => delta(state, head.next(), checkpoint, changes),
            false => None,
        };
        if frame.is_some() {
            self.note_traced(revision, changes, begun);
        }
        if frame.is_none_or(|frame| self.publisher.push(frame).is_err()) {
            self.restart(revision);
        }
        self.remember(revision, root, now);
        self.state = Some(Arc::clone(state));
        Ok(())
    }

    /// Makes the publisher anew: after a snapshot of the state, more changes than a delta may have, or changes that
    /// nobody followed. Subscribers are caught up or told to resume, one by one.
    fn restart(&mut self, head: Revision) {
        self.publisher = Publisher::new(head, self.settings.frames_max, self.settings.bytes_max);
        self.generation += 1;
    }

    fn note_traced(&mut self, to: Revision, changes: &[TracedChange], begun: Instant) {
        if changes.is_empty() {
            return;
        }
        if self.traced.len() == TRACED_MAX {
            self.traced.pop_front();
        }
        self.traced.push_back(Arc::new(TracedFrame {
            to,
            changes: changes.to_vec(),
            made: (begun, Instant::now()),
        }));
    }

    /// The frame that ends with a revision, when it has changes that are traced.
    pub(super) fn traced(&self, to: Revision) -> Option<Arc<TracedFrame>> {
        let newest = self.traced.iter().rev();
        newest
            .take_while(|frame| frame.to >= to)
            .find(|frame| frame.to == to)
            .cloned()
    }

    fn remember(&mut self, revision: Revision, root: Hash, now: Monotonic) {
        self.roots.push_back((revision, root, now));
        if self.roots.len() > ROOTS_MAX {
            self.roots.pop_front();
        }
    }

    /// Says to all that nothing but what they were sent had happened when the confirmation began. From now on every
    /// checkpoint rests on it.
    ///
    /// INVARIANT: the state at the head holds everything acknowledged before it began.
    pub(super) fn beat(&mut self, began: Began) -> Result<(), NotServing> {
        let state = self.state()?;
        self.confirmed = Some(began);
        let (checkpoint, _) = self.signed(&state)?;
        let bytes = encode(Event::Heartbeat(checkpoint));
        self.publisher.heartbeat(state.view().revision, bytes);
        Ok(())
    }

    /// The signed checkpoint about a state as of the last confirmation, and its state root.
    pub(super) fn signed(&mut self, state: &State) -> Result<(SignedCheckpoint, Hash), NotServing> {
        let view = state.view();
        if let Some((revision, confirmed, checkpoint)) = &self.signed
            && (*revision, *confirmed) == (view.revision, self.confirmed)
        {
            return Ok((checkpoint.clone(), view.state_root()));
        }
        let statement = self.statement(state);
        let checkpoint = self.sign(&statement, &|_| true)?;
        self.signed = Some((view.revision, self.confirmed, checkpoint.clone()));
        Ok((checkpoint, statement.state_root))
    }

    /// Checkpoint as of [`Self::signed`], for a verifier that believes only the keys that are `known`. What such a
    /// checkpoint brings introduces the newer keys.
    pub(super) fn signed_for(
        &mut self,
        state: &State,
        known: &dyn Fn(u32) -> bool,
    ) -> Result<SignedCheckpoint, NotServing> {
        let (checkpoint, _) = self.signed(state)?;
        if known(checkpoint.key_id) {
            return Ok(checkpoint);
        }
        self.sign(&self.statement(state), known)
    }

    fn sign(
        &self,
        statement: &Checkpoint,
        known: &dyn Fn(u32) -> bool,
    ) -> Result<SignedCheckpoint, NotServing> {
        let body = statement.to_bytes();
        let (key_id, signature) = self.signer.sign(&body, known)?;
        Ok(SignedCheckpoint {
            body,
            key_id,
            signature,
        })
    }

    fn statement(&self, state: &State) -> Checkpoint {
        let (wall, tick) = self.confirmed.map_or((UnixMillis(0), 0), |began| {
            (began.wall, on_the_wire(began.tick))
        });
        let fresh_for_ms = u32::try_from(self.settings.fresh_for.as_millis()).unwrap_or(u32::MAX);
        let floor = state.history().floor();
        Checkpoint::of(state.view(), floor, wall, tick, fresh_for_ms, self.node)
    }

    /// The next bytes for a live subscriber.
    pub(super) fn next(&mut self, position: &mut Position) -> Next {
        if position.generation != self.generation {
            position.generation = self.generation;
            position.cursor = self.publisher.cursor(position.cursor.sent);
            if position.cursor.sent > self.publisher.head() {
                // The state went to another history: a restore. Subscribers with the old one start anew.
                return Next::Reset(ResetReason::Restored);
            }
        }
        match self.publisher.next(&mut position.cursor) {
            Step::Send(bytes) => Next::Send(bytes),
            Step::Idle => Next::Wait,
            Step::CatchUp { from } if is_planted(Plant::SkippedRevision) => {
                self.catch_up(from.next(), position)
            }
            Step::CatchUp { from } => self.catch_up(from, position),
        }
    }

    /// A subscriber that is behind the kept frames gets one delta of its own, out of the history.
    fn catch_up(&mut self, from: Revision, position: &mut Position) -> Next {
        let Some(state) = self.state.clone() else {
            return Next::Wait;
        };
        let Ok((checkpoint, _)) = self.signed(&state) else {
            return Next::Wait;
        };
        match delta(&state, from, checkpoint, &[]) {
            // Keys changed since: a hello says which of them it believes, and is answered accordingly.
            Some(_) if changes_keys(&state, from) => Next::Reset(ResetReason::Slow),
            Some(frame) => {
                position.cursor.sent = frame.to;
                Next::Send(frame.bytes)
            }
            None => Next::Reset(ResetReason::Slow),
        }
    }

    /// Publication of a revision by this node.
    pub(super) fn published(&self, revision: Revision) -> Published {
        let revisions = |(revision, ..): &(Revision, Hash, Monotonic)| *revision;
        match self.roots.binary_search_by_key(&revision, revisions) {
            Ok(at) => Published::Root(self.roots[at].1, self.roots[at].2),
            Err(_) if revision > self.head() => Published::Never,
            Err(_) => Published::Forgotten,
        }
    }
}

/// A tick as checkpoints and welcomes carry it.
pub(super) fn on_the_wire(tick: Monotonic) -> u64 {
    TICK_ORIGIN + tick.0
}

/// One message, encoded for the wire.
pub(super) fn encode(event: Event) -> Bytes {
    let message = to_downstream(event).expect("only events that a node sends are encoded");
    Bytes::from(message.encode_to_vec())
}

/// A delta, encoded for the wire with the traces of its changes.
fn encode_traced(delta: Event, changes: &[TracedChange]) -> Bytes {
    let mut message = to_downstream(delta).expect("only events that a node sends are encoded");
    if let Some(Message::Delta(delta)) = &mut message.message {
        let traces = changes.iter().take(NAMED_MAX);
        delta.traces = traces.map(|change| change.request.0.to_vec()).collect();
    }
    Bytes::from(message.encode_to_vec())
}

/// True when there is a key among the entries from a revision on.
fn changes_keys(state: &State, from: Revision) -> bool {
    let keys = state.keys().values();
    keys.into_iter().any(|key| key.changed_at >= from)
}

/// Frame of everything from a revision to a state; `None` when it is not kept, or is more than a delta may have.
pub(super) fn delta(
    state: &State,
    from: Revision,
    checkpoint: SignedCheckpoint,
    changes: &[TracedChange],
) -> Option<Frame<Bytes>> {
    let entries = state.history().entries_from(from, DELTA_ENTRIES_MAX + 1)?;
    if entries.is_empty() || entries.len() > DELTA_ENTRIES_MAX {
        return None;
    }
    let to = state.view().revision;
    let entries = entries.iter().map(|bytes| bytes.to_vec()).collect();
    let event = Event::Delta {
        from,
        to,
        entries,
        checkpoint,
    };
    let bytes = encode_traced(event, changes);
    Some(Frame {
        from,
        to,
        size: bytes.len(),
        bytes,
    })
}

#[cfg(test)]
mod tests;
