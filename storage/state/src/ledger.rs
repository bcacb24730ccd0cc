//! Ledger: the uses of single-use capabilities.
//!
//! The first [`Spend`] of a facet that is applied wins, on every node, and any other is refused: the log orders them. An
//! entry is kept until the end of its facet is settled (see `clock`), and a facet that has ended
//! cannot be spent: so forgetting one never makes a second use possible. A full ledger refuses, and forgets nothing.
//!
//! A spend is not among the remembered first answers: its entry is one, and names the request that won.

use hessra_revocation::{Identity, UnixMillis, UnixSeconds};

use crate::command::{FacetId, RequestId, Spend};
use crate::limits::{LEDGER_MAX, LEDGER_PER_BASE_MAX, LEDGER_SECONDS_MAX};
use crate::refusal::{Refusal, RefusalCode};
use crate::revocations::base_of;
use crate::timed::{Kept, Timed, check_end};

/// Facet that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Request that won: a retry of it gets the same answer.
    pub request: RequestId,
    /// Time of the use, on the state's clock.
    pub at: UnixMillis,
    /// Instant until which the entry is kept.
    pub until: UnixSeconds,
    /// Identity that used it.
    pub subject: Identity,
}

impl Kept for Spent {
    fn until(&self) -> UnixSeconds {
        self.until
    }

    fn subject(&self) -> &Identity {
        &self.subject
    }
}

impl Timed<FacetId, Spent> {
    /// Gives uses that are later than `clock` that time.
    pub(crate) fn none_after(&mut self, clock: UnixMillis) {
        let late = self.iter().filter(|(_, spent)| spent.at > clock);
        let late: Vec<(FacetId, Spent)> =
            late.map(|(facet, spent)| (*facet, spent.clone())).collect();
        for (facet, spent) in late {
            self.put(facet, Spent { at: clock, ..spent });
        }
    }

    /// Books the use of a facet, or finds that this very request did before.
    pub(crate) fn spend(
        &mut self,
        spend: &Spend,
        request: RequestId,
        (clock, ends_by): (UnixMillis, UnixMillis),
    ) -> Result<(), Refusal> {
        if let Some(spent) = self.find(&spend.facet) {
            return if spent.request == request {
                Ok(())
            } else {
                let message =
                    "the capability may be used once and was used before; ask for a new one";
                Err(Refusal::new(RefusalCode::AlreadySpent, message))
            };
        }
        check_end(ends_by, spend.expires_at, LEDGER_SECONDS_MAX)?;
        let base = base_of(&spend.judged.subject);
        if self.len_below(base) >= LEDGER_PER_BASE_MAX {
            let message = format!(
                "`{base}` and what is below it have used {LEDGER_PER_BASE_MAX} capabilities that have not ended, the most that \
                 they can; try again when some have"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        if self.len() >= LEDGER_MAX {
            let message = format!(
                "the ledger holds {LEDGER_MAX} facets that have not ended, the most it can; try again when some have"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        let (at, until) = (clock, spend.expires_at);
        let subject = spend.judged.subject.clone();
        let spent = Spent {
            request,
            at,
            until,
            subject,
        };
        self.put(spend.facet, spent);
        Ok(())
    }
}
