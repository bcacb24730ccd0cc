//! Rebuilding a state machine from its records: after a restart, and from another node's snapshot.
//!
//! A checksum tells that bytes are as they were written, not that they were all written, nor that they belong together.
//! So the records are compared with each other: there is one of what must be there once, nothing is there twice,
//! retained feed entries have no hole and agree with the state, and the rules are exactly what the revocations imply.

use std::collections::BTreeMap;

use hessra_revocation::merkle::Frontier;
use hessra_revocation::publisher::HistoryError;
use hessra_revocation::{Digest, History, Revision, Rule, RuleKind, UnixSeconds, View};
use imbl::{OrdMap, OrdSet};

use crate::contexts::Contexts;
use crate::invalid::{InvalidRecords, invalid, require};
use crate::limits::{HISTORY_MAX, UNDOING_MAX};
use crate::requests::{FirstAnswer, Requests};
use crate::revocations::Revocations;
use crate::timed::Timed;
use crate::{
    FacetId, Machine, Meta, Pending, Pendings, PolicyVersions, Record, RequestId, Revocation,
    SealedKey, Spent, Starts, State, Undoing, WitnessedHeads, check,
};

impl Machine {
    /// Rebuilds a state machine from its records, in any order. The result has the digest of the one they came from.
    ///
    /// # Errors
    /// [`InvalidRecords::Invalid`] with the contradiction; [`InvalidRecords::Upgrade`] for records of a newer version.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Result<Self, InvalidRecords> {
        let mut parts = Parts::default();
        records
            .into_iter()
            .try_for_each(|record| parts.take(record))?;
        parts.build()
    }
}

/// Records by kind, not yet checked.
#[derive(Default)]
struct Parts {
    meta: Option<Meta>,
    rules: Vec<Rule>,
    revocations: Vec<Revocation>,
    keys: OrdMap<u32, SealedKey>,
    policies: PolicyVersions,
    requests: Vec<(RequestId, FirstAnswer)>,
    pending: Vec<Pending>,
    entries: BTreeMap<Revision, Vec<u8>>,
    ledger: Timed<FacetId, Spent>,
    contexts: Contexts,
    witnessed: WitnessedHeads,
}

impl Parts {
    fn take(&mut self, record: Record) -> Result<(), InvalidRecords> {
        let key = record.key();
        let is_second = match record {
            Record::Meta(meta) => self.meta.replace(meta).is_some(),
            Record::Rule(rule) => push(&mut self.rules, rule),
            Record::Revocation(revocation) => push(&mut self.revocations, revocation),
            Record::Key(sealed) => self.keys.insert(sealed.id, sealed).is_some(),
            Record::Policy(version) => !self.policies.put(version),
            Record::Request {
                id,
                asked,
                at,
                applied,
                sequence,
            } => push(
                &mut self.requests,
                (
                    id,
                    FirstAnswer {
                        asked,
                        at,
                        applied,
                        sequence,
                    },
                ),
            ),
            Record::Pending(pending) => push(&mut self.pending, pending),
            Record::FeedEntry { revision, bytes } => self.entries.insert(revision, bytes).is_some(),
            Record::Spent(facet, spent) => self.ledger.put(facet, spent),
            Record::Context(session, context) => self.contexts.put(session, context),
            Record::Witnessed(witnessed) => self.witnessed.put(witnessed),
        };
        require(!is_second, || format!("{key:?} is there twice"))
    }

    fn build(self) -> Result<Machine, InvalidRecords> {
        let meta = self
            .meta
            .ok_or_else(|| invalid("its meta record is missing"))?;
        check::meta(&meta)?;
        let requests = Requests::rebuild(self.requests, meta.next_sequence, meta.clock)
            .map_err(|error| invalid(error.to_string()))?;
        let pending = Pendings::rebuild(self.pending, meta.next_pending, meta.pending, meta.clock)
            .map_err(|error| invalid(error.to_string()))?;
        check::policies(&meta, &self.policies)?;
        check::keys(&meta, &self.keys)?;
        let mut view = view(&meta, &self.keys, self.rules)?;
        let history = replay(&meta, &self.entries, &mut view)?;
        let state = State {
            locks: locks(&view),
            revocations: revocations(&meta, self.revocations)?,
            view,
            history,
            keys: self.keys,
            policies: self.policies,
            pending,
            next_key_id: meta.next_key_id,
            ledger: self.ledger,
            contexts: self.contexts,
            witnessed: self.witnessed,
            member_change: meta.member_change.clone(),
            undoing: undoing(&meta)?,
            starts: Starts::rebuild(&meta.starts)
                .ok_or_else(|| invalid("a node's start is there twice, or there are too many"))?,
            clock: meta.clock,
            settled: meta.settled,
            clock_set_backs: meta.clock_set_backs,
            version: meta.version,
        };
        check::rules(&state)?;
        check::recent(&state, &self.entries)?;
        check::timed(&state)?;
        check::witnessed(&meta, &state)?;
        Ok(Machine { state, requests })
    }
}

fn view(
    meta: &Meta,
    keys: &OrdMap<u32, SealedKey>,
    rules: Vec<Rule>,
) -> Result<View, InvalidRecords> {
    let mut view = View::new(meta.feed_id, meta.epoch, meta.salt);
    for rule in rules {
        let twice = view.set.rule(rule.kind, &rule.digest).is_some();
        require(!twice, || format!("rule {:?} is there twice", rule.digest))?;
        view.set.put(rule);
    }
    view.keys = keys.values().map(|key| (key.id, key.public())).collect();
    view.revision = meta.revision;
    view.keyset_version = meta.keyset_version;
    view.policy_digest = meta.policy_digest;
    Ok(view)
}

/// Replays the history on top of its floor, and the view's frontier with it.
fn replay(
    meta: &Meta,
    entries: &BTreeMap<Revision, Vec<u8>>,
    view: &mut View,
) -> Result<History, InvalidRecords> {
    let retained = meta.revision.0 - meta.floor.0;
    require(
        entries.len() as u64 == retained && entries.len() <= HISTORY_MAX,
        || {
            format!(
                "{} feed entries are retained, {retained} are expected and {HISTORY_MAX} allowed",
                entries.len()
            )
        },
    )?;
    // INVARIANT: the feed log has one leaf per revision, so its size at the floor is the floor.
    let at_floor = Frontier::from_parts(meta.floor.0, meta.floor_frontier.clone())
        .ok_or_else(|| invalid(format!("its frontier does not fit revision {}", meta.floor)))?;
    view.log = at_floor.clone();
    entries.values().for_each(|bytes| view.log.append(bytes));
    History::from_entries(meta.floor, at_floor, entries.values().map(Vec::as_slice))
        .map_err(unreadable)
}

fn unreadable(error: HistoryError) -> InvalidRecords {
    match error {
        HistoryError::Hole { expected, .. } => invalid(format!("feed entry {expected} is missing")),
        HistoryError::Entry { revision, source } => {
            invalid(format!("feed entry {revision}: {source}"))
        }
    }
}

fn revocations(meta: &Meta, stored: Vec<Revocation>) -> Result<Revocations, InvalidRecords> {
    for revocation in &stored {
        let revision = revocation.revision;
        let newest = revocation
            .lifted
            .as_ref()
            .map_or(revision, |lifted| lifted.revision);
        require(
            revision > Revision(0) && revision <= newest && newest <= meta.revision,
            || format!("revocation {revision} is from the future"),
        )?;
    }
    Revocations::rebuild(&meta.salt, stored)
        .map_err(|twice| invalid(format!("revocation {twice} is there twice")))
}

fn undoing(meta: &Meta) -> Result<OrdMap<String, Undoing>, InvalidRecords> {
    let undoing: OrdMap<String, Undoing> = meta
        .undoing
        .iter()
        .map(|undoing| (undoing.operator.clone(), undoing.clone()))
        .collect();
    let whole = undoing.len() == meta.undoing.len() && undoing.len() <= UNDOING_MAX;
    let mut left = undoing.values();
    let dated = left.all(|undoing| undoing.next <= meta.revision);
    require(whole && dated, || {
        "an operator's revocations are removed twice, or from the future on".to_owned()
    })?;
    Ok(undoing)
}

fn locks(view: &View) -> OrdSet<(UnixSeconds, Digest)> {
    let locks = view.set.iter().filter(|rule| rule.kind == RuleKind::Lock);
    locks
        .filter_map(|rule| Some((rule.until?, rule.digest)))
        .collect()
}

/// Collects a record whose duplicates are found later, where it is indexed.
fn push<T>(list: &mut Vec<T>, item: T) -> bool {
    list.push(item);
    false
}
