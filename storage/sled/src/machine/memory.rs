//! State machine in memory, and the entry up to which it is applied.

use std::sync::Arc;

use hessra_revocation::Revision;
use hessra_state::{Applied, InvalidRecords, Judge, Machine, Record, Stamped, supported};
use openraft::{AsyncRuntime, EntryPayload};

use super::readers::Published;
use super::recent::TracedChange;
use crate::image::SnapshotImage;
use crate::plant::{Plant, is_planted};
use crate::snapshot::{self, Contents};
use crate::{Answers, Entry, LogId, Proposal, SnapshotMeta, StoreError, StoredMembership};

/// State machine in memory, and the entry up to which it is applied.
pub(super) struct Memory {
    pub(super) machine: Machine,
    judge: Arc<dyn Judge>,
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
}

impl Memory {
    /// State machine before the first entry. `judge` says what authors may, here and in whatever is made of it.
    pub(super) fn empty(judge: Arc<dyn Judge>) -> Self {
        Self {
            machine: Machine::new(),
            judge,
            applied: None,
            membership: StoredMembership::default(),
        }
    }

    /// Judge of the commands.
    pub(super) fn judge(&self) -> &Arc<dyn Judge> {
        &self.judge
    }

    pub(super) fn published(&self) -> Published {
        Published {
            applied: self.applied,
            membership: self.membership.clone(),
            state: Arc::new(self.machine.state().clone()),
        }
    }

    /// Applies one entry. Answers its commands, and names the operators' changes in it with the revision after each.
    pub(super) fn apply<R: AsyncRuntime>(
        &mut self,
        entry: Entry<R>,
    ) -> Result<(Answers, Vec<(TracedChange, Revision)>), StoreError> {
        let id = entry.log_id;
        if self
            .applied
            .is_some_and(|applied| id.index <= applied.index)
        {
            return Err(StoreError::stopped(format!(
                "entry {} was to be applied a second time",
                id.index
            )));
        }
        let mut changes = Vec::new();
        let answers = match entry.payload {
            EntryPayload::Blank => Answers::default(),
            EntryPayload::Normal(Proposal(commands)) => Answers(
                commands
                    .iter()
                    .map(|stamped| {
                        let answer = self.command(stamped, id)?;
                        if let Some(change) = TracedChange::of(stamped) {
                            changes.push((change, self.machine.state().view().revision));
                        }
                        Ok(answer)
                    })
                    .collect::<Result<_, StoreError>>()?,
            ),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(id), membership);
                Answers::default()
            }
        };
        self.applied = Some(id);
        Ok((answers, changes))
    }

    fn command(&mut self, stamped: &Stamped, id: LogId) -> Result<Applied, StoreError> {
        supported(stamped).map_err(|error| StoreError::stopped(error.to_string()))?;
        if is_planted(Plant::RetryRunsTwice) {
            return Ok(self
                .machine
                .apply(&unknown_retry(stamped, id), &*self.judge));
        }
        Ok(self.machine.apply(stamped, &*self.judge))
    }
}

/// Request that no answer of an earlier term is remembered for: for [`Plant::RetryRunsTwice`].
fn unknown_retry(stamped: &Stamped, id: LogId) -> Stamped {
    let mut request = stamped.request;
    let term = id.leader_id.term.to_be_bytes();
    request
        .0
        .iter_mut()
        .zip(term)
        .for_each(|(byte, of_term)| *byte ^= of_term);
    Stamped {
        request,
        ..stamped.clone()
    }
}

/// Opens the state machine of an image, when all of it is right and it is the one that `meta` names.
pub(super) fn believe(
    meta: &SnapshotMeta,
    image: &SnapshotImage,
    (judge, source): (&Arc<dyn Judge>, &str),
) -> Result<Memory, StoreError> {
    let Contents {
        meta: found,
        records,
    } = snapshot::open(image, source)?;
    if (&found.last_log_id, &found.last_membership) != (&meta.last_log_id, &meta.last_membership) {
        return Err(StoreError::corrupt(
            source,
            "snapshot",
            "it goes up to another entry than it was sent for",
        ));
    }
    Ok(Memory {
        machine: rebuild(records, source)?,
        judge: Arc::clone(judge),
        applied: meta.last_log_id,
        membership: meta.last_membership.clone(),
    })
}

/// Rebuilds a state machine from its records.
fn rebuild(records: impl IntoIterator<Item = Record>, source: &str) -> Result<Machine, StoreError> {
    let mut records = records.into_iter().peekable();
    // Before the first entry there is no record at all, not even the one that every state has.
    if records.peek().is_none() {
        return Ok(Machine::new());
    }
    Machine::from_records(records).map_err(|error| match error {
        InvalidRecords::Invalid(what) => StoreError::corrupt(source, "state", what),
        InvalidRecords::Upgrade { .. } => StoreError::Upgrade {
            file: source.to_owned(),
            what: "the state".to_owned(),
        },
    })
}
