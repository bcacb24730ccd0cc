//! Records of the state machine, for a snapshot.

use hessra_revocation::Revision;

use crate::machine::Frozen;
use crate::requests::{Answers, FirstAnswer};
use crate::{Machine, Meta, Record, RequestId, State};

impl Frozen {
    /// All records in canonical order: by kind of record, then by key; rules in the order of their set, answers in that
    /// of their arrival.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.state.records(&self.answers)
    }
}

impl Machine {
    /// Records, as [`Frozen::records`].
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.state.records(self.requests.answers())
    }
}

impl State {
    fn records<'a>(&'a self, answers: &'a Answers) -> impl Iterator<Item = Record> + 'a {
        std::iter::once(Record::Meta(self.meta(answers)))
            .chain(self.view.set.iter().map(Record::Rule))
            .chain(
                self.revocations
                    .by_revision()
                    .values()
                    .map(|revocation| Record::Revocation((**revocation).clone())),
            )
            .chain(self.keys.values().cloned().map(Record::Key))
            .chain(
                self.policies
                    .iter()
                    .map(|version| Record::Policy((**version).clone())),
            )
            .chain(
                answers
                    .iter()
                    .map(|(id, answer)| request_record(*id, answer)),
            )
            .chain(self.pending.iter().cloned().map(Record::Pending))
            .chain(self.entry_records())
            .chain(
                self.ledger
                    .iter()
                    .map(|(facet, spent)| Record::Spent(*facet, spent.clone())),
            )
            .chain(
                self.contexts
                    .iter()
                    .map(|(session, context)| Record::Context(*session, context.clone())),
            )
            .chain(self.witnessed.iter().cloned().map(Record::Witnessed))
    }

    fn meta(&self, answers: &Answers) -> Meta {
        Meta {
            version: self.version,
            feed_id: self.view.feed_id,
            salt: *self.view.set.salt(),
            epoch: self.view.epoch,
            revision: self.view.revision,
            clock: self.clock,
            settled: self.settled,
            clock_set_backs: self.clock_set_backs,
            keyset_version: self.view.keyset_version,
            policy_digest: self.view.policy_digest,
            policy_revision: self.policy().0,
            policy_versions: self.policies.len() as u64,
            floor: self.history.floor(),
            floor_frontier: self.history.floor_frontier().peaks().to_vec(),
            next_sequence: answers.next_sequence(),
            next_key_id: self.next_key_id,
            next_pending: self.pending.next(),
            pending: self.pending.iter().count() as u64,
            witnessed: self.witnessed.len() as u64,
            member_change: self.member_change.clone(),
            undoing: self.undoing.values().cloned().collect(),
            starts: self.starts.iter().collect(),
        }
    }

    fn entry_record(&self, revision: Revision) -> Option<Record> {
        let bytes = self.history.entries_from(revision, 1)?.first()?.to_vec();
        Some(Record::FeedEntry { revision, bytes })
    }

    fn entry_records(&self) -> impl Iterator<Item = Record> + '_ {
        let first = self.history.floor().next();
        (first.0..=self.history.head().0)
            .filter_map(|revision| self.entry_record(Revision(revision)))
    }
}

fn request_record(id: RequestId, answer: &FirstAnswer) -> Record {
    Record::Request {
        id,
        asked: answer.asked,
        at: answer.at,
        applied: answer.applied.clone(),
        sequence: answer.sequence,
    }
}
