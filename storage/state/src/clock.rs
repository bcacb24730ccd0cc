//! Clock of the state: how it moves, what a jump of it may destroy, and how a jump is taken back.
//!
//! The clock is the latest of all stamps, so one jump of the machines' clocks moves it for good. Two things keep that
//! harmless:
//!
//! - **Settled time** follows the clock by [`SETTLED_STEP_MILLIS`] per entry at most, and catches up at twice the speed of
//!   the clock. Nothing is removed for having ended before its end is settled: no rule, key, spent facet or answered request
//!   is lost to a jump of days, whatever ended on the clock meanwhile.
//! - **Setting the clock back** gives every time that is later than the new one the new one, so that times rise with
//!   sequences still. What ended on the clock lives again, because it was not removed. The command names its number, so
//!   that a signed one cannot be repeated when the clock has come to where it was.
//!
//! After the whole cluster was stopped for hours, what ended meanwhile is kept for as long again: a matter of space only.

use std::time::Duration;

use hessra_revocation::UnixMillis;

use crate::applied::Applied;
use crate::limits::{CLOCK_AHEAD_MILLIS_MIN, SETTLED_STEP_MILLIS};
use crate::refusal::{Refusal, RefusalCode};
use crate::state::check_ticket;
use crate::{SealedKey, State, Undoing};

impl State {
    /// Time whose passing is no jump: what ended before it may be removed. Never set back, and after the clock only when that
    /// was.
    #[must_use]
    pub fn settled(&self) -> UnixMillis {
        self.settled
    }

    /// Number of times that an operator has set the clock back.
    #[must_use]
    pub fn clock_set_backs(&self) -> u64 {
        self.clock_set_backs
    }

    /// Moves the clock to the time of an entry, if that is later.
    pub(crate) fn advance(&mut self, at: UnixMillis) {
        let before = self.clock;
        self.clock = before.max(at);
        let step = self.clock.0 - before.0;
        let settled = self
            .settled
            .0
            .saturating_add(2 * step.min(SETTLED_STEP_MILLIS));
        self.settled = match self.is_initialized() {
            true => self.settled.max(self.clock.min(UnixMillis(settled))),
            false => self.clock,
        };
    }

    /// Time by which a thing has ended, when it is to be used or made: what may have been removed is not alive again.
    pub(crate) fn ends_by(&self) -> UnixMillis {
        self.clock.max(self.settled)
    }

    /// Sets the clock back to the time of an entry, the leader's.
    pub(crate) fn set_clock_back(
        &mut self,
        at: UnixMillis,
        number: u64,
        ticket: &str,
    ) -> Result<Applied, Refusal> {
        check_ticket(ticket)?;
        if number != self.clock_set_backs + 1 {
            let message = format!(
                "the time of the cluster was set back {} times, and this is the request for the {number}th; look at the \
                 status, and ask again if it is still wrong",
                self.clock_set_backs
            );
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let ahead = self.clock.0.saturating_sub(at.0);
        if ahead < CLOCK_AHEAD_MILLIS_MIN {
            let message = format!(
                "the cluster's time is right: {ahead} ms ahead of the leader's clock; there is nothing to take back"
            );
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        self.clock_set_backs = number;
        self.clock = at;
        let late = self.undoing.values().filter(|undoing| undoing.since > at);
        let late: Vec<Undoing> = late.cloned().collect();
        for undoing in late {
            self.undoing.insert(
                undoing.operator.clone(),
                Undoing {
                    since: at,
                    ..undoing
                },
            );
        }
        self.pending.none_after(at);
        self.policies.none_after(at);
        self.revocations.none_after(self.view.set.salt(), at);
        self.ledger.none_after(at);
        self.witnessed.none_after(at);
        let late = self
            .keys
            .values()
            .filter(|key| key.since.max(key.published) > at);
        let late: Vec<SealedKey> = late.cloned().collect();
        for key in late {
            let (published, since) = (key.published.min(at), key.since.min(at));
            self.keys.insert(
                key.id,
                SealedKey {
                    published,
                    since,
                    ..key
                },
            );
        }
        Ok(Applied::ClockSetBack {
            by: Duration::from_millis(ahead),
        })
    }
}
