//! State machine: the state, the answers that retries get, and the one way to change both.
//!
//! Readers get a clone of the state after each applied batch. While such a clone lives, every later change copies what it
//! touches; so what only applying needs is kept apart from the state, and is changed in place.

use std::collections::BTreeSet;
use std::ops::Deref;

use crate::limits::HISTORY_MAX;
use crate::refusal::Refusal;
use crate::requests::{Answers, Requests};
use crate::{Applied, Command, Judge, Pending, PendingId, RefusalCode, RequestId, Stamped, State};

/// State, and the answers that are needed to apply the next command to it.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub(crate) state: State,
    pub(crate) requests: Requests,
}

impl Machine {
    /// Machine before [`Command::Init`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one committed command and answers it. Total: whatever the command, the answer is a value, and the same on
    /// every node whose machine was equal. `judge` says what its author may. A refused command leaves its answer for retries, and nothing else.
    ///
    /// The store asks [`crate::supported`] first; a command that only a newer binary knows must stop the node instead.
    pub fn apply(&mut self, stamped: &Stamped, judge: &dyn Judge) -> Applied {
        self.state.advance(stamped.at);
        if stamped.request.is_zero() {
            let message =
                "a request needs an id of its own for retries, not zero; choose 16 random bytes";
            return Applied::Refused(Refusal::invalid(message));
        }
        if let Some(first) = self.requests.answer(&stamped.request) {
            return match first.asked == stamped.author.binding() {
                true => first.applied.clone(),
                false => Applied::Refused(other_request()),
            };
        }
        let decided = judge
            .judge(&self.state, stamped)
            .and_then(|by| self.state.decide(stamped, &by));
        let applied = decided.unwrap_or_else(Applied::Refused);
        if may_take_rights(&applied) {
            self.end_of_the_silenced(judge);
        }
        if matches!(applied, Applied::ClockSetBack { .. }) {
            self.requests.none_after(self.state.clock);
        }
        if !is_own_answer(&stamped.command, &applied) {
            let asked = stamped.author.binding();
            self.requests
                .remember(stamped.request, asked, self.state.clock, applied.clone());
            self.requests.forget(self.state.settled);
        }
        self.state.history.truncate_front(HISTORY_MAX);
        applied
    }

    /// Ends the pending actions whose askers have lost the right, or are revoked.
    fn end_of_the_silenced(&mut self, judge: &dyn Judge) {
        let lost = |pending: &&Pending| !judge.still_asks(&self.state, pending);
        let lost: Vec<PendingId> = self
            .state
            .pending
            .iter()
            .filter(lost)
            .map(|pending| pending.id)
            .collect();
        for id in lost {
            self.state.pending.remove(id);
        }
    }

    /// State, for readers.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Freezes the machine as it is now, in microseconds: a snapshot is built from the copy while writes go on.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen {
            state: self.state.clone(),
            answers: self.requests.answers().clone(),
        }
    }

    /// First answers, for waiters of a request that was applied before.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.requests
    }
}

/// True for what the state keeps by itself. A spend or a step would be remembered for too short a time beside the others;
/// a head that stands gets the same answer again. A head that was refused is remembered: its record is made from that.
fn is_own_answer(command: &Command, applied: &Applied) -> bool {
    match command {
        Command::Spend(_) | Command::Context(_) => true,
        Command::Witness(_) => *applied == Applied::Witnessed,
        _ => false,
    }
}

/// True for an answer after which an asker may have no right any more.
fn may_take_rights(applied: &Applied) -> bool {
    matches!(
        applied,
        Applied::Revoked(_) | Applied::PolicyApplied { .. } | Applied::Collected { .. }
    )
}

fn other_request() -> Refusal {
    let message = "the request id belongs to another request; choose a new random one for every request, and repeat one only to retry";
    Refusal::new(RefusalCode::Conflict, message)
}

/// Frozen copy of a machine.
#[derive(Clone, Debug, Default)]
pub struct Frozen {
    pub(crate) state: State,
    pub(crate) answers: Answers,
}

impl Frozen {
    /// State as it will be once these commands are applied too. A request that was answered before has no effect.
    #[must_use]
    pub fn foresee(
        &self,
        commands: &mut dyn Iterator<Item = &Stamped>,
        judge: &dyn Judge,
    ) -> State {
        let mut machine = Machine {
            state: self.state.clone(),
            requests: Requests::default(),
        };
        let answered: BTreeSet<RequestId> = self.answers.iter().map(|(id, _)| *id).collect();
        for stamped in commands.filter(|stamped| !answered.contains(&stamped.request)) {
            machine.apply(stamped, judge);
        }
        machine.state
    }

    /// State, for readers.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }
}

impl Deref for Machine {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}
