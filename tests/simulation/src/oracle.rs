//! Oracle that sees everything, and says at once which promise was broken.
//!
//! The oracle replays the committed entries into a view of its own, and compares with it all that a node or a verifier
//! shows. Promises are named as in README.md of this folder (I1, I2, …).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use hessra_proto::v1::{AppliedProgress, VerifierStatus};
use hessra_revocation::{Epoch, FeedEntry, Hash, Identity, Revision, Target, UnixMillis, View};
use hessra_sled::{LogId, Vote};
use hessra_state::{Applied, Frozen, RequestId, Revocation, State};
use openraft::LogIdOptionExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::Entry;
use crate::people::FORGED;
use crate::people::VERIFIERS;

/// Time by which the state may be ahead of the truth: what right clocks differ by, and twice what a clock may be off.
const CLOCK_AHEAD_MAX_MS: u64 = 15 * 1_000;

/// Promises and observations so far.
#[derive(Debug, Default)]
pub struct Oracle {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    payloads: BTreeMap<(u64, u64), Hash>,
    leaders: BTreeMap<u64, u64>,
    digests: BTreeMap<u64, Hash>,
    view: Option<View>,
    committed: BTreeMap<Revision, Committed>,
    acknowledged: Vec<Acknowledged>,
    answers: BTreeMap<RequestId, Applied>,
    /// Requests of which clients were told that nothing was written.
    refused: Vec<RequestId>,
    /// Revision of every process of a verifier, and the instant until which it permits what that does not deny.
    permitting: BTreeMap<u64, (Revision, Instant)>,
    /// The newest revision that each verifier ever published, by its name.
    held: BTreeMap<String, Revision>,
    violations: Vec<String>,
    checks: u64,
}

#[derive(Clone, Debug)]
struct Committed {
    entry: Vec<u8>,
    log_root: Hash,
    state_root: Hash,
}

/// A revocation that a client was told is durable.
#[derive(Clone, Debug)]
struct Acknowledged {
    at: Instant,
    revision: Revision,
    target: Target,
}

/// Result of a linearizable read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The revision the reader's state had.
    pub as_of: Revision,
    /// True when the identity was covered there.
    pub revoked: bool,
}

impl Oracle {
    /// Broken promises, in the order in which they were seen.
    pub fn violations(&self) -> Vec<String> {
        self.seen().violations.clone()
    }

    /// Number of comparisons that were made: a run that compared nothing proves nothing.
    pub fn checks(&self) -> u64 {
        self.seen().checks
    }

    /// Number of revocations that clients were told are durable.
    pub fn acknowledged(&self) -> usize {
        self.seen().acknowledged.len()
    }

    /// The newest revision that any client was told of.
    pub fn newest_acknowledged(&self) -> Revision {
        self.seen()
            .acknowledged
            .iter()
            .map(|ack| ack.revision)
            .max()
            .unwrap_or_default()
    }

    /// The newest revision that any node has applied.
    pub fn head(&self) -> Revision {
        self.seen()
            .committed
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default()
    }

    /// Checks I8: one log id, one payload, for ever; entries follow each other, the first one the entry `prev`.
    pub fn entries_were_sent(&self, prev: Option<LogId>, entries: &[Entry]) {
        let mut seen = self.seen();
        for (place, entry) in (prev.next_index()..).zip(entries) {
            let index = entry.log_id.index;
            seen.expect(index == place, || {
                format!("I8: entry {index} was sent in the place of entry {place}")
            });
            let id = (entry.log_id.leader_id.term, entry.log_id.index);
            let payload = hash(format!("{:?}", entry.payload).as_bytes());
            let first = *seen.payloads.entry(id).or_insert(payload);
            seen.expect(first == payload, || {
                format!("I8: log id {id:?} was sent with two payloads")
            });
        }
    }

    /// Checks I7: one leader per term. `vote`: under which a node sends entries.
    pub fn leader_was_seen(&self, vote: &Vote, node: u64) {
        let mut seen = self.seen();
        let term = vote.leader_id().term;
        let first = *seen.leaders.entry(term).or_insert(node);
        seen.expect(first == node, || {
            format!("I7: term {term} has the leaders {first} and {node}")
        });
    }

    /// Checks I11 over everything that a node has after it applied up to a log index.
    pub fn node_applied(&self, node: u64, index: u64, machine: &Frozen) {
        let mut seen = self.seen();
        let digest = machine.digest();
        let first = *seen.digests.entry(index).or_insert(digest);
        seen.expect(first == digest, || {
            format!("I11: node {node} has another state machine at log index {index}")
        });
    }

    /// Checks K1: one wrong clock does not move the time of the state.
    pub fn time_was_kept(&self, node: u64, clock: UnixMillis, truly: UnixMillis) {
        let kept = clock.0 <= truly.0.saturating_add(CLOCK_AHEAD_MAX_MS);
        self.expect(kept, || {
            let ahead = clock.0.saturating_sub(truly.0);
            format!("K1: node {node} shows a state whose time is {ahead} ms ahead of the truth")
        });
    }

    /// Checks I9 over what a node shows its readers.
    pub fn node_shows(&self, node: u64, state: &State) {
        let mut seen = self.seen();
        if !state.is_initialized() {
            return;
        }
        seen.nothing_is_forged(node, state);
        seen.follow(node, state);
        seen.view_was_shown(&format!("I9: node {node}"), state.view());
    }

    /// Checks I4 and I6 over what a verifier published, and what it had published before.
    pub fn verifier_published(
        &self,
        verifier: &str,
        before: Option<(Epoch, Revision)>,
        view: &View,
    ) {
        let mut seen = self.seen();
        let now = (view.epoch, view.revision);
        let fell = before.is_some_and(|before| now < before);
        seen.expect(!fell, || {
            format!("I6: verifier {verifier} fell from {before:?} to {now:?}")
        });
        seen.view_was_shown(&format!("I4: verifier {verifier}"), view);
        let held = seen.held.entry(verifier.to_owned()).or_default();
        *held = (*held).max(view.revision);
    }

    /// Notes for C1 until when a process of a verifier permits, and without which revisions. `None`: it has ended, or knows
    /// nothing.
    pub fn verifier_permits(&self, verifier: u64, until: Option<(Revision, Instant)>) {
        let mut seen = self.seen();
        match until {
            Some(until) => seen.permitting.insert(verifier, until),
            None => seen.permitting.remove(&verifier),
        };
    }

    /// Checks C1: a node counts an acknowledgement for what the verifier really published.
    pub fn verifier_was_counted(&self, node: u64, status: &VerifierStatus) {
        let mut seen = self.seen();
        let held = seen.held.get(&status.id).copied().unwrap_or_default();
        seen.expect(status.applied <= held.0, || {
            format!(
                "C1: node {node} counts verifier {} at revision {}, which has published only {held}",
                status.id, status.applied
            )
        });
    }

    /// Checks C1: a revision is contained at no more verifiers than have published it, and nowhere while some process of
    /// a verifier permits without it: whatever became of its node, of its stream, and of others with its name.
    pub fn containment_was_reported(&self, node: u64, revision: u64, report: &AppliedProgress) {
        let mut seen = self.seen();
        let holding = seen.held.values().filter(|held| held.0 >= revision);
        let holding = holding.count();
        let enrolled = report.enrolled as usize;
        seen.expect(enrolled <= VERIFIERS as usize, || {
            format!("V1: node {node} counts {enrolled} verifiers, and there are {VERIFIERS}")
        });
        // Revision 0 is what everybody has who has nothing.
        seen.expect(revision == 0 || report.applied as usize <= holding, || {
            format!(
                "C1: node {node} says that revision {revision} is applied at {} verifiers, and {holding} have published it",
                report.applied
            )
        });
        let is_contained = report.done && report.laggards.is_empty() && report.unheard.is_empty();
        let now = Instant::now();
        let permits =
            |(_, (held, until)): &(&u64, &(Revision, Instant))| held.0 < revision && *until > now;
        let permitting = seen.permitting.iter().find(permits);
        let permitting = permitting.map(|(id, held)| (*id, *held));
        seen.expect(!is_contained || permitting.is_none(), || {
            format!(
                "C1: node {node} says that nobody permits without revision {revision}, and {permitting:?} does: {report:?}"
            )
        });
        for laggard in &report.laggards {
            let held = seen.held.get(&laggard.id).copied().unwrap_or_default();
            seen.expect(laggard.applied <= held.0, || {
                format!("C1: node {node} names {laggard:?}, which has published only {held}")
            });
        }
    }

    /// Checks D1: nothing is proposed while the disk has no room for writes.
    pub fn entry_was_proposed(&self, node: u64, commands: usize, is_low: bool) {
        self.seen().expect(commands == 0 || !is_low, || {
            format!("D1: node {node} proposed {commands} commands while its disk had no room")
        });
    }

    /// Notes for I12 that a client was told that nothing was written.
    pub fn write_was_refused(&self, request: RequestId) {
        self.seen().refused.push(request);
    }

    /// Checks I12: what was refused is nowhere. `answered`: true when a state machine remembers an answer to this
    /// request.
    pub fn refusals_hold(&self, answered: impl Fn(RequestId) -> bool) {
        let mut seen = self.seen();
        for request in seen.refused.clone() {
            seen.expect(!answered(request), || {
                format!("I12: {request:?} was refused as not written, and is in the log")
            });
        }
    }

    /// Checks truthful freshness: one that says "complete as of `instant`" holds all that was acknowledged before it.
    pub fn freshness_was_claimed(&self, who: &str, revision: Revision, as_of: Instant) {
        let mut seen = self.seen();
        // Clocks are read in milliseconds and drift by parts per million over one stream.
        let certain = as_of.checked_sub(Duration::from_millis(20));
        let missed = certain.and_then(|certain| {
            seen.acknowledged
                .iter()
                .find(|ack| ack.at < certain && ack.revision > revision)
                .cloned()
        });
        seen.expect(missed.is_none(), || {
            format!("I4 freshness: {who} claims to be complete at revision {revision}, but had missed {missed:?}")
        });
    }

    /// Checks I2 and I12 when a client was told that its revocation is durable.
    pub fn revoke_was_acknowledged(
        &self,
        request: RequestId,
        invoked_after: Revision,
        targets: &[Target],
        applied: &Applied,
    ) {
        let mut seen = self.seen();
        seen.answer_was_given(request, applied);
        let Applied::Revoked(items) = applied else {
            return;
        };
        for (target, item) in targets.iter().zip(items) {
            let ordered = item.already || item.revision > invoked_after;
            seen.expect(ordered, || {
                format!(
                    "I2: {target:?} got revision {} though {invoked_after} was acknowledged before",
                    item.revision
                )
            });
            seen.acknowledged.push(Acknowledged {
                at: Instant::now(),
                revision: item.revision,
                target: target.clone(),
            });
        }
    }

    /// Checks I12 when any other write was acknowledged.
    pub fn write_was_acknowledged(&self, request: RequestId, applied: &Applied) {
        self.seen().answer_was_given(request, applied);
    }

    /// Checks I1: a linearizable check sees all that was acknowledged before it was asked.
    pub fn check_was_answered(
        &self,
        identity: &Identity,
        invoked_after: Revision,
        reading: Reading,
    ) {
        let mut seen = self.seen();
        seen.expect(reading.as_of >= invoked_after, || {
            format!(
                "I1: a linearizable check of {identity} was answered as of revision {}, but {invoked_after} had been \
                 acknowledged before",
                reading.as_of
            )
        });
        let Some(view) = seen
            .view
            .as_ref()
            .filter(|view| view.revision == reading.as_of)
        else {
            return;
        };
        let target = Target::Subtree(identity.clone());
        let digest = target.digest(view.set.salt());
        let revoked = view.set.rule(target.kind(), &digest).is_some();
        seen.expect(reading.revoked == revoked, || {
            format!(
                "I1: a check of {identity} said revoked: {}, at revision {}",
                reading.revoked, reading.as_of
            )
        });
    }

    /// Checks I10: at the end every acknowledged revocation is in the committed history, as it was acknowledged.
    pub fn finish(&self) {
        let mut seen = self.seen();
        let Some(salt) = seen.view.as_ref().map(|view| *view.set.salt()) else {
            return;
        };
        for ack in seen.acknowledged.clone() {
            let digest = ack.target.digest(&salt).0;
            let kept = seen
                .committed
                .get(&ack.revision)
                .map(|committed| committed.entry.clone());
            let holds =
                kept.is_some_and(|entry| entry.windows(digest.len()).any(|part| part == digest));
            seen.expect(holds, || {
                format!("I10: the acknowledged {ack:?} is not in the history")
            });
        }
    }

    /// Checks something that no other method has a name for.
    pub fn expect(&self, holds: bool, broken: impl FnOnce() -> String) {
        self.seen().expect(holds, broken);
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("one thread")
    }
}

impl Seen {
    fn expect(&mut self, holds: bool, broken: impl FnOnce() -> String) {
        self.checks += 1;
        // The first few say what happened; a thousand echoes of them say nothing more.
        if !holds && self.violations.len() < 20 {
            self.violations.push(broken());
        }
    }

    fn answer_was_given(&mut self, request: RequestId, applied: &Applied) {
        let first = self
            .answers
            .entry(request)
            .or_insert_with(|| applied.clone())
            .clone();
        self.expect(first == *applied, || {
            format!("I12: one request got the answers {first:?} and {applied:?}")
        });
    }

    /// Learns what a node has applied beyond what was known; checks that what was known has not changed.
    /// Checks S2 over the state of a node: nothing of what only a traitor makes is in it.
    fn nothing_is_forged(&mut self, node: u64, state: &State) {
        let is_restored = |revocation: &Revocation| {
            revocation
                .lifted
                .as_ref()
                .is_some_and(|lifted| lifted.restored)
        };
        let forged = state.policy().1.clients_toml.starts_with(FORGED)
            || state
                .revocations()
                .values()
                .any(|revocation| is_restored(revocation));
        self.expect(!forged, || {
            format!("S2: the state of node {node} has what nobody has signed")
        });
    }

    fn follow(&mut self, node: u64, state: &State) {
        let shown = state.view();
        let view = self
            .view
            .get_or_insert_with(|| View::new(shown.feed_id, shown.epoch, *shown.set.salt()));
        let from = view.revision.next();
        if shown.revision < from {
            return self.history_stands(node, state);
        }
        let count = usize::try_from(shown.revision.0).unwrap_or(usize::MAX);
        let Some(entries) = state.history().entries_from(from, count) else {
            return;
        };
        for bytes in entries {
            let entry = FeedEntry::from_bytes(bytes).expect("a node shows entries that it made");
            if let Err(error) = view.apply(&entry) {
                return self.violations.push(format!(
                    "I4: node {node} shows a history with a hole: {error}"
                ));
            }
            self.committed.insert(
                entry.revision,
                Committed {
                    entry: bytes.to_vec(),
                    log_root: view.log_root(),
                    state_root: view.state_root(),
                },
            );
        }
    }

    fn history_stands(&mut self, node: u64, state: &State) {
        const NEWEST: u64 = 16;
        let from = Revision(
            state
                .view()
                .revision
                .0
                .saturating_sub(NEWEST)
                .max(state.history().floor().0)
                + 1,
        );
        let entries = state
            .history()
            .entries_from(from, NEWEST as usize)
            .unwrap_or_default();
        for (revision, bytes) in (from.0..).map(Revision).zip(entries) {
            let same = self
                .committed
                .get(&revision)
                .is_none_or(|known| known.entry == bytes);
            self.expect(same, || {
                format!("I9: node {node} shows another entry at revision {revision}")
            });
        }
    }

    fn view_was_shown(&mut self, who: &str, view: &View) {
        let Some(known) = self.committed.get(&view.revision).cloned() else {
            let empty = view.revision == Revision(0);
            return self.expect(empty, || {
                format!(
                    "{who} shows revision {}, which nobody committed",
                    view.revision
                )
            });
        };
        let same = known.log_root == view.log_root() && known.state_root == view.state_root();
        self.expect(same, || {
            format!("{who} has other roots at revision {}", view.revision)
        });
    }
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}
