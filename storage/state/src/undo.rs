//! Undo: what one operator has revoked is removed, a part with every collection, so that no entry of the log holds up a
//! revocation for long.

use hessra_revocation::Revision;

use crate::applied::Applied;
use crate::command::Undo;
use crate::limits::{REASON_BYTES_MAX, TICKET_BYTES_MAX, UNDOING_MAX};
use crate::refusal::{Refusal, RefusalCode};
use crate::revocations::Undoing;
use crate::revoke::check_length;
use crate::state::State;

impl State {
    /// Operators whose revocations are being removed, in the order of their names.
    pub fn undoing(&self) -> impl Iterator<Item = &Undoing> {
        self.undoing.values()
    }

    /// Begins to remove what an operator has revoked up to now.
    pub(crate) fn undo(&mut self, undo: &Undo) -> Result<Applied, Refusal> {
        check_length("reason", &undo.reason, REASON_BYTES_MAX)?;
        check_length("ticket", &undo.ticket, TICKET_BYTES_MAX)?;
        let operator = &undo.operator;
        let at_most = self.revocations.len_by(operator);
        if at_most == 0 {
            let message = format!(
                "no revocation by `{operator}` alone is remembered; copy the name from the list of revocations"
            );
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        // Two ranges of time are no range: together they would remove what nobody has asked to be removed.
        if self.undoing.contains_key(operator) {
            let message = format!(
                "what `{operator}` has revoked is being removed already; ask, or approve, again in a few seconds"
            );
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        if self.undoing.len() >= UNDOING_MAX {
            let message = format!(
                "the revocations of {UNDOING_MAX} operators are being removed, the most at one time; ask again when some have been"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        let undoing = Undoing {
            operator: operator.clone(),
            since: undo.since,
            next: self.view.revision,
        };
        self.undoing.insert(operator.clone(), undoing);
        Ok(Applied::Undoing {
            at_most: at_most as u64,
        })
    }

    /// Removes a part of what is being undone, at most `room` revocations, and returns their number.
    pub(crate) fn collect_undone(&mut self, room: usize) -> usize {
        let mut removed = 0;
        for undoing in self.undoing.clone().values() {
            let newest = self.revocations.newest_by(&undoing.operator, undoing.next);
            let is_late = |revision: &Revision| {
                let revocation = self.revocations.find(*revision);
                revocation.is_some_and(|revocation| revocation.at >= undoing.since)
            };
            let part = newest.take_while(is_late).take(room - removed);
            let part: Vec<Revision> = part.collect();
            part.iter().for_each(|revision| self.forget(*revision));
            removed += part.len();
            if removed == room {
                break;
            }
            self.undoing.remove(&undoing.operator);
        }
        removed
    }
}
